"""Drives the core of one node: effects once in each turn of the event loop, transactions through the disk.

Whatever raises in here, be it a bug of ours or of an adapter, ends the node: it serves no more, and another one takes
over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from qpidha.core.ready import Ready
from qpidha.driver import Done, Driver
from qpidha.errors import StoreFailed
from qpidha.interfaces import MessageStore
from qpidha.journal import Change, StoreImage
from qpidha.node.disk import Disk

if TYPE_CHECKING:
    from qpidha.core.replica import Replica
    from qpidha.node.node import Node
    from qpidha.node.queue import Queue

T = TypeVar("T")


class Engine:
    """Driver and disk of one node, from the opening of its store to its closing."""

    def __init__(self, node: Node, store: MessageStore) -> None:
        self._node = node
        self._store = store
        self._poked = False
        self._unflushed: list[Queue] = []
        self.driver: Driver | None = None
        self.disk: Disk | None = None
        """None before the store is open and after it was closed."""

    # --- life ------------------------------------------------------------------------------------

    async def open(self) -> StoreImage:
        """Open the store, in its thread. Raises `StoreError`."""
        self._loop = asyncio.get_running_loop()
        self.disk = Disk(self._store)
        return await self.disk.open(self._node.id, refuse_dirty=self._node.settings.dirty_start == "refuse")

    async def work(self, job: Callable[[], T]) -> T:
        """Do something that takes long, before `start`, where the loop does not wait for it (`Disk.work`)."""
        assert self.disk is not None
        return await self.disk.work(job)

    def start(self, replica: Replica) -> None:
        """Drive this core from now on."""
        self.driver = Driver(replica, self._commit, self._node.effects, self._node.now, self._later)

    def cease(self) -> None:
        """No more work: what is pending is in doubt as soon as the disk is idle."""
        if self.driver is None:
            return
        try:
            for queue in self._unflushed:
                queue.flush()
            self.driver.replica.stop()
            self.driver.run()
        except Exception as error:  # noqa: BLE001 - as in `_run`.
            self.broken(error)

    async def idle(self) -> None:
        """Until nothing is being made durable and all that follows from it was done; or the disk hangs."""
        while self.disk is not None and self.driver is not None and not self.driver.idle:
            if not await self.disk.wait_idle(self._node.settings.commit_timeout_s):
                return
            await asyncio.sleep(0)

    @property
    def hangs(self) -> bool:
        """A commit is still under way, or something else that the store does in its thread is for too long."""
        late = (self.busy_s or 0.0) > self._node.settings.commit_timeout_s
        return late or (self.driver is not None and not self.driver.idle)

    def last_words(self) -> None:
        """The disk had its time: if it has not answered, what waits for it is in doubt."""
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

    def look(self) -> None:
        """Have the store look at its files, in its thread. What it finds wrong ends the node."""
        if self.disk is not None:
            self.disk.look(self.broken)

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

    def flush_later(self, queue: Queue) -> None:
        """Something small was published: call the queue back at the end of this turn."""
        self._unflushed.append(queue)
        self.poke()

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
                self._node.effects.count_queues()
        except Exception as error:  # noqa: BLE001 - whatever it is, this node cannot be trusted any more.
            self.broken(error)

    def _later(self, work: Callable[[], None]) -> None:
        """In another turn; and a bug in it is caught."""

        def guarded() -> None:
            try:
                work()
                self._node.effects.count_queues()
            except Exception as bug:  # noqa: BLE001 - as in `_run`.
                self.broken(bug)

        self._loop.call_soon(guarded)

    def _commit(self, changes: list[Change], done: Done) -> None:
        """Durable elsewhere, maybe; what follows from it is performed here, and a bug in that is caught."""

        def guarded(error: Exception | None) -> None:
            try:
                done(error)
            except Exception as bug:  # noqa: BLE001 - as in `_run`.
                self.broken(bug)

        if self.disk is None:
            guarded(StoreFailed("the store was closed"))
        else:
            self.disk.commit(changes, guarded, self._node.effects.freezing.storing(changes))

    def broken(self, error: BaseException) -> None:
        """A bug, ours or an adapter's: serve no more, so that another node takes over."""
        if self.driver is None:
            self._node.life.begin(f"failed: {error!r}", error)
        else:
            self.driver.fail(error, Ready())
