"""The HTTP port of a node, asked by clients with certificates: what their roles allow, and when they are renewed."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import aiohttp
import pytest

from qpidha import Node
from qpidha.errors import SettingsError
from qpidha.web import NodeServer, ServerFiles, Tokens
from tests.support.harness import World, run
from tests.support.transports import Authority

VIEWER, OPERATOR = "v" * 20, "o" * 20
HERE = ("127.0.0.1", 0)
NEEDED = "is needed, with the alternative name URI:qpidha:"


@dataclass
class Site:
    """The authority of a cluster, and the files of a server."""

    authority: Authority
    crl: Path | None = None

    def files(self) -> ServerFiles:
        """For a server that asks its clients for certificates."""
        server = self.authority.issue("127.0.0.1", roles=("peer",))
        return ServerFiles(*server, clients=self.authority.ca_file, crl=self.crl)

    def client(self, name: str | None, *roles: str, days: float = 1.0) -> ssl.SSLContext:
        """The context of a client with a new certificate; None: with none."""
        context = ssl.create_default_context(cafile=self.authority.ca_file)
        if name is not None:
            end = datetime.now(timezone.utc) + timedelta(days=days)
            issued = self.authority.issue(
                name, roles=roles, not_before=end - timedelta(days=9), not_after=end
            )
            context.load_cert_chain(*issued)
        return context

    def tokens(self) -> Tokens:
        path = self.authority.directory / "tokens"
        path.write_text(f"viewer {VIEWER}\noperator {OPERATOR}\n")
        path.chmod(0o600)
        return Tokens(path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(Authority(tmp_path))


async def ask(
    server: NodeServer, client: ssl.SSLContext, path: str, method: str = "GET", **headers: str
) -> tuple[int, str]:
    """Over a new connection."""
    host, port = server.address
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"https://{host}:{port}{path}", headers=headers, ssl=client) as answer,
    ):
        return answer.status, await answer.text()


def test_operators_give_commands_and_viewers_read(site: Site) -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        operator, viewer = site.client("op", "operator"), site.client("grafana", "viewer")
        async with (
            NodeServer(a, HERE, tls=site.files()) as at_a,
            NodeServer(b, HERE, tls=site.files()) as at_b,
        ):
            for path in ("/status", "/metrics", "/history"):
                assert (await ask(at_a, viewer, path))[0] == (await ask(at_a, operator, path))[0] == 200
            status, text = await ask(at_b, viewer, "/promote", "POST")
            assert (status, text) == (
                403,
                f"this certificate is for viewer: one for operator {NEEDED}operator\n",
            )
            assert a.status().role == "active"
            assert await ask(at_b, operator, "/promote", "POST") == (200, "primary of generation 2\n")
            assert (await ask(at_a, operator, "/demote", "POST"))[0] == 409

    run(main)


@pytest.mark.parametrize("roles", [("peer",), (), ("operators",)])
def test_peers_and_certificates_without_a_role_get_nothing(site: Site, roles: tuple[str, ...]) -> None:
    """They may be those of nodes, or of clients of the broker from the time before roles."""

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        client = site.client("a", *roles)
        has = f"is for {roles[0]}" if roles else "has no role"
        async with NodeServer(a, HERE, tls=site.files()) as server:
            for path, method, role in (("/demote", "POST", "operator"), ("/status", "GET", "viewer")):
                said = f"this certificate {has}: one for {role} {NEEDED}{role}\n"
                assert await ask(server, client, path, method) == (403, said)
            assert (await ask(server, client, "/ready"))[0] == 200
            assert a.status().role == "active"

    run(main)


def test_without_a_certificate(site: Site) -> None:
    """Health is for everybody; a token does what it does elsewhere, also beside a certificate that may do nothing."""

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        nobody, peer = site.client(None), site.client("a", "peer")
        shown = {"Authorization": f"Bearer {OPERATOR}"}
        async with NodeServer(a, HERE, tls=site.files()) as server:
            assert (await ask(server, nobody, "/live"))[0] == 200
            status, text = await ask(server, nobody, "/status")
            assert status == 401 and text.startswith("show a certificate for viewer or operator")
            assert (await ask(server, nobody, "/demote", "POST", **shown))[0] == 401
        async with NodeServer(a, HERE, tls=site.files(), tokens=site.tokens()) as server:
            status, text = await ask(server, nobody, "/status")
            assert status == 401 and text.startswith(
                "show a token (Authorization: Bearer TOKEN) or a certificate"
            )
            viewer = {"Authorization": f"Bearer {VIEWER}"}
            assert (await ask(server, nobody, "/status", **viewer))[0] == 200
            assert (await ask(server, peer, "/demote", "POST", **viewer))[0] == 403
            assert (await ask(server, site.client("op", "operator"), "/demote", "POST", **viewer))[0] == 200
            assert (await ask(server, peer, "/promote", "POST", **shown))[0] == 200

    run(main)


@pytest.mark.parametrize("kind", ["expired", "revoked", "stranger"])
def test_a_certificate_that_is_not_valid_opens_no_connection(site: Site, tmp_path: Path, kind: str) -> None:
    """And the client is told why, in the alert."""
    site.crl = site.authority.revoke()
    client = site.client("op", "operator", days=-1 if kind == "expired" else 1)
    if kind == "revoked":
        site.authority.revoke(tmp_path / "op.pem")
    if kind == "stranger":
        (tmp_path / "other").mkdir()
        foreign = Authority(tmp_path / "other").issue("op", roles=("operator",))
        client.load_cert_chain(*foreign)
    words = {"expired": "certificate expired", "revoked": "certificate revoked", "stranger": "unknown ca"}

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        async with NodeServer(a, HERE, tls=site.files()) as server:
            reader, writer = await asyncio.open_connection(*server.address, ssl=client)
            with pytest.raises(ssl.SSLError, match=words[kind]):
                await reader.read()
            writer.close()
            assert a.status().role == "active"

    run(main)


def test_files_are_renewed_without_a_restart(site: Site, tmp_path: Path) -> None:
    """A role that is taken away, or a certificate that is revoked, counts at once, on open connections, too."""
    site.crl = site.authority.revoke()

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        files = site.files()
        operator = site.client("op", "operator")
        async with NodeServer(a, HERE, tls=files) as server:
            base = "https://{}:{}".format(*server.address)
            connector = aiohttp.TCPConnector(ssl=operator, limit=1)
            async with aiohttp.ClientSession(connector=connector) as session:
                async with session.get(f"{base}/status") as answer:
                    assert answer.status == 200
                site.authority.revoke(tmp_path / "op.pem")
                files.refresh()
                async with session.post(f"{base}/demote") as answer:
                    assert answer.status == 401 and "on a new connection" in await answer.text()
                with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                    await session.post(f"{base}/demote")
            assert a.status().role == "active"
            assert (await ask(server, site.client("op", "viewer"), "/status"))[0] == 200
            assert (await ask(server, site.client("op", "viewer"), "/demote", "POST"))[0] == 403
            assert (await ask(server, site.client("op", "operator"), "/demote", "POST"))[0] == 200

    run(main)


def test_a_certificate_that_expires_meanwhile(site: Site) -> None:
    """An open connection does not outlive it."""
    files, (near, far) = site.files(), (ssl.MemoryBIO(), ssl.MemoryBIO())
    server = files.context.wrap_bio(near, far, server_side=True)
    client = site.client("op", "operator").wrap_bio(far, near, server_hostname="127.0.0.1")
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    now = datetime.now(timezone.utc).timestamp()
    assert files.shown(server, now) is not None
    assert files.shown(server, now + 2 * 86_400) is None
    assert files.shown(None, now) is None and files.shown(client, now) is None


def test_a_page_of_elsewhere_gives_no_commands(site: Site) -> None:
    """A browser shows the certificate of its user for any page that asks it to."""

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        operator = site.client("op", "operator")
        async with NodeServer(a, HERE, tls=site.files(), tokens=site.tokens()) as server:
            own = "https://{}:{}".format(*server.address)
            for origin in ("https://attacker.example", "null", own.replace("https", "http")):
                status, text = await ask(server, operator, "/demote", "POST", Origin=origin)
                assert status == 403 and "a page from elsewhere" in text
            assert a.status().role == "active"
            assert (await ask(server, operator, "/demote", "POST", Origin=own))[0] == 200
            shown = {"Authorization": f"Bearer {OPERATOR}", "Origin": "https://console.example"}
            assert (await ask(server, operator, "/promote", "POST", **shown))[0] == 200

    run(main)


def test_files_of_clients_that_cannot_be_used(site: Site, tmp_path: Path) -> None:
    server = site.authority.issue("127.0.0.1")
    ca, none = site.authority.ca_file, tmp_path / "none"
    crl = site.authority.revoke()
    for options, said in (
        ({"clients": none}, "to verify clients"),
        ({"clients": ca, "crl": none}, "to verify clients"),
        ({"clients": ca, "crl": ca}, "there is no BEGIN X509 CRL in it"),
        ({"clients": crl}, "there is no BEGIN CERTIFICATE in it"),
        ({"crl": crl}, "give clients, too"),
        ({"clients": 7}, "clients must be"),
    ):
        with pytest.raises(SettingsError, match=said):
            ServerFiles(*server, **options)  # type: ignore[arg-type]
    files = ServerFiles(*server, clients=ca, crl=crl)
    before = files.context.newest
    crl.write_text("no list")
    files.refresh()
    assert "cannot use" in files.fault and files.context.newest is before
    site.authority.revoke()
    files.refresh()
    assert not files.fault and files.context.newest is not before


def test_certificates_are_enough_for_an_address_of_the_network(site: Site) -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        everywhere = ("0.0.0.0", 0)
        assert isinstance(a, Node) and NodeServer(a, everywhere, tls=site.files())
        with pytest.raises(SettingsError, match="give tls, and tokens or the authority of clients"):
            NodeServer(a, everywhere, tls=ServerFiles(*site.authority.issue("127.0.0.1")))

    run(main)
