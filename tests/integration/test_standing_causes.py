"""A lasting fault is retried rarely, logged once with both values, and shown in the status until it ends.

Method: nodes in one process with a small maximum delay. Attempts are counted, not timed: without delays there would
be thousands of attempts while a test waits for the few that it expects.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpidha import Node, Settings
from qpidha.cli.nodes import Row, lines_of_status
from qpidha.errors import CallerError, ClusterError
from qpidha.events import LoopStalled, NoLinkToPrimary
from qpidha.interfaces import Link, LinkFactory
from qpidha.node.troubles import LINES_MAX
from qpidha.records import FileRecordStore
from qpidha.stores.memory import MemoryStore
from qpidha.system.backoff import Backoff
from qpidha.transports import TcpTransport
from qpidha.types import Address
from tests.support.harness import QUICK, Recorder, World, run, until

SLOW = replace(QUICK, reconnect_interval_s=0.02, reconnect_interval_max_s=0.3, record_retry_max_s=0.3)


class Counted(TcpTransport):
    """A transport that counts its calls."""

    attempts = 0

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        self.attempts += 1
        return await super().connect(address, on_link, timeout_s=timeout_s, expect=expect)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The log lines of the nodes, at INFO and above, without stalls: those are the machine's, and come at any time."""

    class Lines(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def emit(self, record: logging.LogRecord) -> None:
            if f": {LoopStalled.name}: " not in (line := record.getMessage()):
                self.lines.append(line)

    caplog.set_level("INFO", "qpidha")
    handler = Lines()
    logging.getLogger("qpidha").addHandler(handler)
    yield handler.lines
    logging.getLogger("qpidha").removeHandler(handler)


def make(name: str, records: Any, settings: Settings = SLOW, **options: Any) -> tuple[Node, Counted]:
    transport = Counted()
    options.setdefault("store", MemoryStore())
    node = Node(name, broker=Recorder(), transport=transport, records=records, settings=settings, **options)
    return node, transport


CAUSE = NoLinkToPrimary.name


def trouble(node: Node, cause: str = CAUSE) -> str:
    """Return the status text of a cause; "" if the cause does not exist."""
    return next((t.text for t in node.status().troubles if t.cause == cause), "")


def attempts(node: Node, cause: str = CAUSE) -> int:
    return next((t.attempts for t in node.status().troubles if t.cause == cause), 0)


async def watch(lines: list[str], node: Node, transport: Counted, cause: str = CAUSE) -> Counter[str]:
    """Wait for five more failed attempts and check their delays and that at most one line is logged. Return all lines."""
    await until(lambda: attempts(node, cause) >= 8, what=f"8 attempts, {node.status().troubles}")
    before, tried, seen = asyncio.get_running_loop().time(), transport.attempts, attempts(node, cause)
    await until(lambda: attempts(node, cause) >= seen + 5)
    took_s = asyncio.get_running_loop().time() - before
    assert transport.attempts - tried <= 7
    assert took_s > 4 * SLOW.reconnect_interval_max_s / 2, "the delays have not grown"
    for line, count in (found := Counter(lines)).items():
        assert count == 1 or ": role: " in line, line
    return found


def test_a_delay_doubles_to_its_maximum_and_is_shortened_by_chance() -> None:
    chance = iter([0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0.0])
    backoff = Backoff(0.1, 0.8, chance=lambda: next(chance))
    assert [backoff.delay() for _ in range(5)] == pytest.approx([0.1, 0.2, 0.2, 0.6, 0.8])
    backoff.reset()
    assert backoff.delay() == pytest.approx(0.1)
    assert Backoff(0.0, 0.0).delay() > 0


def test_an_unreachable_address(lines: list[str]) -> None:
    async def main(world: World) -> None:
        a, _ = make("a", world.records, advertise=("127.0.0.1", 1))
        b, transport = make("b", world.records)
        async with a:
            await a.promote()
            async with b:
                found = await watch(lines, b, transport)
                text = trouble(b)
        assert f"node b: {CAUSE}: {text}" in found
        assert sum(CAUSE in line for line in found) <= 2, "the second one is a reminder"
        assert "a: cannot connect to 127.0.0.1:1" in text

    run(main)


def test_another_address_is_tried_at_once() -> None:
    """The delay that the old address had reached does not apply."""
    settings = replace(SLOW, reconnect_interval_max_s=3600.0, reconnect_interval_s=3600.0)

    async def main(world: World) -> None:
        store = MemoryStore()
        a, _ = make("a", world.records, settings, advertise=("127.0.0.1", 1), store=store)
        b, transport = make("b", world.records, settings)
        async with b:
            async with a:
                await a.promote()
                await until(lambda: trouble(b))
            assert transport.attempts == 1
            again, _ = make("a", world.records, settings, store=store)
            async with again:
                await until(lambda: again.status().in_sync)
                await again.promote()
                await until(lambda: b.status().in_sync)
                assert trouble(b) == ""

    run(main)


def test_a_link_that_worked_for_long_is_opened_again_at_once() -> None:
    settings = replace(SLOW, reconnect_interval_s=0.05, reconnect_interval_max_s=0.05)

    async def main(world: World) -> None:
        a, _ = make("a", world.records, settings)
        b, transport = make("b", world.records, settings)
        async with a, b:
            await a.promote()
            await until(lambda: b.status().in_sync)
            for _ in range(5):
                tried = transport.attempts
                for peer in list(b._parts.links.peers.values()):
                    peer.link.abort()
                await until(lambda tried=tried: transport.attempts > tried and b.status().role == "ready")  # type: ignore[misc]

    run(main)


def test_a_store_of_another_cluster_is_reported_on_both_sides(lines: list[str]) -> None:
    store = MemoryStore()

    async def main(world: World) -> None:
        async with World(SLOW) as other:
            node, _ = make("b", other.records, store=store)
            async with node:
                await node.promote()
                wrong = node._runtime.replica.cluster
        lines.clear()
        a, _ = make("a", world.records)
        b, transport = make("b", other.records, store=store)
        async with a:
            await a.promote()
            right = a._runtime.replica.cluster
            b._parts.records = b._parts.cluster._records = _Foreign(world.records, other.records)  # type: ignore[assignment]
            async with b:
                found = await watch(lines, b, transport)
                assert str(wrong) in trouble(b) and str(right) in trouble(b)
                assert trouble(a, "link from node 'b'") == trouble(b).removeprefix("a: refused: ")
        assert len(found) < 12

    run(main)


class _Foreign:
    """A record store that changes to another cluster after the record was read, like a swapped cluster directory."""

    def __init__(self, theirs: Any, ours: Any) -> None:
        self._theirs, self._ours = theirs, ours

    async def read(self) -> Any:
        return await self._ours.read()

    async def watch(self) -> AsyncIterator[Any]:
        async for found in self._theirs.watch():
            yield replace(found, version=found.version + 100)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)


def test_two_processes_with_one_node_id_are_reported_on_both_sides(lines: list[str]) -> None:
    async def main(world: World) -> None:
        a, _ = make("a", world.records)
        b, _ = make("b", world.records)
        async with a, b:
            await a.promote()
            await until(lambda: b.status().in_sync)
            await until(lambda: any(peer.settled for peer in a._parts.links.peers.values()))
            twin, transport = make("b", _NoSession(world.records))
            async with twin:
                await watch(lines, twin, transport)
                for node in (twin, a):
                    told = trouble(node, CAUSE if node is twin else "link from node 'b'")
                    assert str(b._runtime.boot) in told and str(twin._runtime.boot) in told
                assert b.status().in_sync

    run(main)


class _NoSession:
    """A record store that accepts a second session of a node, as two independent stores would."""

    def __init__(self, records: Any) -> None:
        self._records = records

    async def open_session(self, node: str, info: bytes, *, ttl_s: float) -> Any:
        return await self._records.open_session(f"{node}-twin", info, ttl_s=ttl_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)


def test_a_primary_without_a_session_is_reported(lines: list[str]) -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        await world.kill("a")
        await until(lambda: "no session" in trouble(b))
        assert attempts(b) <= 3
        await b.promote()
        assert trouble(b) == ""
        del a

    run(main)
    assert sum("no session" in line and " times in " not in line for line in lines) == 1


@pytest.mark.parametrize("damage", ["damaged", "a directory", "gone back"])
def test_a_record_that_cannot_be_read(tmp_path: Path, lines: list[str], damage: str) -> None:
    async def main() -> None:
        records = [FileRecordStore(tmp_path / "cluster") for _ in "ab"]
        a, _ = make("a", records[0])
        b, transport = make("b", records[1])
        async with a, b:
            await a.promote()
            await until(lambda: b.status().in_sync and not a.status().troubles and not b.status().troubles)
            record = tmp_path / "cluster" / "record.json"
            good = record.read_bytes()
            lines.clear()
            if damage == "damaged":
                record.write_bytes(good.replace(b'"generation": 1', b'"generation": 7'))
            elif damage == "a directory":
                record.unlink()
                record.mkdir()
            else:
                record.unlink()
            found = await watch(lines, b, transport, "record")
            assert all("record: " in line for line in found)
            assert 2 <= len(found) <= 4, "one line for each node, and perhaps a reminder"
            if damage == "a directory":
                record.rmdir()
            record.write_bytes(good)
            await until(lambda: not trouble(a, "record") and not trouble(b, "record"))
            assert sum("in order again" in line for line in lines) == 2
        for each in records:
            await each.close()

    asyncio.run(main())


def test_a_watch_that_fails_after_each_record_does_not_flood_the_log(lines: list[str]) -> None:
    """The watch works for a moment each time; the number of lines and attempts must still be bounded."""

    class Failing:
        watches = 0

        def __init__(self, records: Any) -> None:
            self._records = records

        async def watch(self) -> AsyncIterator[Any]:
            self.watches += 1
            yield await self._records.read()
            raise ClusterError("the connection to the manager was reset")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._records, name)

    async def main(world: World) -> None:
        records = Failing(world.records)
        node, _ = make("a", records)
        async with node:
            await until(lambda: records.watches >= 12)
        assert sum(": record: " in line for line in lines) <= LINES_MAX

    run(main)


def test_a_session_that_cannot_be_opened_again(lines: list[str]) -> None:
    class Failing:
        opened = 0

        def __init__(self, records: Any) -> None:
            self._records = records

        async def open_session(self, node: str, info: bytes, *, ttl_s: float) -> Any:
            self.opened += 1
            if 2 <= self.opened <= 7:
                raise ClusterError("the manager refuses sessions")
            return await self._records.open_session(node, info, ttl_s=ttl_s)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._records, name)

    async def main(world: World) -> None:
        records = Failing(world.records)
        node, _ = make("a", records)
        async with node:
            world.records.expire("a")
            await until(lambda: trouble(node, "session"))
            await until(lambda: records.opened >= 8 and not trouble(node, "session"))
        told = [line for line in lines if ": session: " in line]
        assert 3 <= len(told) <= 4, told

    run(main)


def test_causes_are_shown_by_the_command_line() -> None:
    async def main(world: World) -> None:
        a, _ = make("a", world.records, advertise=("127.0.0.1", 1))
        b, _ = make("b", world.records)
        async with a, b:
            await a.promote()
            await until(lambda: attempts(b) >= 2)
            shown = "\n".join(lines_of_status(Row(Path("b"), status=b.status().to_dict())))
        assert f"trouble: {CAUSE}: a: cannot connect to 127.0.0.1:1" in shown

    run(main)


def test_versions_without_overlap_are_reported_on_both_sides(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpidha.core.backup.follower.PROTOCOL_MIN", 7)
    monkeypatch.setattr("qpidha.core.backup.follower.PROTOCOL_MAX", 9)

    async def main(world: World) -> None:
        a, _ = make("a", world.records)
        b, transport = make("b", world.records)
        async with a, b:
            await a.promote()
            await watch(lines, b, transport)
            both = "backup 'b' speaks protocol versions 7 to 9, primary 'a' 1 to 5"
            assert trouble(b) == f"a: refused: {both}"
            assert trouble(a, "link from node 'b'") == both

    run(main)


def test_a_cut_link_is_reported_until_it_is_back(lines: list[str]) -> None:
    async def main(world: World) -> None:
        a, _ = make("a", world.records)
        b, _ = make("b", world.records)
        async with a, b:
            await a.promote()
            await until(lambda: b.status().in_sync)
            resyncs = b.status().resyncs
            for peer in list(a._parts.links.peers.values()):
                peer.link.abort()
            await until(lambda: b.status().resyncs > resyncs)
            await until(lambda: trouble(b) == "")
        told = [line for line in lines if f": {CAUSE}: " in line]
        assert len(told) == 2 and "in order again; it happened 1 time" in told[1], told

    run(main)


MIB = 1 << 20


@pytest.mark.parametrize(
    ("primary", "backup", "words"),
    [
        ({"frame_bytes_max": 64 * MIB}, {}, ("frame_bytes_max", 64 * MIB, 16 * MIB)),
        ({}, {"message_bytes_max": MIB}, ("message_bytes_max", 8 * MIB, MIB)),
        ({}, {"queues_max": 2}, ("queues_max", 2, 3)),
    ],
)
def test_incompatible_limits_are_reported_on_both_sides(
    lines: list[str], primary: dict[str, int], backup: dict[str, int], words: tuple[object, ...]
) -> None:
    async def main(world: World) -> None:
        a, _ = make("a", world.records, replace(SLOW, **primary))  # type: ignore[arg-type]
        b, transport = make("b", world.records, replace(SLOW, **backup))  # type: ignore[arg-type]
        async with a:
            await a.promote()
            for name in ("q", "r", "s"):
                a.declare(name)
            receipt = await a.queue("q").enqueue(b"x")
            assert receipt.nodes == {"a"}
            async with b:
                await watch(lines, b, transport)
                for told in (trouble(b), trouble(a, "link from node 'b'")):
                    assert all(str(word) in told for word in words), told
                assert not b.status().in_sync
            again, _ = make("b", world.records, replace(SLOW, **primary))  # type: ignore[arg-type]
            async with again:
                await until(lambda: again.status().in_sync)
                await until(lambda: not trouble(a, "link from node 'b'"))
                assert (await a.queue("q").enqueue(b"x")).nodes == {"a", "b"}

    run(main)


def test_a_backup_with_larger_limits_joins() -> None:
    async def main(world: World) -> None:
        a, _ = make("a", world.records, replace(SLOW, ids_runs_per_chunk_max=2))
        b, _ = make("b", world.records, replace(SLOW, frame_bytes_max=64 * MIB, queues_max=10))
        async with a, b:
            await a.promote()
            await until(lambda: b.status().in_sync)
            queue = a.declare("q")
            await queue.enqueue_many([b"x"] * 100)
            await queue.dequeue(range(1, 100, 2))
            resyncs = b.status().resyncs
            for peer in list(b._parts.links.peers.values()):
                peer.link.abort()
            await until(lambda: b.status().resyncs > resyncs and b.status().in_sync)
            assert b.queue("q").depth == 50
            with pytest.raises(CallerError, match="queues_max of backup 'b' is 10"):
                for n in range(20):
                    a.declare(f"more {n}")
            assert len(a.queues) == 10

    run(main)
