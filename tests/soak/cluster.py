"""Three brokers with SQLite stores, the network between them, and clients that never stop."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from qpidha.demo.cluster import Cluster
from tests.soak.changes import Changes
from tests.soak.ledger import Ledger, TimedPublisher, message
from tests.support.stream import BATCH, Consumer, Stream

PUBLISHERS = 3
STREAM = "work"
"""The queue of the publishers; the others are those of `Changes`."""
PACE_S = 0.03
WHOLE_TIMEOUT_S = 150.0
"""Longer than the maximum delay before a backup that keeps failing is admitted again."""


class SoakCluster(Stream):
    """A `Stream` with several publishers, and with a consumer and changes that never stop."""

    def __init__(
        self, work: Path, seed: int = 1, cluster: Cluster | None = None, *, updates: bool = True
    ) -> None:
        """With a cluster of the caller's there is no simulated network. Without ``updates``, messages are not updated."""
        super().__init__(work, pace_s=PACE_S, cluster=cluster)
        if cluster is None:
            self.interpose()
        for name in self.cluster.processes:
            self.option(name, "--ack-timeout", "2.5")
        self.ledger = Ledger()
        self.publishers = [TimedPublisher(self.cluster.addresses, n + 1) for n in range(PUBLISHERS)]
        self.publisher = self.publishers[0]
        self.changes = Changes(self.cluster.addresses, seed, updates=updates)
        self.full: set[str] = set()
        """Brokers whose disk is full: they may stop and log it."""
        self.starts = 0
        self._eating = asyncio.Event()
        self._eating.set()
        self._consuming: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SoakCluster:
        (self.work / "cluster").mkdir(mode=0o700)
        await super().__aenter__()
        for publisher in self.publishers[1:]:
            await publisher.__aenter__()
        await self.changes.__aenter__()
        self._consuming = asyncio.create_task(self._consume())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.consumer_leaves()
        await self.changes.close()
        for publisher in self.publishers[1:]:
            await publisher.close()
        await super().__aexit__()

    async def until(
        self, reached: Callable[[], Awaitable[Any]], what: str, *, timeout_s: float = WHOLE_TIMEOUT_S
    ) -> Any:
        async def reached_or_broken() -> Any:
            self.check_clients()
            return await reached()

        return await super().until(reached_or_broken, what, timeout_s=timeout_s)

    # --- clients -----------------------------------------------------------------------------------

    async def _publish(self) -> None:
        await asyncio.gather(*map(self._publish_one, self.publishers))

    async def _publish_one(self, publisher: TimedPublisher) -> None:
        while True:
            await self._going.wait()
            first = publisher.published + 1
            await publisher.publish([message(publisher.publisher, n) for n in range(first, first + BATCH)])
            await asyncio.sleep(self._pace_s)

    async def _consume(self) -> None:
        async with Consumer(self.cluster.addresses, credit=5_000) as consumer:
            while True:
                await self._eating.wait()
                delivery = await consumer.receive()
                self.ledger.take(delivery.batch, delivery.connection)
                consumer.accept(delivery)

    async def consumer_leaves(self) -> None:
        """Disconnect the consumer at an arbitrary moment. The next one receives the messages that it did not accept."""
        if self._consuming is not None and not self._consuming.done():
            self._consuming.cancel()
            await asyncio.wait([self._consuming])

    def consumer_comes(self) -> None:
        self._consuming = asyncio.create_task(self._consume())

    def eat(self, yes: bool) -> None:
        """Set whether the consumer accepts deliveries; while it does not, a backlog grows."""
        self._eating.set() if yes else self._eating.clear()

    def check_clients(self) -> None:
        """Raise the error of a client that failed: it has detected a violation."""
        self.changes.check()
        for task in (self._publishing, self._consuming):
            if task is not None and task.done() and not task.cancelled():
                task.result()

    # --- faults that leave something to repair -------------------------------------------------------

    def wipe(self, name: str) -> None:
        """Delete the broker's store, as if its disk were lost. The broker must not run."""
        shutil.rmtree(self.work / name)

    def fill(self, name: str) -> None:
        """Make each write of this process beyond the first 4 KiB of a file fail from now on."""
        self.full.add(name)
        resource.prlimit(self.pids()[name], resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    async def heal(self) -> None:
        """End all faults; start brokers again that do not run or whose disk was full."""
        self.network.mend()
        for name in self.cluster.processes:
            self.signal(name, signal.SIGCONT)
        for name in sorted(self.full):
            self.kill(name)
        self.full.clear()
        for name in sorted(set(self.cluster.processes) - set(self.pids())):
            self[name].start()
            self.starts += 1
        self.eat(True)
        if self._consuming is None or self._consuming.cancelled():
            self.consumer_comes()

    # --- the verdict -----------------------------------------------------------------------------------

    @property
    def published(self) -> int:
        return sum(p.published for p in self.publishers)

    @property
    def acknowledged(self) -> int:
        return sum(p.confirmed for p in self.publishers)

    async def caught_up(self) -> None:
        """Wait until every message confirmed so far was delivered."""
        goal = {p.publisher: p.confirmed for p in self.publishers}

        async def reached() -> bool:
            return all(self.ledger.seen.get(n, 0) >= confirmed for n, confirmed in goal.items())

        await self.until(
            reached, f"delivery of all confirmed messages: {goal}; delivered: {self.ledger.seen}"
        )

    async def serving(self) -> None:
        """Wait until each publisher, and the client that changes queues, has received a confirmation."""
        goal = {p: p.confirmed + 100 for p in self.publishers}
        changed = self.changes.facts.changes

        async def reached() -> bool:
            return self.changes.facts.changes > changed and all(
                p.confirmed >= confirmed for p, confirmed in goal.items()
            )

        await self.until(reached, "confirmations for every publisher and of a change")

    async def judge(self) -> None:
        """Stop publishing; check that every message is confirmed and delivered, and that its queue is empty.

        Stop changing, too; compare the other queues and all objects with the model.
        """
        self._going.clear()
        await asyncio.sleep(
            2 * self._pace_s
        )  # Publishes in progress are sent by then, or wait in the window.
        await self.until(self._all_confirmed, "confirmation of everything")
        await self.whole()
        await self.caught_up()
        await self.until(self._drained, "an empty queue on all brokers")
        compared = asyncio.create_task(self.changes.judge())
        await self.until(lambda: _done(compared), "confirmation of the last change, and what is there")
        assert self.acknowledged == self.published == self.ledger.fresh
        for publisher in self.publishers:
            publisher.forget_times()

    def go_on(self) -> None:
        """Publish and change again, after `judge`."""
        super().go_on()
        self.changes.go_on()

    def may_hold(self, name: str) -> bool:
        """Whether this queue may have content when everything that was published is accepted."""
        return name != STREAM

    async def _all_confirmed(self) -> bool:
        return self.acknowledged == self.published


async def _done(task: asyncio.Task[None]) -> bool:
    """Whether this task is done. Raises its error."""
    if task.done():
        task.result()
    return task.done()
