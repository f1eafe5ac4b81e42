"""Renewed certificate files are loaded, the previous ones are kept if the new ones are broken, and expiry is reported."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qpidha.errors import LinkClosed
from qpidha.events import CertificateExpires, RenewedCertificateUnusable, Trouble
from qpidha.system.handshake import plain_words
from qpidha.testing.conformance.links import HERE, TIMEOUT_S, Factory, until
from qpidha.transports import TcpTransport
from qpidha.transports.certificates import Certificates
from qpidha.transports.x509 import read_facts
from tests.support.transports import Authority, run

NOW = datetime.now(timezone.utc)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Told:
    """A `TroubleSink` that remembers."""

    def __init__(self) -> None:
        self.standing: dict[str, str] = {}
        self.reports: list[str] = []

    def report(self, trouble: Trouble) -> None:
        self.standing[trouble.cause] = trouble.detail
        self.reports.append(trouble.line)

    def clear(self, kind: type[Trouble], subject: str = "") -> None:
        self.standing.pop(kind.cause_of(subject), None)


def issue(authority: Authority, name: str, days: float, **how: Any) -> tuple[Path, Path]:
    """A certificate that ends in `days` days and is already valid, or has been if `days` is negative."""
    end = NOW + timedelta(days=days)
    return authority.issue(name, not_before=min(NOW, end) - timedelta(days=2), not_after=end, **how)


def serial(transport: TcpTransport) -> int:
    """The serial number of the certificate that a new link uses."""
    listener: dict[str, Any] = {}

    async def main() -> None:
        far, near = Factory(), Factory()
        accepting = await transport.listen(HERE, far)
        await transport.connect(accepting.address, near, timeout_s=TIMEOUT_S)
        tls = near.made[0].link._transport.get_extra_info("ssl_object")
        listener["number"] = int(tls.getpeercert()["serialNumber"], 16)
        near.made[0].link.close()
        await near.made[0].ended()
        await accepting.close()

    run(main())
    return int(listener["number"])


# --- expiry -------------------------------------------------------------------------------------


def test_the_end_is_the_one_that_peers_see(authority: Authority) -> None:
    certificate, key = issue(authority, "a", 20)
    files = Certificates(authority.ca_file, certificate, key)
    ends: list[ssl.SSLObject] = []
    pipes = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends.append(files.client.wrap_bio(pipes[0], pipes[1]))
    ends.append(files.server.wrap_bio(pipes[1], pipes[0], server_side=True))
    for _ in range(3):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    seen = ends[0].getpeercert()
    assert seen is not None
    assert ssl.cert_time_to_seconds(str(seen["notAfter"])) == read_facts(certificate).not_after.timestamp()


def test_a_warning_precedes_the_end_of_a_certificate(authority: Authority) -> None:
    certificate, key = issue(authority, "a", 100)
    day = 86_400.0
    now = [NOW.timestamp()]
    files = Certificates(authority.ca_file, certificate, key, now=lambda: now[0])
    told = Told()
    for _ in range(4 * 102):
        files.tell(told)
        now[0] += day / 4
    words = [line.partition(" expires in ")[2].partition(",")[0] for line in told.reports]
    assert words == ["less than 30 days", "less than 7 days", "less than 1 day", ""]
    assert "has expired at" in told.reports[-1]
    issue(authority, "a", 300)
    files.refresh()
    files.tell(told)
    assert told.standing == {}
    assert files.days_left > 100


def test_a_warning_of_a_short_certificate_comes_when_a_third_is_left(
    authority: Authority,
) -> None:
    """A certificate renewed every day would otherwise be reported all the time."""
    certificate, key = authority.issue("a", not_before=NOW, not_after=NOW + timedelta(days=1))
    now = [NOW.timestamp()]
    files = Certificates(authority.ca_file, certificate, key, now=lambda: now[0])
    told = Told()
    now[0] += 15 * 3600
    files.tell(told)
    assert told.standing == {}
    now[0] += 2 * 3600
    files.tell(told)
    assert "expires in less than 1 day" in told.standing[CertificateExpires.name]


# --- renewal -------------------------------------------------------------------------------------


def test_new_links_use_the_files_that_are_there_now(authority: Authority) -> None:
    transport = authority.transport("a")
    before, version = serial(transport), transport.credentials
    authority.issue("a")
    assert serial(transport) != before
    assert transport.credentials != version
    assert transport.credentials == transport.credentials


def test_a_replaced_link_to_the_directory_is_followed(tmp_path: Path) -> None:
    """As in Kubernetes: the paths lead through a link to a directory, and the link is replaced."""
    one, two = tmp_path / "1", tmp_path / "2"
    one.mkdir()
    two.mkdir()
    authority = Authority(one)
    certificate, key = authority.issue("a")
    (tmp_path / "now").symlink_to(one)
    current = tmp_path / "now"
    transport = TcpTransport.with_certificates(
        ca=authority.ca_file, certificate=current / certificate.name, key=current / key.name
    )
    before = serial(transport)
    authority.directory = two
    authority.issue("a")
    (tmp_path / "new").symlink_to(two)
    os.replace(tmp_path / "new", tmp_path / "now")
    assert serial(transport) != before


@pytest.mark.parametrize("broken", ["other key", "half", "no certificate", "gone", "open to others"])
def test_a_broken_pair_is_reported_and_the_previous_pair_stays_in_use(
    authority: Authority, broken: str
) -> None:
    told = Told()
    certificate, key = authority.issue("a")
    transport = TcpTransport.with_certificates(ca=authority.ca_file, certificate=certificate, key=key)
    transport.tell_to(told)
    before = serial(transport)
    good = certificate.read_bytes(), key.read_bytes()
    if broken == "other key":
        _, other = authority.issue("b")
        key.write_bytes(other.read_bytes())
    elif broken == "half":
        certificate.write_bytes(good[0][:300])
    elif broken == "no certificate":
        certificate.write_bytes(b"")
    elif broken == "gone":
        key.unlink()
    else:
        key.write_bytes(good[1])
        key.chmod(0o644)
    transport.tick()
    assert (
        "the certificate that was read before is still used" in told.standing[RenewedCertificateUnusable.name]
    )
    assert serial(transport) == before
    key.touch(mode=0o600)
    key.chmod(0o600)
    authority.issue("a")
    assert serial(transport) != before
    transport.tick()
    assert told.standing == {}


def test_the_remaining_days_are_reported(authority: Authority) -> None:
    certificate, key = authority.issue(
        "a", not_before=NOW - timedelta(days=70), not_after=NOW + timedelta(days=20)
    )
    transport = TcpTransport.with_certificates(ca=authority.ca_file, certificate=certificate, key=key)
    assert transport.certificate_days_left == pytest.approx(20, abs=0.1)
    told = Told()
    transport.tell_to(told)
    assert "expires in less than 30 days" in told.standing[CertificateExpires.name]
    assert TcpTransport().certificate_days_left is None
    TcpTransport().tick()


# --- a handshake that fails ----------------------------------------------------------------------


async def failed(server: TcpTransport, client: TcpTransport) -> tuple[str, str]:
    """The report of the accepting side, and the error of the other side."""
    told = Told()
    server.tell_to(told)
    far, near = Factory(), Factory()
    listener = await server.listen(HERE, far)
    try:
        await client.connect(listener.address, near, timeout_s=TIMEOUT_S)
    except LinkClosed as error:
        theirs = str(error)
    else:
        near.made[0].link.write([b"hello" * 10])
        theirs = str(await near.made[0].ended())
    await until(lambda: any(cause.startswith("link from") for cause in told.standing))
    assert far.made == []
    await listener.close()
    return told.standing["link from 127.0.0.1"], theirs


def other_authority(tmp_path: Path) -> Authority:
    (tmp_path / "other").mkdir()
    return Authority(tmp_path / "other")


def mixed(ca: Authority, own: Authority, name: str, days: float = 90) -> TcpTransport:
    certificate, key = issue(own, name, days)
    return TcpTransport.with_certificates(ca=ca.ca_file, certificate=certificate, key=key)


UNKNOWN, THEIR_UNKNOWN = (
    "of an authority that this node does not know",
    "of an authority that the other end does not",
)


@pytest.mark.parametrize(
    ("case", "here", "there"),
    [
        ("client of another authority", UNKNOWN, THEIR_UNKNOWN),
        ("server of another authority", THEIR_UNKNOWN, UNKNOWN),
        ("client expired", "its certificate has expired", "it has expired"),
        ("server expired", "it has expired", "its certificate has expired"),
        ("plain client", "the other end does not speak TLS", ""),
    ],
)
def test_both_ends_learn_why_a_handshake_fails(
    authority: Authority, tmp_path: Path, case: str, here: str, there: str
) -> None:
    server, client = authority.transport("a"), authority.transport("b")
    if case == "client of another authority":
        client = mixed(authority, other_authority(tmp_path), "b")
    elif case == "server of another authority":
        server = mixed(authority, other_authority(tmp_path), "a")
    elif case == "client expired":
        client = mixed(authority, authority, "b", days=-1)
    elif case == "server expired":
        server = mixed(authority, authority, "a", days=-1)
    else:
        client = TcpTransport()

    async def main() -> None:
        accepting, opening = await failed(server, client)
        assert here in accepting
        assert there in opening

    run(main())


def test_tls_to_a_plain_port_is_reported(authority: Authority) -> None:
    async def main() -> None:
        far = Factory()
        listener = await TcpTransport().listen(HERE, far)

        async def answer() -> None:
            await until(lambda: bool(far.made and far.made[0].data))
            far.made[0].link.write([b"\x25\0\0\0" + bytes(33)])
            far.made[0].link.close()

        answering = asyncio.ensure_future(answer())
        with pytest.raises(LinkClosed, match="does not speak TLS"):
            await authority.transport("a").connect(listener.address, Factory(), timeout_s=TIMEOUT_S)
        await answering
        await listener.close()

    run(main())


def test_a_probe_that_connects_and_disconnects_is_not_reported(authority: Authority) -> None:
    async def main() -> None:
        told, near = Told(), Factory()
        transport = authority.transport("a")
        transport.tell_to(told)
        listener = await transport.listen(HERE, Factory())
        await TcpTransport().connect(listener.address, near, timeout_s=TIMEOUT_S)
        near.made[0].link.close()
        await near.made[0].ended()
        await until(lambda: not listener._opening)  # type: ignore[attr-defined]
        assert listener.accepted == 1  # type: ignore[attr-defined]
        assert told.standing == {}
        await listener.close()

    run(main())


def test_a_failed_accept_is_reported_and_tried_again(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpidha.transports.tlslistener.RETRY_S", 0.01)

    async def main() -> None:
        told, near = Told(), Factory()
        transport = authority.transport("a")
        transport.tell_to(told)
        listener: Any = await transport.listen(HERE, Factory())

        class Full:
            def fileno(self) -> int:
                return int(listener._sockets[0].fileno())

            def accept(self) -> None:
                raise OSError(24, "Too many open files")

        listener._accept(Full())
        assert "cannot accept a connection: Too many open files" in told.standing["link from any peer"]
        listener._sockets[0].listen(1)
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().remove_reader(listener._sockets[0].fileno())
        listener._resume(listener._sockets[0])
        await transport.connect(listener.address, near, timeout_s=TIMEOUT_S)
        near.made[0].link.close()
        await near.made[0].ended()
        await listener.close()
        listener._resume(listener._sockets[0])

    run(main())


def test_an_address_that_is_taken_is_named(authority: Authority) -> None:
    async def main() -> None:
        listener = await authority.transport("a").listen(HERE, Factory())
        with pytest.raises(
            OSError, match=f"cannot listen on 127.0.0.1:{listener.address[1]}: Address already in use"
        ):
            await authority.transport("b").listen(listener.address, Factory())
        await listener.close()

    run(main())


def test_unknown_tls_errors_keep_their_text() -> None:
    assert plain_words(OSError("x")) is None
    assert plain_words(ssl.SSLError(1, "[SSL: STRANGE] x")) is None
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = 77, "strange"
    assert plain_words(error) is None
