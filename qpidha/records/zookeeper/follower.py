"""Follows the record and the sessions in ZooKeeper, for all watches of one store.

A watch of ZooKeeper only says *that* something has changed; what there is now is then read, from the leader, and
watched again. A connection that ends takes its watches with it, and makes everything be read over the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from qpidha.records.soon import Soon
from qpidha.records.watch import WatchedValue
from qpidha.records.zookeeper.layout import Snapshot
from qpidha.records.zookeeper.link import Link
from qpidha.records.zookeeper.requests import Requests
from qpidha.types import NodeId, Versioned

READ_TIMEOUT_S = 5.0
"""A read that takes longer fails: the watches end with its error."""
RETRY_S = 0.1
"""Before the next attempt, after a failure."""


class Follower:
    """The record and the live nodes as last read."""

    def __init__(self, requests: Requests, *, check_interval_s: float) -> None:
        self.record: WatchedValue[Versioned | None] = WatchedValue(self._start)
        self.live: WatchedValue[Mapping[NodeId, bytes]] = WatchedValue(self._start)
        self._requests = requests
        self._check_interval_s = check_interval_s
        self._due = asyncio.Event()
        self._soon = Soon(self._due.set)
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def poll_soon(self) -> None:
        """Read in a moment, in case that nothing tells of a change. Never blocks."""
        self._soon.ask()

    def poll(self) -> None:
        """Read at once. Never blocks."""
        self._soon.now()

    def _start(self) -> None:
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._run(), name="qpidha-zookeeper-read")

    def _fired(self, event: object) -> None:
        """A watch has fired. Called by a thread of kazoo."""
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._due.set)
            except RuntimeError:
                return  # The event loop is closed.

    async def _run(self) -> None:
        while True:
            self._due.clear()
            if not await self._read():
                await asyncio.sleep(RETRY_S)
                continue
            waiter = asyncio.ensure_future(self._due.wait())
            try:  # `asyncio.wait_for` may lose a cancellation before Python 3.12.
                await asyncio.wait({waiter}, timeout=self._check_interval_s)
            finally:
                waiter.cancel()

    async def _read(self) -> bool:
        self.record.begin()
        self.live.begin()
        try:
            found = await self._requests.run(self._look, READ_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - also a bug must not leave the watches waiting for ever
            self.record.fail(error)
            self.live.fail(error)
            return False
        self.record.set(found.record)
        self.live.set(found.live)
        return True

    async def _look(self, link: Link) -> Snapshot:
        return await self._requests.read(link, self._fired)

    async def close(self) -> None:
        """End all watches, then the task. May be called twice."""
        self.record.close()
        self.live.close()
        self._soon.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
