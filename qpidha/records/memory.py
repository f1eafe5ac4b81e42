"""A record store in memory: for tests, and for clusters whose nodes all live in one process.

The nodes share one object. Tests can make it fail in each of the three ways that the protocol
distinguishes, and end sessions as if their process had died.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from enum import Enum

from qpidha.checks import NODE_ID, SECONDS_OR_ZERO
from qpidha.errors import CallerError, Conflict, OutcomeUnknown, Unavailable
from qpidha.records.format import INFO, VERSION, check_record, check_session
from qpidha.records.watch import WatchedValue
from qpidha.types import NodeId, Record, Versioned

DEADLINE_MARGIN = 0.1
"""Fraction of the TTL by which a session's deadline is earlier for its owner than for others."""


class Fault(Enum):
    """How a write fails."""

    UNAVAILABLE = "unavailable"
    """Not sent, for certain."""
    LOST = "lost"
    """Outcome unknown: it was not applied and never will be."""
    APPLIED = "applied"
    """Outcome unknown: it was applied."""
    LATE = "late"
    """Outcome unknown: it is applied when `MemoryRecordStore.apply_late` is called, if it still matches."""


class MemoryRecordStore:
    """A `RecordStore`."""

    def __init__(self) -> None:
        self.reachable = True
        """False: every call raises `Unavailable`. Watches report nothing, sessions stay."""
        self.writes = 0
        """Successful writes, for tests that count them."""
        self._record: WatchedValue[Versioned | None] = WatchedValue()
        self._record.set(None)
        self._live: WatchedValue[Mapping[NodeId, bytes]] = WatchedValue()
        self._live.set({})
        self._sessions: dict[NodeId, MemorySession] = {}
        self._faults: deque[Fault] = deque()
        self._late: list[tuple[int | None, Record]] = []

    # --- the record store -------------------------------------------------------------------------

    async def read(self) -> Versioned | None:
        """The record. Raises `Unavailable` while not reachable."""
        await self._reach()
        return self._record.value

    async def create(self, new: Record) -> Versioned:
        """Raises `Conflict` if there is a record already."""
        check_record(new)
        return await self._write(None, new)

    async def compare_and_set(self, expected: int, new: Record, *, timeout_s: float) -> Versioned:
        """Replace the record if its version is still ``expected``; see `qpidha.interfaces.RecordStore`."""
        VERSION("expected", expected)
        check_record(new)
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        return await self._write(expected, new)

    def watch(self) -> AsyncIterator[Versioned | None]:
        """The current record, then each change."""
        return self._record.watch()

    async def open_session(self, node: NodeId, info: bytes, *, ttl_s: float) -> MemorySession:
        """Raises `Conflict` if there is a session of this node."""
        check_session(node, info, ttl_s)
        await self._reach()
        if node in self._sessions:
            raise Conflict(f"there is another live session of node {node!r}", current=None)
        session = MemorySession(self, node, ttl_s)
        self._sessions[node] = session
        self.publish(node, info)
        return session

    async def live(self) -> Mapping[NodeId, bytes]:
        """The info of every node with a live session."""
        await self._reach()
        return self._live.value

    def watch_live(self) -> AsyncIterator[Mapping[NodeId, bytes]]:
        """The live nodes, then each change."""
        return self._live.watch()

    async def close(self) -> None:
        """Nothing to release. Other nodes of the process go on using the store."""

    # --- faults -----------------------------------------------------------------------------------

    def fail_next(self, *faults: Fault) -> None:
        """Make the next writes fail: one fault for each, in this order."""
        self._faults.extend(faults)

    def apply_late(self) -> None:
        """Apply the delayed writes, oldest first; those whose expected version is outdated have no effect."""
        late, self._late = self._late, []
        for expected, new in late:
            try:
                self._apply(expected, new)
            except Conflict:
                continue

    def expire(self, node: NodeId) -> None:
        """This node's session ends, as if its process had died. Raises `CallerError` if it has none."""
        NODE_ID("node", node)
        if node not in self._sessions:
            raise CallerError(f"there is no session of node {node!r}")
        self._sessions[node].end("expired")

    # --- inside -----------------------------------------------------------------------------------

    async def _reach(self) -> None:
        await asyncio.sleep(0)  # As with a real manager, other tasks run before the answer is there.
        if not self.reachable:
            raise Unavailable("the record store is not reachable")

    async def _write(self, expected: int | None, new: Record) -> Versioned:
        await self._reach()
        if not self._faults:
            return self._apply(expected, new)
        fault = self._faults.popleft()
        if fault is Fault.UNAVAILABLE:
            raise Unavailable("the record store is not reachable")
        if fault is Fault.LATE:
            self._late.append((expected, new))
        elif fault is Fault.APPLIED:
            self._apply(expected, new)
        raise OutcomeUnknown("no answer from the record store")

    def _apply(self, expected: int | None, new: Record) -> Versioned:
        current = self._record.value
        version = None if current is None else current.version
        if version != expected:
            if current is not None and new.nonce and current.record == new:
                return current  # Our earlier write: its answer was lost.
            raise Conflict(f"the record has version {version}, not {expected}", current=current)
        written = Versioned(new, (version or 0) + 1)
        self.writes += 1
        self._record.set(written)
        return written

    def publish(self, node: NodeId, info: bytes | None) -> None:
        """Set the info that others see of this node. None: it is gone."""
        live = {**self._live.value}
        if info is None:
            live.pop(node, None)
            self._sessions.pop(node, None)
        else:
            live[node] = info
        self._live.set(live)


class MemorySession:
    """A `Session`. It is lost only when a test ends it."""

    def __init__(self, store: MemoryRecordStore, node: NodeId, ttl_s: float) -> None:
        self.granted_ttl_s = ttl_s
        self._store = store
        self._node = node
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ended_at: float | None = None

    def deadline(self) -> float:
        """Monotonic: always one TTL ahead, less a margin, while the session lives."""
        last = time.monotonic() if self._ended_at is None else self._ended_at
        return last + self.granted_ttl_s * (1 - DEADLINE_MARGIN)

    async def update(self, info: bytes) -> None:
        """Replace the info that others see. Raises `Unavailable` when the session is lost."""
        INFO("info", info)
        if self._ended_at is not None:
            raise Unavailable(f"the session of {self._node!r} is lost")
        self._store.publish(self._node, info)

    async def wait_lost(self) -> str:
        """Returns, with a reason, when the session is lost."""
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Hand over at once. May be called twice."""
        self.end("closed")

    def end(self, reason: str) -> None:
        """The session is over."""
        if self._ended_at is None:
            self._ended_at = time.monotonic()
            self._store.publish(self._node, None)
            if not self._lost.done():
                self._lost.set_result(reason)
