"""A certificate that the authority has revoked opens and accepts no link; the list is renewed without a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpidha.errors import LinkClosed, SettingsError
from qpidha.testing.conformance.links import HERE, TIMEOUT_S, Factory
from qpidha.transports import TcpTransport
from tests.support.transports import Authority, run


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def link(opening: TcpTransport, accepting: TcpTransport) -> str:
    """Open a link. Returns what is wrong, or nothing."""
    far, near = Factory(), Factory()
    listener = await accepting.listen(HERE, far)
    try:
        await opening.connect(listener.address, near, timeout_s=TIMEOUT_S)
        await far.first()
        near.made[0].link.close()
        await near.made[0].ended()
    except LinkClosed as error:
        return str(error)
    finally:
        await listener.close()
    return ""


def test_the_other_end_is_revoked(authority: Authority) -> None:
    """Whichever end verifies it."""
    thief, key = authority.issue("thief")
    crl = authority.revoke(thief)
    stolen = TcpTransport.with_certificates(ca=authority.ca_file, certificate=thief, key=key)
    honest, other = authority.transport("honest", crl=crl), authority.transport("other", crl=crl)

    async def main() -> None:
        assert await link(honest, other) == ""
        assert "its certificate was revoked" in await link(honest, stolen)
        assert await link(authority.transport("trusting"), stolen) == "", "nobody asks for the list"

    run(main())


def test_a_list_is_renewed_without_a_restart(authority: Authority) -> None:
    crl = authority.revoke()
    thief, key = authority.issue("thief")
    stolen = TcpTransport.with_certificates(ca=authority.ca_file, certificate=thief, key=key)
    honest = authority.transport("honest", crl=crl)

    async def main() -> None:
        assert await link(honest, stolen) == ""
        before = honest.credentials
        authority.revoke(thief)
        assert "its certificate was revoked" in await link(honest, stolen)
        assert honest.credentials == before + 1
        crl.write_text("no list")
        assert "its certificate was revoked" in await link(honest, stolen), (
            "the list that was read before counts"
        )

    run(main())


def test_a_list_that_is_out_of_date_or_of_another_authority_lets_nobody_in(
    authority: Authority, tmp_path: Path
) -> None:
    """Else an attacker who keeps the list from being renewed would keep a stolen certificate."""
    crl = authority.revoke(days=-1)
    peer = authority.transport("peer")

    async def old() -> None:
        assert "this node's revocation list is out of date" in await link(
            authority.transport("a", crl=crl), peer
        )

    run(old())
    (tmp_path / "other").mkdir()
    foreign = Authority(tmp_path / "other").revoke()

    async def of_another() -> None:
        said = await link(authority.transport("b", crl=foreign), peer)
        assert "there is no revocation list of the authority" in said

    run(of_another())


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n"])
def test_a_file_that_is_no_list_is_refused(
    authority: Authority, tmp_path: Path, content: bytes | None
) -> None:
    crl = tmp_path / "crl"
    if content is not None:
        crl.write_bytes(content)
    with pytest.raises(SettingsError, match=f"cannot use the revocation list {crl}"):
        authority.transport("a", crl=crl)
    with pytest.raises(SettingsError, match="cannot use the revocation list"):
        authority.transport("a", crl=authority.ca_file)
    with pytest.raises(SettingsError, match="crl must be"):
        authority.transport("a", crl=7)  # type: ignore[arg-type]
