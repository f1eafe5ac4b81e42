"""A certificate for something else than links opens and accepts none; its role is renewed with it, without a restart."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qpidha.errors import LinkClosed, SettingsError
from qpidha.interfaces import TroubleSink
from qpidha.testing.conformance.links import HERE, TIMEOUT_S, Factory, until
from qpidha.transports import TcpTransport
from qpidha.transports.tls import client_context, server_context
from tests.support.transports import Authority, run

NEEDED = "one for peer is needed, with the alternative name URI:qpidha:peer"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Told(TroubleSink):
    """What a transport reports."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def report(self, event: Any) -> None:
        self.events.append(str(event))

    def clear(self, *_: Any) -> None:
        pass


def with_contexts(authority: Authority, name: str, *roles: str, required: bool = False) -> TcpTransport:
    """A transport that does not look at its own certificate: an attacker has one, or an embedder made its contexts."""
    files = authority.ca_file, *authority.issue(name, roles=roles)
    return TcpTransport(
        ssl_context_server=server_context(*files),
        ssl_context_client=client_context(*files),
        roles_required=required,
    )


async def link(
    opening: TcpTransport, accepting: TcpTransport, told: Told | None = None, expect: str | None = None
) -> str:
    """Open a link, and say whether both ends have it: "", or what is wrong, or "closed" after it was open."""
    far, near = Factory(), Factory()
    told = told or Told()
    accepting.tell_to(told)
    listener = await accepting.listen(HERE, far)
    before = len(told.events)
    try:
        await opening.connect(listener.address, near, timeout_s=TIMEOUT_S, expect=expect)
        await until(lambda: far.made or len(told.events) > before)
        if not far.made:
            await near.made[0].ended()
            return "closed"
        near.made[0].link.close()
        await near.made[0].ended()
    except LinkClosed as error:
        assert near.made == []
        return str(error)
    finally:
        await listener.close()
    return ""


@pytest.mark.parametrize("roles", [("peer",), ("peer", "operator"), ()])
def test_peers_open_links_and_so_do_certificates_without_a_role(
    authority: Authority, roles: tuple[str, ...]
) -> None:
    a = authority.transport("a", roles=("peer",))
    b = with_contexts(authority, "b", *roles)

    async def main() -> None:
        assert await link(b, a, expect="a") == await link(a, b, expect="b") == ""

    run(main())


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (("operator",), "its certificate is for operator: "),
        (("viewer",), "its certificate is for viewer: "),
        (("auditor", "operator"), "its certificate is for auditor and operator: "),
        (("qpidha:peers",), "its certificate is for peers: "),
    ],
)
def test_other_roles_open_and_accept_none(authority: Authority, roles: tuple[str, ...], said: str) -> None:
    """Whichever end has it; its name does not help; and the log of the node says whose fault it is, and what to do."""
    a, other = authority.transport("a", roles=("peer",)), with_contexts(authority, "b", *roles)

    async def main() -> None:
        told = Told()
        assert await link(other, a, told) == "closed"
        assert len(told.events) == 1 and f"{said}{NEEDED}" in told.events[0], told.events
        assert "127.0.0.1" in told.events[0]
        assert f"{said}{NEEDED}" in await link(a, other, expect="b")

    run(main())


def test_a_role_can_be_required(authority: Authority) -> None:
    strict, peer = (authority.transport(name, roles=("peer",), roles_required=True) for name in ("a", "b"))
    old = authority.transport("old")

    async def main() -> None:
        assert await link(strict, peer) == ""
        told = Told()
        assert await link(old, strict, told) == "closed"
        assert f"its certificate has no role: {NEEDED}" in told.events[0]
        assert f"its certificate has no role: {NEEDED}" in await link(strict, old)
        assert await link(old, with_contexts(authority, "c", required=True), told) == "closed"

    run(main())


def test_a_role_makes_no_name_and_no_validity(authority: Authority, tmp_path: Path) -> None:
    """Another node's certificate, one that has expired, one that was revoked, one of another authority."""
    crl = authority.revoke(authority.issue("thief", roles=("peer",))[0])
    thief = with_files(authority, "thief")
    a = authority.transport("a", roles=("peer",), crl=crl)
    past = datetime.now(timezone.utc) - timedelta(days=1)
    late = authority.transport("late", roles=("peer",), not_before=past - timedelta(days=9), not_after=past)
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").transport("a", roles=("peer",))

    async def main() -> None:
        other = authority.transport("b", roles=("peer",))
        assert "expected node 'c', but its certificate is for b" in await link(a, other, expect="c")
        assert "expected node 'qpidha:peer'" in await link(a, other, expect="qpidha:peer")
        for bad, said in ((late, "its certificate has expired"), (thief, "its certificate was revoked")):
            told = Told()
            assert await link(bad, a, told) == "closed" and said in told.events[0]
            assert said in await link(a, bad)
        unknown = "of an authority that this node does not know"
        assert unknown in await link(stranger, a) and unknown in await link(a, stranger)

    run(main())


def with_files(authority: Authority, name: str) -> TcpTransport:
    """With the certificate that was issued before."""
    folder = authority.directory
    return TcpTransport.with_certificates(
        ca=authority.ca_file, certificate=folder / f"{name}.pem", key=folder / f"{name}.key"
    )


def test_a_node_does_not_start_with_a_certificate_for_something_else(authority: Authority) -> None:
    with pytest.raises(SettingsError, match=rf"a\.pem is for operator: {NEEDED}"):
        authority.transport("a", roles=("operator",))
    with pytest.raises(SettingsError, match=rf"a\.pem has no role: {NEEDED}"):
        authority.transport("a", roles_required=True)
    with pytest.raises(SettingsError, match="roles are in certificates"):
        TcpTransport(roles_required=True)
    with pytest.raises(SettingsError, match="roles_required must be True or False"):
        authority.transport("a", roles_required=1)  # type: ignore[arg-type]


def test_a_renewed_certificate_may_have_another_role(authority: Authority) -> None:
    """A peer's that becomes an operator's opens no more links; the node tells, and goes on with what it has."""
    a = authority.transport("a", roles=("peer",))
    authority.issue("b", roles=("peer",))
    other = Renewed(authority, "b")

    async def main() -> None:
        assert await link(other.transport(), a) == ""
        authority.issue("b", roles=("operator",))
        assert await link(other.transport(), a) == "closed", "it is the new certificate that counts"
        authority.issue("b", roles=("peer",))
        assert await link(other.transport(), a) == ""
        told, before = Told(), a.credentials
        a.tell_to(told)
        authority.issue("a", roles=("operator",))
        a.tick()
        assert a.credentials == before and f"a.pem is for operator: {NEEDED}" in told.events[0]
        assert await link(other.transport(), a) == "", "the certificate that was read before is still used"
        authority.issue("a", roles=("peer",))
        assert a.credentials == before + 1

    run(main())


class Renewed:
    """A peer that uses what is in its files, whatever role that has."""

    def __init__(self, authority: Authority, name: str) -> None:
        self._files = (
            authority.ca_file, authority.directory / f"{name}.pem", authority.directory / f"{name}.key"
        )  # fmt: skip

    def transport(self) -> TcpTransport:
        return TcpTransport(
            ssl_context_server=server_context(*self._files), ssl_context_client=client_context(*self._files)
        )
