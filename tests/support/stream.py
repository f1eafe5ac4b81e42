"""Real broker processes under a stream of messages, observed by their clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from qpidha import Batch, SequenceSet
from qpidha.demo.cluster import BrokerProcess, Cluster
from qpidha.engines.ports import free_ports
from qpidha.stores.offline import inspect
from qpidha.types import Address
from tests.support.proxy import Network

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "simple"))

import client  # noqa: E402, F401 - after the path is set
import protocol  # noqa: E402 - after the path is set
from changer import Changer  # noqa: E402, F401 - for tests
from client import Connection, Consumer, Delivery, Publisher  # noqa: E402
from stamps import Deduplicator, read_stamps, stamps  # noqa: E402

BATCH = 50
BROKER = ROOT / "examples" / "simple" / "broker.py"


class Stream:
    """Three brokers with SQLite stores, and a publisher that publishes until the test stops it."""

    def __init__(
        self, work: Path, *, nodes: int = 3, pace_s: float = 0.001, cluster: Cluster | None = None
    ) -> None:
        self.work = work
        self.cluster = cluster or Cluster(BROKER, work, nodes, memory=False)
        self.network = Network(self.pids)
        self._gates: list[tuple[str, Address, Address]] = []
        self._pace_s = pace_s
        self.publisher = ResendingPublisher(self.cluster.addresses, window=2_000)
        self.seen = 0
        """The publisher's messages 1 … ``seen`` were delivered in order."""
        self.others: list[bytes] = []
        """Messages delivered from other publishers."""
        self._deduplicator = Deduplicator()
        self._publishing: asyncio.Task[None] | None = None
        self._going = asyncio.Event()
        self._going.set()

    def interpose(self) -> None:
        """Put the simulated network between the brokers. Call it before they start."""
        ports = free_ports()
        for name, process in self.cluster.processes.items():
            gate, listen = ("127.0.0.1", next(ports)), ("127.0.0.1", next(ports))
            self._gates.append((name, gate, listen))
            process._command += ["--listen", f"127.0.0.1:{listen[1]}", "--advertise", f"127.0.0.1:{gate[1]}"]

    def option(self, name: str, *words: str) -> None:
        """Add an option to the command line of a broker. Call it before the broker starts."""
        self[name]._command += words

    def pids(self) -> dict[str, int]:
        processes = {n: p._process for n, p in self.cluster.processes.items()}
        return {n: p.pid for n, p in processes.items() if p is not None and p.poll() is None}

    def __getitem__(self, name: str) -> BrokerProcess:
        return self.cluster.processes[name]

    async def __aenter__(self) -> Stream:
        self.cluster.__enter__()
        for gate in self._gates:
            await self.network.gate(*gate)
        self.cluster.start()
        await self.whole()
        await self.publisher.__aenter__()
        self._publishing = asyncio.create_task(self._publish())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._publishing:
            self._publishing.cancel()
            await asyncio.wait([self._publishing])
        await self.publisher.close()
        for name in self.cluster.processes:
            self.signal(name, signal.SIGCONT)
        self.cluster.__exit__()
        await self.network.__aexit__()

    async def _publish(self) -> None:
        """Publish until stopped. Message n is the text of n, so deliveries can be checked without stored data."""
        while True:
            await self._going.wait()
            first = self.publisher.published + 1
            await self.publisher.publish([b"%d" % n for n in range(first, first + BATCH)])
            await asyncio.sleep(self._pace_s)

    # --- what tests wait for ---------------------------------------------------------------------

    async def confirmed(self, more: int) -> None:
        """Wait until this many more messages are confirmed."""
        goal = self.publisher.confirmed + more
        await self.until(lambda: _true(self.publisher.confirmed >= goal), f"{more} confirmations")

    async def whole(self, *, without: str = "") -> str:
        """Wait until all brokers, or all but one, are members; return the primary."""
        names = set(self.cluster.processes) - {without}

        async def found() -> str | None:
            statuses = {n: s for n, s in (await self.cluster.statuses()).items() if n in names}
            if any(s is None or set(s["members"]) != names for s in statuses.values()):
                return None
            return next((n for n, s in statuses.items() if s and s["role"] == "active"), None)

        return str(await self.until(found, f"all of {sorted(names)} in sync"))

    async def until(
        self, reached: Callable[[], Awaitable[Any]], what: str, *, timeout_s: float = 45.0
    ) -> Any:
        """Wait by polling, so that tests do not depend on the speed of the machine."""
        deadline = time.monotonic() + timeout_s
        while not (found := await reached()):
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {n}\n{p.tail()}" for n, p in self.cluster.processes.items())
                raise AssertionError(f"never reached: {what}\n{logs}")
            await asyncio.sleep(0.02)
        return found

    # --- faults ----------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        self[name].kill()
        self[name].wait(10)

    def signal(self, name: str, number: signal.Signals) -> None:
        process = self[name]._process
        if process is not None and process.poll() is None:
            os.kill(process.pid, number)

    # --- the verdict -----------------------------------------------------------------------------

    def take(self, consumer: Consumer, delivery: Delivery, *, accept: bool = True) -> None:
        """Check a delivery to any consumer."""
        consumer.deduplicator = self._deduplicator
        for data in consumer.fresh(delivery):
            if not data.isdigit():
                self.others.append(data)
                continue
            self.seen += 1
            assert data == b"%d" % self.seen, f"message {self.seen} was delivered as {data!r}"
        if accept:
            consumer.accept(delivery)

    async def verify(self) -> None:
        """Check each confirmed message as `judge` does; then that all stores are equal, and their queue empty."""
        await self.judge()
        assert self.cluster.stop() == []
        reports = [inspect(self.work / name) for name in self.cluster.processes]
        assert not any(report.damage for report in reports)
        stores = [{(q.queue, q.lineage, q.next, q.held) for q in report.queues} for report in reports]
        assert all(store == stores[0] for store in stores)
        assert not any(q.held for report in reports for q in report.queues if not self.may_hold(q.name))

    async def judge(self) -> None:
        """Check that each confirmed message is delivered once, in order and unchanged. The publisher stops first.

        The publisher resends what was in doubt, so in the end all messages are confirmed and delivered.
        """
        self._going.clear()
        await self.publisher.drain()
        await self.whole()
        async with Consumer(self.cluster.addresses) as consumer:
            last = time.monotonic()
            while self.seen < self.publisher.published or not await self._drained():
                assert time.monotonic() - last < 30, (
                    f"{self.seen} of {self.publisher.published} were delivered"
                )
                with contextlib.suppress(asyncio.TimeoutError):
                    self.take(consumer, await asyncio.wait_for(consumer.receive(), 0.2))
                    last = time.monotonic()
        assert self.seen == self.publisher.published

    def go_on(self) -> None:
        """Publish again, after `judge`."""
        self._going.set()

    async def _drained(self) -> bool:
        statuses = await self.cluster.statuses()
        return all(
            s and all(q["depth"] == 0 for q in s["queues"] if not self.may_hold(q["name"]))
            for s in statuses.values()
        )

    def may_hold(self, name: str) -> bool:
        """Whether this queue may have content when everything that was published is accepted."""
        return name.startswith("$")


async def _true(value: bool) -> bool:
    return value


# --- clients that check more than the example's --------------------------------------------------


class ResendingPublisher(Publisher):
    """Records the numbers that it sent more than once: each may be delivered as more than one message."""

    def __init__(self, addresses: Sequence[Address], *, window: int) -> None:
        super().__init__(addresses, window=window)
        self.doubted = SequenceSet()
        self.late_s = 0.0
        """Seconds before it reconnects after it lost a primary."""

    async def _visit(self, address: Address) -> Connection | Address | None:
        await asyncio.sleep(self.late_s if self.connections else 0)
        return await super()._visit(address)

    def connected(self, connection: Connection) -> None:
        if self.connections > 1 and self.unconfirmed:
            self.doubted.add(self.confirmed + 1, self.published)
        super().connected(connection)


class SettlingConsumer(Consumer):
    """Records which messages a broker reported as settled, and which of those are delivered again."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream.cluster.addresses, credit=500)
        self.settled = SequenceSet()
        """Numbers of settled messages."""
        self.again: list[int] = []
        """Numbers of messages delivered although they had been settled."""
        self._ids = SequenceSet()
        """Ids of settled messages. No primary may use one of them for another message."""
        self._doubted = stream.publisher.doubted
        self._numbers: dict[int, int] = {}
        self._of: Connection | None = None

    def received(self, connection: Connection, kind: int, body: memoryview) -> None:
        if (
            connection is not self._of
        ):  # A message that was not safe on the last primary may have another id here.
            self._of, self._numbers = connection, {}
        if kind == protocol.SETTLED:
            for id in SequenceSet.decode(bytes(body)):
                self.settled.add(self._numbers.pop(id))
                self._ids.add(id)
        super().received(connection, kind, body)
        if kind == protocol.DELIVER:
            delivery = self._inbox[-1]
            ids, numbers = SequenceSet.decode(delivery.ids), read_stamps(delivery.batch)[1::2]
            for id, number in zip(ids, numbers, strict=True):
                self._numbers[id] = number
                if id in self._ids or (number in self.settled and number not in self._doubted):
                    self.again.append(number)


class LoyalPublisher:
    """Stays connected to one broker and accepts all its confirmations."""

    PUBLISHER = 7

    def __init__(self) -> None:
        self.published = 0
        self.confirmed = 0
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self, broker: BrokerProcess) -> None:
        self._reader, self._writer = await asyncio.open_connection(*broker.client)
        assert (await self._frame())[0] == protocol.WELCOME

    async def _frame(self) -> tuple[int, bytes]:
        size, kind = protocol.HEADER.unpack(await self._reader.readexactly(protocol.HEADER.size))
        return kind, await self._reader.readexactly(size)

    def publish(self, count: int) -> None:
        """Send one batch without waiting, not even until the broker reads it."""
        first = self.published + 1
        messages = [b"loyal %d" % n for n in range(first, first + count)]
        batch = Batch.pack(messages, stamps(self.PUBLISHER, first, count))
        self.published += count
        body = struct.pack("<Q", self.published) + bytes(batch.chunk)
        self._writer.write(protocol.HEADER.pack(len(body), protocol.PUBLISH) + body)

    async def listen(self) -> None:
        """Receive confirmations until the broker closes the connection."""
        try:
            while True:
                kind, body = await self._frame()
                assert kind == protocol.CONFIRM
                (self.confirmed,) = struct.unpack("<Q", body)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._writer.close()


class LoyalConsumer:
    """A consumer that stays connected to one broker, and receives only what its credit allows."""

    async def open(self, broker: BrokerProcess) -> None:
        self._reader, self._writer = await asyncio.open_connection(*broker.client)
        assert (await self._frame())[0] == protocol.WELCOME

    async def _frame(self) -> tuple[int, bytes]:
        size, kind = protocol.HEADER.unpack(await self._reader.readexactly(protocol.HEADER.size))
        return kind, await self._reader.readexactly(size)

    async def take(self, credit: int) -> bytes:
        """Receive one delivery and return its encoded ids."""
        body = struct.pack("<I", credit)
        self._writer.write(protocol.HEADER.pack(len(body), protocol.SUBSCRIBE) + body)
        kind, body = await self._frame()
        assert kind == protocol.DELIVER
        return body[4 : 4 + struct.unpack_from("<I", body)[0]]

    def accept(self, ids: bytes) -> None:
        self._writer.write(protocol.HEADER.pack(len(ids), protocol.ACCEPT) + ids)

    async def settled(self) -> bool:
        """Whether the broker reported a settled message before it closed the connection."""
        said = False
        try:
            while True:
                said |= (await self._frame())[0] == protocol.SETTLED
        except (asyncio.IncompleteReadError, ConnectionError):
            self._writer.close()
        return said


def run(work: Path, main: Callable[[Stream], Awaitable[None]], *, verify: bool = True) -> None:
    """Run one test on new brokers, and `verify` at the end unless ``verify`` is False."""

    async def wrapped() -> None:
        async with Stream(work) as stream:
            await main(stream)
            if verify:
                await stream.verify()

    asyncio.run(wrapped())
