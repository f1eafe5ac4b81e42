"""A cluster over TLS: both sides verify certificates, and a certificate of another node opens no session."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme

from qpidha import Node, Role, Settings
from qpidha.engines.ports import free_ports
from qpidha.errors import SettingsError
from qpidha.stores.memory import MemoryStore
from qpidha.system.racing import STAGGER_S
from qpidha.transports import TcpTransport
from qpidha.types import Address
from tests.support.harness import QUICK, Recorder, World, run, until


def certified(
    ca: trustme.CA, base: Path, name: str, *, trusted: trustme.CA | None = None, **how: Any
) -> TcpTransport:
    """A transport with a certificate for this node id. ``trusted``: the authority of its peers, if different."""
    base.mkdir(exist_ok=True)
    certificate = ca.issue_cert(name, **how)
    (trusted or ca).cert_pem.write_to_path(base / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(base / f"{name}.pem")
    (base / f"{name}.pem").chmod(0o600)
    return TcpTransport.with_certificates(ca=base / "ca.pem", certificate=base / f"{name}.pem")


async def start(
    world: World, name: str, transport: TcpTransport, settings: Settings = QUICK, **where: Any
) -> Node:
    world.brokers[name] = Recorder()
    node = Node(
        name, broker=world.brokers[name], store=MemoryStore(), transport=transport, records=world.records,
        settings=settings, **where,
    )  # fmt: skip
    await node.start()
    world.nodes[name] = node
    return node


def test_nodes_replicate_over_tls(tmp_path: Path) -> None:
    ca = trustme.CA()

    async def main(world: World) -> None:
        a = await start(world, "a", certified(ca, tmp_path, "a"))
        b = await start(world, "b", certified(ca, tmp_path, "b"))
        await a.promote()
        await until(lambda: world.members() == {"a", "b"})
        op = a.declare("q").enqueue_many([b"x" * 5000] * 2000)
        assert (await op).nodes == {"a", "b"}
        assert b.queue("q").depth == 2000

    run(main)


@pytest.mark.parametrize("who", ["other authority", "other name"])
def test_a_wrong_certificate_opens_no_session(tmp_path: Path, who: str) -> None:
    """B33: the certificate is valid but of another node, or from another authority."""
    ca = trustme.CA()

    async def main(world: World) -> None:
        a = await start(world, "a", certified(ca, tmp_path, "a"))
        await a.promote()
        wrong = certified(trustme.CA() if who == "other authority" else ca, tmp_path / "wrong", "mallory")
        b = await start(world, "b", wrong)
        a.declare("q")
        # A good certificate for another name opens a link, but not a session as "b".
        reason = "certificate of backup 'b' is for mallory" if who == "other name" else "certificate"
        await until(lambda: [t for t in b.status().troubles if reason in t.text])
        assert (await a.queue("q").enqueue(b"x")).nodes == {"a"}
        assert not any(p.welcomed for p in a._parts.links.peers.values())
        assert b.role is Role.JOINING and world.members() == {"a"}

    run(main)


class SlowWay:
    """A way to an address on which answers take longer than the time after which the next address is tried."""

    def __init__(self, to: Address) -> None:
        self._to = to
        self.bytes_answered = 0
        self.ended = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self) -> Address:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return host, port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            far, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return

        async def ask() -> None:
            while data := await reader.read(1 << 16):
                far_writer.write(data)
            far_writer.write_eof()

        async def answer() -> None:
            while data := await far.read(1 << 16):
                await asyncio.sleep(2 * STAGGER_S)
                self.bytes_answered += len(data)
                writer.write(data)
            writer.write_eof()

        await asyncio.gather(ask(), answer(), return_exceptions=True)
        for each in (writer, far_writer):
            each.transport.abort()
        if self.bytes_answered:  # Otherwise it was asked only whether anybody listens.
            self.ended.set()

    async def close(self) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


def test_the_slower_of_two_addresses_is_no_failed_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A backup uses the second address while its TLS handshake with the first one goes on."""
    ca = trustme.CA()

    async def main(world: World) -> None:
        there = ("127.0.0.1", next(free_ports()))
        slow = SlowWay(there)
        advertise = [await slow.open(), there]
        a = await start(world, "a", certified(ca, tmp_path, "a"), listen=there, advertise=advertise)
        await a.promote()
        b = await start(world, "b", certified(ca, tmp_path, "b"))
        await until(lambda: b.status().in_sync)
        await asyncio.wait_for(slow.ended.wait(), 10)
        await until(lambda: len(a._parts.links.peers) == 1)
        await slow.close()

    caplog.set_level("INFO", "qpidha")
    run(main)
    assert [r.getMessage() for r in caplog.records if "link from" in r.getMessage()] == []


def told(node: Node, start: str) -> str:
    return next((t.text for t in node.status().troubles if t.cause.startswith(start)), "")


@pytest.mark.parametrize(
    ("case", "primary", "backup"),
    [
        (
            "other authority",
            "authority that this node does not know",
            "authority that the other end does not know",
        ),
        ("primary of other authority", "that the other end does not know", "that this node does not know"),
        ("expired", "its certificate has expired", "refuses this node's certificate: it has expired"),
        ("plain backup", "does not speak TLS", "it may expect TLS, and this node speaks plain text"),
        ("plain primary", "the other end speaks TLS, this node plain text", "does not speak TLS"),
        (
            "other name",
            "certificate of backup 'b' is for mallory",
            "certificate of backup 'b' is for mallory",
        ),
        (
            "primary of other name",
            "it may refuse this node's certificate",
            "expected node 'a', but its certificate is for mallory",
        ),
    ],
)
def test_a_tls_error_is_reported_once_on_both_sides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str, primary: str, backup: str
) -> None:
    ca, other = trustme.CA(), trustme.CA()
    gone = datetime.now(timezone.utc) - timedelta(days=1)
    one = certified(ca, tmp_path / "a", "a")
    two = certified(ca, tmp_path / "b", "b")
    if case == "other authority":
        two = certified(other, tmp_path / "b", "b", trusted=ca)
    elif case == "primary of other authority":
        one = certified(other, tmp_path / "a", "a", trusted=ca)
    elif case == "expired":
        two = certified(ca, tmp_path / "b", "b", not_before=gone - timedelta(days=1), not_after=gone)
    elif case == "plain backup":
        two = TcpTransport()
    elif case == "plain primary":
        one = TcpTransport()
    elif case == "other name":
        two = certified(ca, tmp_path / "b", "mallory")
    else:
        one = certified(ca, tmp_path / "a", "mallory")

    async def main(world: World) -> None:
        settings = replace(QUICK, reconnect_interval_max_s=0.2)
        a = await start(world, "a", one, settings)
        await a.promote()
        b = await start(world, "b", two, settings)
        await until(lambda: backup in told(b, "link to the primary"))
        await until(lambda: primary in told(a, "link from"))
        count = b.status().troubles[-1].attempts
        await until(lambda: b.status().troubles[-1].attempts >= count + 5)
        assert not any(p.welcomed for p in a._parts.links.peers.values())
        for link in ("link to the primary", "link from"):
            lines = [r.getMessage() for r in caplog.records if f": {link}" in r.getMessage()]
            assert len(lines) == len(set(lines)) <= 3, lines

    caplog.set_level("INFO", "qpidha")
    run(main)


def test_a_wrong_name_that_begins_like_the_right_one_is_refused(tmp_path: Path) -> None:
    """Both sides compare the whole name and its case: "a" is neither "a1" nor "A"."""
    ca = trustme.CA()

    async def main(world: World) -> None:
        a = await start(world, "a", certified(ca, tmp_path / "a", "a1"))
        await a.promote()
        b = await start(world, "b", certified(ca, tmp_path / "b", "b"))
        await until(lambda: "expected node 'a', but its certificate is for a1" in told(b, "link to"))
        assert a._parts.links.peers == {} and world.members() == {"a"}

    run(main)


def test_certificates_that_are_renewed_in_place_are_used_by_the_next_link(tmp_path: Path) -> None:
    """A node whose expired certificate is renewed connects at once, not after the delay that it had reached."""
    ca = trustme.CA()
    gone = datetime.now(timezone.utc) - timedelta(hours=1)
    slow = replace(QUICK, reconnect_interval_s=3600.0, reconnect_interval_max_s=3600.0)

    async def main(world: World) -> None:
        a = await start(world, "a", certified(ca, tmp_path / "a", "a"), slow)
        await a.promote()
        late = certified(ca, tmp_path / "b", "b", not_before=gone - timedelta(days=1), not_after=gone)
        b = await start(world, "b", late, slow)
        await until(lambda: "expired" in told(b, "link to the primary"))
        assert "has expired at" in told(b, "certificate")
        assert b.status().certificate_days_left == pytest.approx(-1 / 24, abs=0.01)
        for name in "ab":
            certified(ca, tmp_path / name, name)
        await until(lambda: b.status().in_sync)
        await until(lambda: not told(b, "certificate"))
        days = b.status().certificate_days_left
        assert days is not None and days > 100

    run(main)


def test_plain_text_does_not_leave_the_machine() -> None:
    async def main(world: World) -> None:
        node = Node("a", broker=Recorder(), store=MemoryStore(), transport=TcpTransport(), records=world.records,
                    listen=("0.0.0.0", 0), advertise=("node-a", 5671))  # fmt: skip
        with pytest.raises(SettingsError, match="plain text"):
            await node.start()

    run(main)
