"""Drives the core of one node: effects once in each turn of the event loop, transactions through the disk.

Any error raised here, by this library or by an adapter, ends the node: it stops serving, and another node takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from qpidha.checks import instance_of
from qpidha.core.bodies import ReadBodies
from qpidha.core.ready import Ready
from qpidha.core.replica import Replica
from qpidha.driver import Done, Driver, Effects
from qpidha.durations import Durations
from qpidha.errors import StoreFailed
from qpidha.interfaces import LockedStore, MessageStore, ReadableStore, StagingStore
from qpidha.journal import Change, StoreImage
from qpidha.node.disk import Disk
from qpidha.node.runtime import Flushable, Runtime
from qpidha.seq import SequenceSet
from qpidha.types import QueueId
from qpidha.wire.batch import Batch

LOCK_NAME = instance_of(bytes, bytearray, memoryview)
T = TypeVar("T")
Fail = Callable[[str, BaseException], None]
"""Stop the node, for this reason and error."""


class Engine:
    """Driver and disk of one node, from the opening of its store to its closing."""

    def __init__(self, runtime: Runtime, store: MessageStore, fail: Fail) -> None:
        self._runtime = runtime
        self._fail = fail
        self._after_run: Callable[[], None] = runtime.waits.look
        self._store = store
        self._poked = False
        self._unflushed: list[Flushable] = []
        self.driver: Driver | None = None
        self.disk: Disk | None = None
        """None before the store is open and after it was closed."""
        self.commits = Durations()
        """How long the store's commits took."""

    # --- life ------------------------------------------------------------------------------------

    async def open(self) -> StoreImage:
        """Open the store, in its thread. Raises `StoreError`."""
        self._loop = asyncio.get_running_loop()
        if isinstance(self._store, ReadableStore):
            self._store.memory_bytes_max = self._runtime.settings.memory_bytes_max
        self.disk = Disk(self._store, self.broken, self.commits)
        return await self.disk.open(
            self._runtime.id, refuse_dirty=self._runtime.settings.dirty_start == "refuse"
        )

    @property
    def lock_name(self) -> bytes:
        """What names the lock of the open store. Empty: nothing does."""
        if not isinstance(self._store, LockedStore):
            return b""
        given: Any = self._store.lock_name  # What it returns is looked at before it counts as bytes.
        name = given()
        LOCK_NAME("the result of lock_name()", name)
        return bytes(name)

    @property
    def read(self) -> ReadBodies | None:
        """Gives back messages of the store, for the core; None: this store cannot. What fails ends the node."""
        return self._surely(self._store.read) if isinstance(self._store, ReadableStore) else None

    @property
    def read_staged(self) -> ReadBodies | None:
        """The same of what was set aside for a flip."""
        return self._surely(self._store.read_staged) if isinstance(self._store, StagingStore) else None

    def _surely(self, read_again: ReadBodies) -> ReadBodies:
        def read(queue: QueueId, ids: SequenceSet) -> Batch:
            try:
                return read_again(queue, ids)
            except Exception:
                if self.driver is not None:
                    self.poke()  # The driver finds what failed in the core: `Replica.unreadable`.
                raise

        return read

    async def work(self, job: Callable[[], T]) -> T:
        """Do something that takes long, before `start`, where the loop does not wait for it (`Disk.work`)."""
        assert self.disk is not None
        return await self.disk.work(job)

    def start(self, replica: Replica, effects: Effects, after_run: Callable[[], None]) -> None:
        """Drive this core from now on, and call ``after_run`` whenever effects were performed."""
        self._after_run = after_run
        self.driver = Driver(replica, self._commit, effects, self._runtime.clock, self._later)

    def cease(self) -> None:
        """No more work: what is pending is in doubt as soon as the disk is idle."""
        if self.driver is None:
            return
        try:
            self.flush()
            self.driver.replica.stop()
            self.driver.run()
        except Exception as error:  # noqa: BLE001 - as in `_run`.
            self.broken(error)

    async def idle(self) -> None:
        """Wait until nothing is being made durable and all effects were performed, or until the disk hangs."""
        while self.disk is not None and self.driver is not None and not self.driver.idle:
            if not await self.disk.wait_idle(self._runtime.settings.commit_timeout_s):
                return
            await asyncio.sleep(0)

    @property
    def hangs(self) -> bool:
        """A commit is still under way, or something else that the store does in its thread is for too long."""
        late = (self.busy_s or 0.0) > self._runtime.settings.commit_timeout_s
        return late or (self.driver is not None and not self.driver.idle)

    def give_up_commit(self) -> None:
        """The time for the disk is over: if it has not answered, the operations that wait for it are in doubt."""
        if self.driver is not None and not self.driver.idle:
            self.driver.fail(
                StoreFailed("the disk did not answer in time: a commit is still under way"), Ready()
            )

    async def close(self) -> None:
        """Close the store: clean if nothing failed and nothing was left undone. May be called twice."""
        disk, self.disk = self.disk, None
        if disk is not None:
            driver = self.driver
            in_order = None if driver is None else driver.failed is None and driver.idle
            await disk.close(clean=in_order)

    @property
    def busy_s(self) -> float | None:
        """For how long a transaction is being made durable by now, in seconds; None: there is none."""
        return None if self.disk is None else self.disk.busy_s

    def verify_files(self) -> None:
        """Have the store verify its files, in its thread. What it finds wrong ends the node."""
        if self.disk is not None:
            self.disk.verify_files()

    @property
    def disk_hangs(self) -> bool:
        """The disk has not answered for ``heartbeat_timeout_s``: the next frames of this node would wait for it."""
        return (self.busy_s or 0.0) > self._runtime.settings.heartbeat_timeout_s

    def bypass(self) -> None:
        """The disk hangs: do what needs no disk (`Driver.bypass`)."""
        try:
            if self.driver is not None:
                self.driver.bypass()
        except Exception as error:  # noqa: BLE001 - as in `_run`.
            self.broken(error)

    # --- effects ---------------------------------------------------------------------------------

    def poke(self) -> None:
        """Something went into the core: take effects at the end of this turn, once for all of it."""
        if not self._poked:
            self._poked = True
            self._loop.call_soon(self._run)

    def act(self) -> None:
        """The same now, unless something waits for the end of this turn: most of what comes has come alone."""
        if not self._poked:
            self._run()

    def flush_later(self, queue: Flushable) -> None:
        """Something small was published: call the queue back at the end of this turn."""
        self._unflushed.append(queue)
        self.poke()

    def flush(self) -> None:
        """Publish what every queue has collected in this turn."""
        for queue in self._unflushed:
            queue.flush()

    def _run(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        try:
            for queue in unflushed:
                queue.end_of_turn()
            self._poked = False  # What they have published is part of this run …
            if self._unflushed:
                self.poke()  # … but not what their watchers published meanwhile.
            if self.driver is not None:
                self.driver.run()
                self._after_run()
        except Exception as error:  # noqa: BLE001 - whatever it is, this node cannot be trusted any more.
            self.broken(error)

    def _later(self, work: Callable[[], None]) -> None:
        """In another turn; and a bug in it is caught."""

        def guarded() -> None:
            try:
                work()
                self._after_run()
            except Exception as bug:  # noqa: BLE001 - as in `_run`.
                self.broken(bug)

        self._loop.call_soon(guarded)

    def _commit(self, changes: list[Change], done: Done) -> None:
        if self.disk is None:
            done(StoreFailed("the store was closed"))
        else:
            self.disk.commit(changes, done, self._runtime.freezing.storing(changes))

    def broken(self, error: BaseException) -> None:
        """A bug, ours or an adapter's: serve no more, so that another node takes over."""
        if self.driver is None:
            self._fail(f"failed: {error!r}", error)
        else:
            self.driver.fail(error, Ready())
