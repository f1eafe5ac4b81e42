"""Real broker processes under a stream of messages, watched from where their clients are."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from qpidha.demo.cluster import BrokerProcess, Cluster
from qpidha.stores.offline import inspect

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

from client import Consumer, Publisher  # noqa: E402 - after the path is set

BATCH = 50


class Stream:
    """Three brokers with SQLite stores, and one publisher that never stops until it is told to."""

    def __init__(self, work: Path, *, nodes: int = 3) -> None:
        self.work = work
        self.cluster = Cluster(ROOT / "examples" / "broker.py", work, nodes, memory=False)
        self.publisher = Publisher(self.cluster.addresses, window=2_000)
        self._publishing: asyncio.Task[None] | None = None
        self._stopping = False

    def __getitem__(self, name: str) -> BrokerProcess:
        return self.cluster.processes[name]

    async def __aenter__(self) -> Stream:
        self.cluster.__enter__()
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

    async def _publish(self) -> None:
        """Message n is the text of n: order and content can be checked without keeping anything."""
        while not self._stopping:
            first = self.publisher.published + 1
            await self.publisher.publish([b"%d" % n for n in range(first, first + BATCH)])
            await asyncio.sleep(0.001)

    # --- what tests wait for ---------------------------------------------------------------------

    async def confirmed(self, more: int) -> None:
        """Until so many more messages are confirmed than now."""
        goal = self.publisher.confirmed + more
        await self.until(lambda: _true(self.publisher.confirmed >= goal), f"{more} confirmations")

    async def whole(self, *, without: str = "") -> str:
        """Until all brokers, or all but one, are members; returns the primary."""
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
        """Poll: nothing may depend on how fast the machine is."""
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

    async def verify(self) -> None:
        """Everything confirmed comes out once, in order, unchanged; then all stores are the same, and empty.

        The publisher sends again what was in doubt, so in the end everything is confirmed and comes out.
        """
        self._stopping = True
        await self.publisher.drain()
        await self.whole()
        total, seen = self.publisher.published, 0
        async with Consumer(self.cluster.addresses) as consumer:
            while seen < total:
                delivery = await asyncio.wait_for(consumer.receive(), 30)
                for data in consumer.fresh(delivery):
                    seen += 1
                    assert data == b"%d" % seen, f"message {seen} of {total} came out as {data!r}"
                consumer.accept(delivery)
            await self.until(self._drained, "empty queues everywhere")
        assert self.cluster.stop() == []
        reports = [inspect(self.work / name) for name in self.cluster.processes]
        assert not any(report.damage for report in reports)
        assert len({(q.queue, q.lineage, q.next, q.held) for report in reports for q in report.queues}) == 1

    async def _drained(self) -> bool:
        statuses = await self.cluster.statuses()
        return all(s and all(q["depth"] == 0 for q in s["queues"]) for s in statuses.values())


async def _true(value: bool) -> bool:
    return value


def run(work: Path, main: Callable[[Stream], Awaitable[None]]) -> None:
    """Run one test on brokers of its own, and judge what came out at the end."""

    async def wrapped() -> None:
        async with Stream(work) as stream:
            await main(stream)
            await stream.verify()

    asyncio.run(wrapped())
