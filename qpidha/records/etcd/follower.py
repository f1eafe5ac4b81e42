"""Follows the record and the sessions in etcd, for all watches of one store.

A watch of etcd only says *that* something has changed; what there is now is then read, from a majority. So a watch that
is compacted, cut off or served by a member that lags can make others learn late, but never of something wrong. How
late is limited: everything is read every ``check_interval_s`` anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from qpidha.errors import ClusterError
from qpidha.records.etcd.gateway import Gateway
from qpidha.records.etcd.layout import Layout, Snapshot
from qpidha.records.watch import WatchedValue
from qpidha.types import NodeId, Versioned

READ_TIMEOUT_S = 5.0
"""A read that takes longer fails: the watches end with its error."""
RETRY_S = 0.1
"""Before the next attempt, after a failure."""


class Follower:
    """The record and the live nodes as last read."""

    def __init__(
        self,
        gateway: Gateway,
        layout: Layout,
        read_all: Callable[[float], Awaitable[Snapshot]],
        *,
        check_interval_s: float,
    ) -> None:
        self.record: WatchedValue[Versioned | None] = WatchedValue(self._start)
        self.live: WatchedValue[Mapping[NodeId, bytes]] = WatchedValue(self._start)
        self._gateway = gateway
        self._layout = layout
        self._read_all = read_all
        self._check_interval_s = check_interval_s
        self._due = asyncio.Event()
        self._known = asyncio.Event()
        """Everything was read at least once, so that a watch knows from which revision on."""
        self._revision = 0
        """The newest one that was read."""
        self._tasks: list[asyncio.Task[None]] = []
        self._stream: asyncio.Task[None] | None = None

    def poll_soon(self) -> None:
        """Read at once. Never blocks."""
        self._due.set()

    def _start(self) -> None:
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._run(), name="qpidha-etcd-read"),
                loop.create_task(self._listen(), name="qpidha-etcd-listen"),
            ]

    # --- reading -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            told = self._due.is_set()
            self._due.clear()
            before = self.record.stamp, self.live.stamp
            if not await self._read():
                await asyncio.sleep(RETRY_S)
                continue
            if not told and (self.record.stamp, self.live.stamp) != before:
                self._distrust()
            waiter = asyncio.ensure_future(self._due.wait())
            try:  # `asyncio.wait_for` may lose a cancellation before Python 3.12.
                await asyncio.wait({waiter}, timeout=self._check_interval_s)
            finally:
                waiter.cancel()

    async def _read(self) -> bool:
        self.record.begin()
        self.live.begin()
        try:
            found = await self._read_all(READ_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - also a bug must not leave the watches waiting for ever
            self.record.fail(error)
            self.live.fail(error)
            return False
        self._revision = found.revision
        self._known.set()
        self.record.set(found.record)
        self.live.set(found.live)
        return True

    def _distrust(self) -> None:
        """Something has changed, and the watch has not reported it: watch at another member."""
        if self._stream is not None and not self._stream.done():
            self._gateway.avoid()
            self._stream.cancel()

    # --- listening ---------------------------------------------------------------------------------

    async def _listen(self) -> None:
        await self._known.wait()
        while True:
            self._stream = asyncio.get_running_loop().create_task(self._watch(), name="qpidha-etcd-watch")
            await asyncio.wait({self._stream})
            self._due.set()
            await asyncio.sleep(RETRY_S)

    async def _watch(self) -> None:
        """Until the watch ends: its connection breaks, or its revision was compacted."""
        lines = self._gateway.stream("/v3/watch", self._layout.watches(self._revision + 1))
        with contextlib.suppress(ClusterError):  # A read meets the same, and reports it.
            async with contextlib.aclosing(lines):
                async for line in lines:
                    if line.get("canceled"):
                        return
                    if line.get("events"):
                        self._due.set()

    async def close(self) -> None:
        """End all watches, then the tasks. May be called twice."""
        self.record.close()
        self.live.close()
        tasks, self._tasks = self._tasks, []
        if self._stream is not None:
            tasks.append(self._stream)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
