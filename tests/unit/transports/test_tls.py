"""TLS links: both ends are verified by name, and a peer that is not verified never gets a handler.

Method: real handshakes with certificates of throw-away authorities (B33 of the list of bad input).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest

from qpidha.errors import LinkClosed, SettingsError
from qpidha.testing.conformance.links import HERE, TIMEOUT_S, Factory, pair, until
from qpidha.transports import TcpTransport, stream, tcp
from qpidha.transports.tls import client_context, peer_names, server_context
from tests.support.transports import Authority, run


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_both_ends_see_the_names_of_the_other(authority: Authority) -> None:
    async def main() -> None:
        server = authority.transport("node-b", common_name="the second node")
        async with pair(server, authority.transport("node-a"), expect="node-b") as (near, far):
            assert near.link.peer.identity == {"node-b", "the second node"}
            assert far.link.peer.identity is not None
            assert "node-a" in far.link.peer.identity
            assert near.link.peer.local
            assert far.link.peer.address.startswith("127.0.0.1:")

    run(main())


def test_a_common_name_and_a_uri_are_names_too() -> None:
    certificate = {
        "subject": ((("organizationName", "o"),), (("commonName", "cn"),)),
        "subjectAltName": (("DNS", "dns"), ("URI", "spiffe://x/y"), ("IP Address", "127.0.0.1")),
    }
    assert peer_names(certificate) == {"cn", "dns", "spiffe://x/y"}
    assert peer_names({}) is None
    assert peer_names(None) is None


def test_right_authority_wrong_name(authority: Authority) -> None:
    async def main() -> None:
        far, near = Factory(), Factory()
        listener = await authority.transport("node-b").listen(HERE, far)
        with pytest.raises(LinkClosed, match=r"expected node 'node-c', but its certificate is for .*node-b"):
            client = authority.transport("node-a")
            await client.connect(listener.address, near, timeout_s=TIMEOUT_S, expect="node-c")
        assert near.made == []
        await listener.close()
        await asyncio.sleep(0.05)
        for made in far.made:
            await made.ended()

    run(main())


@pytest.mark.parametrize("name", ["node-b2", "node-b.example", "node", "x-node-b"])
def test_names_are_compared_as_a_whole(authority: Authority, name: str) -> None:
    """A name that begins or ends like the expected name belongs to another node."""

    async def main() -> None:
        far, near = Factory(), Factory()
        listener = await authority.transport(name).listen(HERE, far)
        with pytest.raises(LinkClosed, match="expected node 'node-b', but its certificate is for"):
            await authority.transport("node-a").connect(
                listener.address, near, timeout_s=TIMEOUT_S, expect="node-b"
            )
        assert near.made == []
        await listener.close()
        await asyncio.sleep(0.05)
        for made in far.made:
            await made.ended()

    run(main())


def test_a_certificate_of_another_authority_is_refused_by_the_client(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")

    async def main() -> None:
        near = Factory()
        listener = await stranger.transport("node-b").listen(HERE, Factory())
        with pytest.raises(LinkClosed, match="of an authority that this node does not know"):
            await authority.transport("node-a").connect(listener.address, near, timeout_s=TIMEOUT_S)
        assert near.made == []
        await listener.close()

    run(main())


async def refused_by_the_server(server: TcpTransport, client: TcpTransport) -> None:
    """With TLS 1.3 the client's handshake is over before the server looks at the client's certificate."""
    near, far = Factory(), Factory()
    listener = await server.listen(HERE, far)
    try:
        await client.connect(listener.address, near, timeout_s=TIMEOUT_S)
    except LinkClosed:
        assert near.made == []
    else:
        await near.made[0].ended()
        assert near.made[0].data == b""
    assert far.made == []
    await listener.close()


def test_a_certificate_of_another_authority_is_refused_by_the_server(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    certificate, key = stranger.issue("node-a")
    client = TcpTransport.with_certificates(ca=authority.ca_file, certificate=certificate, key=key)
    run(refused_by_the_server(authority.transport("node-b"), client))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_without_a_certificate_is_refused(authority: Authority, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = version
    context.load_verify_locations(authority.ca_file)
    client = TcpTransport(ssl_context_client=context)
    run(refused_by_the_server(authority.transport("node-b"), client))


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    past = dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc)
    expired = authority.transport("node-b", not_before=past, not_after=past + dt.timedelta(days=1))

    async def main() -> None:
        listener = await expired.listen(HERE, Factory())
        with pytest.raises(LinkClosed, match="expired"):
            await authority.transport("node-a").connect(listener.address, Factory(), timeout_s=TIMEOUT_S)
        await listener.close()

    run(main())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused(authority: Authority) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.load_verify_locations(authority.ca_file)
    old.load_cert_chain(*authority.issue("node-a"))

    async def main() -> None:
        far = Factory()
        listener = await authority.transport("node-b").listen(HERE, far)
        with pytest.raises(LinkClosed):
            client = TcpTransport(ssl_context_client=old)
            await client.connect(listener.address, Factory(), timeout_s=TIMEOUT_S)
        assert far.made == []
        await listener.close()

    run(main())


def test_plain_bytes_on_a_tls_port_never_get_a_handler(authority: Authority) -> None:
    async def main() -> None:
        far, near = Factory(), Factory()
        listener = await authority.transport("node-b").listen(HERE, far)
        await TcpTransport().connect(listener.address, near, timeout_s=TIMEOUT_S)
        near.made[0].link.write([b"QPHA not a client hello" * 10])
        await near.made[0].ended()
        assert far.made == []
        await listener.close()

    run(main())


def test_tls_bytes_on_a_plain_port_do_not_connect(authority: Authority) -> None:
    async def main() -> None:
        far = Factory()
        listener = await TcpTransport().listen(HERE, far)
        attempt = authority.transport("node-a").connect(listener.address, Factory(), timeout_s=0.2)
        with pytest.raises(LinkClosed, match=r"no answer in 0\.2 s"):
            await attempt
        await (await far.first()).ended()
        await listener.close()

    run(main())


def test_a_peer_that_never_finishes_the_handshake_is_dropped(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "TLS_HANDSHAKE_TIMEOUT_S", 0.1)

    async def main() -> None:
        far, near = Factory(), Factory()
        listener = await authority.transport("node-b").listen(HERE, far)
        await TcpTransport().connect(listener.address, near, timeout_s=TIMEOUT_S)
        await near.made[0].ended()
        assert far.made == []
        await listener.close()

    run(main())


def test_a_peer_that_connects_and_disconnects_does_no_harm(authority: Authority) -> None:
    async def main() -> None:
        far, near = Factory(), Factory()
        listener = await authority.transport("node-b").listen(HERE, far)
        await TcpTransport().connect(listener.address, near, timeout_s=TIMEOUT_S)
        near.made[0].link.write([b"\x16\x03\x01"])  # The beginning of a client hello.
        near.made[0].link.close()
        await near.made[0].ended()
        await asyncio.sleep(0.05)
        assert far.made == []
        await listener.close()

    run(main())


def test_a_handshake_that_outlives_the_listener_gets_no_handler(authority: Authority) -> None:
    context = client_context(authority.ca_file, *authority.issue("node-a"))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        far = Factory()
        listener = await authority.transport("node-b").listen(HERE, far)
        sock = socket.create_connection(listener.address)
        await until(lambda: listener.accepted == 1)
        await listener.close()
        try:
            transport, _ = await loop.create_connection(
                asyncio.Protocol, sock=sock, ssl=context, server_hostname=""
            )
            transport.close()
        except OSError:
            sock.close()
        await asyncio.sleep(0.05)
        assert far.made == []

    run(main())


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o660, 0o650, 0o666])
def test_a_key_that_other_users_may_access_is_refused(authority: Authority, mode: int) -> None:
    certificate, key = authority.issue("node-a")
    key.chmod(mode)
    with pytest.raises(SettingsError, match=f"has mode {mode:04o}: it must not be readable by others"):
        TcpTransport.with_certificates(ca=authority.ca_file, certificate=certificate, key=key)


class Owned:
    """A file as `os.stat` shows it, with the given owner, group and mode."""

    def __init__(self, path: Path, *, user: int, group: int, mode: int) -> None:
        self.path, self.facts = path, (stat.S_IFREG | mode, 1, 1, 1, user, group, 100, 0, 0, 0)

    def look(self, path: object, **options: object) -> os.stat_result:
        follows = options.get("follow_symlinks", True)
        real = os.path.realpath(str(path)) if follows else str(path)
        return os.stat_result(self.facts) if real == str(self.path) else REAL_STAT(path, **options)  # type: ignore[arg-type]


REAL_STAT = os.stat
US, OUR_GROUPS = 1000, (1000, 114)
KEYS = [  # user, group, mode, text of the error or None if the key is accepted
    (US, 1000, 0o600, None),
    (US, 1000, 0o400, None),
    (US, 7, 0o600, None),
    (0, 114, 0o640, None),
    (0, 114, 0o440, None),
    (0, 1000, 0o640, None),
    (US, 114, 0o640, None),
    (0, 7, 0o640, "readable by group 7, to which this process does not belong"),
    (US, 7, 0o640, "readable by group 7, to which this process does not belong"),
    (0, 114, 0o660, "has mode 0660"),
    (0, 114, 0o644, "has mode 0644"),
    (33, 114, 0o640, "belongs to user 33, who could replace it"),
    (33, 114, 0o600, "belongs to user 33"),
]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(("user", "group", "mode", "refusal"), KEYS)
def test_a_key_is_read_through_a_group_of_ours(
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    group: int,
    mode: int,
    refusal: str | None,
    linked: bool,
) -> None:
    certificate, key = authority.issue("node-a")
    given = key.with_name("linked.key") if linked else key
    if linked:
        given.symlink_to(key.name)
    monkeypatch.setattr(os, "stat", Owned(key, user=user, group=group, mode=mode).look)
    monkeypatch.setattr(os, "geteuid", lambda: US)
    monkeypatch.setattr(os, "getegid", lambda: OUR_GROUPS[0])
    monkeypatch.setattr(os, "getgroups", lambda: [*OUR_GROUPS[1:]])
    if refusal is None:
        TcpTransport.with_certificates(ca=authority.ca_file, certificate=certificate, key=given)
    else:
        with pytest.raises(SettingsError, match=refusal):
            TcpTransport.with_certificates(ca=authority.ca_file, certificate=certificate, key=given)


def test_a_key_within_the_certificate_file_is_checked_too(authority: Authority) -> None:
    certificate, key = authority.issue("node-a")
    both = certificate.with_suffix(".both")
    both.touch(mode=0o600)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    TcpTransport.with_certificates(ca=authority.ca_file, certificate=both)
    both.chmod(0o644)
    with pytest.raises(SettingsError, match="must not be readable by others"):
        TcpTransport.with_certificates(ca=authority.ca_file, certificate=both)


def test_files_that_cannot_be_used_are_settings_errors(authority: Authority) -> None:
    certificate, key = authority.issue("node-a")
    _, other_key = authority.issue("node-b")
    missing = certificate.with_suffix(".missing")
    wrong: list[dict[str, Any]] = [
        {"ca": missing, "certificate": certificate, "key": key},
        {"ca": authority.ca_file, "certificate": missing, "key": key},
        {"ca": authority.ca_file, "certificate": certificate, "key": missing},
        {"ca": authority.ca_file, "certificate": certificate, "key": other_key},
        {"ca": key, "certificate": certificate, "key": key},
    ]
    for files in wrong:
        with pytest.raises(SettingsError):
            TcpTransport.with_certificates(**files)


def test_an_encrypted_key_is_an_error_and_asks_for_no_password(authority: Authority) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    certificate, key = authority.issue("node-a")
    plain = pem.load_pem_private_key(key.read_bytes(), None)
    lock = pem.BestAvailableEncryption(b"secret")
    key.write_bytes(plain.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, lock))
    with pytest.raises(SettingsError):
        TcpTransport.with_certificates(ca=authority.ca_file, certificate=certificate, key=key)


def test_contexts_are_strict(authority: Authority) -> None:
    files = (authority.ca_file, *authority.issue("node-a"))
    for context in (server_context(*files), client_context(*files)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_TICKET
        assert context.options & ssl.OP_NO_RENEGOTIATION
    assert server_context(*files).num_tickets == 0


def test_a_context_that_does_not_verify_peers_needs_consent(authority: Authority) -> None:
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lax.load_cert_chain(*authority.issue("node-b"))
    with pytest.raises(SettingsError, match="does not verify the peer"):
        TcpTransport(ssl_context_server=lax)

    async def main() -> None:
        context = client_context(authority.ca_file, *authority.issue("node-a"))
        client = TcpTransport(ssl_context_client=context)
        server = TcpTransport(ssl_context_server=lax, insecure=True)
        async with pair(server, client, expect="node-b") as (_near, far):
            assert far.link.peer.identity is None

    run(main())


def test_tls_in_one_direction_does_not_allow_plain_text_in_the_other(authority: Authority) -> None:
    context = client_context(authority.ca_file, *authority.issue("node-a"))

    async def main() -> None:
        with pytest.raises(SettingsError, match="no TLS context for this direction"):
            await TcpTransport(ssl_context_client=context).listen(HERE, Factory())

    run(main())


def test_a_context_that_checks_host_names_gets_the_host(authority: Authority) -> None:
    context = client_context(authority.ca_file, *authority.issue("node-a"))
    context.check_hostname = True
    client = TcpTransport(ssl_context_client=context)

    async def main() -> None:
        async with pair(authority.transport("127.0.0.1"), client) as (near, _far):
            assert near.link.peer.identity is not None
        listener = await authority.transport("node-b").listen(HERE, Factory())
        with pytest.raises(LinkClosed, match="verify failed"):
            await client.connect(listener.address, Factory(), timeout_s=TIMEOUT_S)
        await listener.close()

    run(main())


def test_a_peer_that_does_not_answer_the_goodbye_is_dropped(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CLOSE_TIMEOUT_S", 0.1)

    async def main() -> None:
        async with pair(authority.transport("b"), authority.transport("a")) as (near, far):
            far.link._transport.pause_reading()  # type: ignore[attr-defined]
            near.link.write([bytes(32 * 1024 * 1024)])
            near.link.close()
            error = await near.ended()
            assert isinstance(error, LinkClosed)
            assert "did not read the last bytes" in str(error)

    run(main())
