"""Follows the record and the sessions in etcd, for all watches of one store.

Everything is read once, from a majority. From then on a watch of etcd tells each change with its revision. What is newer
than the last read is taken as it is, without another read: at a failover all nodes would read at once, when their
processors have most to do. A watch that is compacted, cut off or served by a member that lags can make others learn late,
but never of something wrong: whoever acts on a record does so by a compare-and-set of its revision, and sessions are
hints. How late is limited: everything is read every ``check_interval_s`` anyway, and at once when what a watch tells was
not understood.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from qpidha.errors import ClusterError
from qpidha.records.etcd.gateway import Gateway
from qpidha.records.etcd.layout import Change, Layout, Snapshot, reading
from qpidha.records.soon import Soon
from qpidha.records.watch import WatchedValue
from qpidha.types import NodeId, Versioned

READ_TIMEOUT_S = 5.0
"""A read that takes longer fails: the watches end with its error."""
RETRY_S = 0.1
"""Before the next attempt, after a failure."""


class Follower:
    """The record and the live nodes as last read, or told by a watch since."""

    def __init__(
        self,
        gateway: Gateway,
        layout: Layout,
        read_all: Callable[[float], Awaitable[Snapshot]],
        remember: Callable[[int, bytes], None],
        *,
        check_interval_s: float,
    ) -> None:
        """``read_all`` reads everything; ``remember`` is called with each record that a watch tells."""
        self.record: WatchedValue[Versioned | None] = WatchedValue(self._start)
        self.live: WatchedValue[Mapping[NodeId, bytes]] = WatchedValue(self._start)
        self._gateway = gateway
        self._layout = layout
        self._read_all = read_all
        self._remember = remember
        self._check_interval_s = check_interval_s
        self._due = asyncio.Event()
        self._soon = Soon(self._due.set)
        self._known = asyncio.Event()
        """Everything was read at least once, so that a watch knows from which revision on."""
        self._revision = 0
        """The newest one that was read."""
        self._told = {"record": 0, "live": 0}
        """The newest revision of each that a watch has told."""
        self._tellings = 0
        """How often a watch has changed what is known."""
        self._tasks: list[asyncio.Task[None]] = []
        self._stream: asyncio.Task[None] | None = None

    def poll_soon(self) -> None:
        """Read in a moment, in case that the watch hangs. Never blocks."""
        if self._stream is None or self._stream.done():
            self.poll()
        else:
            self._soon.ask()

    def poll(self) -> None:
        """Read at once. Never blocks."""
        self._soon.now()

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
            before = self._found
            if not await self._read():
                await asyncio.sleep(RETRY_S)
                continue
            if not told and self._found != before:
                self._distrust()
            waiter = asyncio.ensure_future(self._due.wait())
            try:  # `asyncio.wait_for` may lose a cancellation before Python 3.12.
                await asyncio.wait({waiter}, timeout=self._check_interval_s)
            finally:
                waiter.cancel()

    @property
    def _found(self) -> int:
        """Counts the changes that a read has found, and no watch has told before."""
        return self.record.stamp + self.live.stamp - self._tellings

    async def _read(self) -> bool:
        self.record.begin()
        self.live.begin()
        try:
            found = await self._read_all(READ_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - also a bug must not leave the watches waiting for ever
            self.record.fail(error)
            self.live.fail(error)
            return False
        if found.revision < max(self._told.values()):
            self._due.set()  # A watch has told of a change meanwhile.
            return True
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
                    if line.get("events") and not self._takes(line):
                        self._due.set()

    def _takes(self, line: Mapping[str, Any]) -> bool:
        """Take what a watch tells. False: read."""
        if self.record.error is not None or self.live.error is not None:
            return False
        try:
            with reading():
                changes = self._layout.changes(line)
            self._take_record([change for change in changes if change.node is None])
        except ClusterError:
            return False  # A read meets the same, and reports it.
        self._take_sessions([change for change in changes if change.node is not None])
        return True

    def _take_record(self, changes: list[Change]) -> None:
        for change in self._new("record", changes)[-1:]:
            value = None if change.found is None else self._layout.versioned(change.found)
            if change.found is not None:
                self._remember(change.revision, change.found.value)
            self._tellings += self.record.tell(value)

    def _take_sessions(self, changes: list[Change]) -> None:
        live = dict(self.live.value)
        for change in self._new("live", changes):
            if change.found is None:
                live.pop(change.node or "", None)
            else:
                live[change.node or ""] = change.found.info
        self._tellings += self.live.tell(live)

    def _new(self, what: str, changes: list[Change]) -> list[Change]:
        """Those that neither a read nor a watch has told before: a watch that begins again repeats some."""
        known = max(self._revision, self._told[what])
        new = [change for change in changes if change.revision > known]
        for change in new:
            self._told[what] = max(self._told[what], change.revision)
            self._gateway.heard(change.revision)
        return new

    async def close(self) -> None:
        """End all watches, then the tasks. May be called twice."""
        self.record.close()
        self.live.close()
        self._soon.cancel()
        tasks, self._tasks = self._tasks, []
        if self._stream is not None:
            tasks.append(self._stream)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
