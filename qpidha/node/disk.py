"""Where a node's store is opened, written and closed: in one worker thread if the store waits for a disk.

A commit that hangs in the kernel cannot be stopped. While it may still write, the store stays locked: another process
would open files that still change. So `close` is a job of the same thread, after the commit, and stays queued if its
caller does not wait any longer. The lock is released when the disk answers, or by the kernel when the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from qpidha.driver import Done
from qpidha.durations import Durations
from qpidha.errors import QpidhaError, StoreFailed
from qpidha.interfaces import MessageStore, SteppedStore, WatchfulStore
from qpidha.journal import Change, StoreImage, StoreState
from qpidha.node.slices import SLICE_S
from qpidha.system.threads import JobThread
from qpidha.types import NodeId

T = TypeVar("T")

STEPPED_MIN = 1000
"""A commit of this many changes takes milliseconds without a disk."""


class Disk:
    """The store of one node. The driver sees to it that there is one transaction at a time.

    Args:
        broken: Called with a bug that a callback raised, and with what the store found wrong with its files.
        commits: Counts how long the commits of a store that waits for a disk take, the wait for its thread included.
    """

    def __init__(self, store: MessageStore, broken: Callable[[Exception], None], commits: Durations) -> None:
        self._store = store
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._worker = JobThread("qpidha-store") if store.blocking else None
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy_since: float | None = None
        self._calls = 0
        self._looking = False
        self._opened = False
        self._left_clean = False
        self._commits = commits

    async def open(self, node: NodeId, *, refuse_dirty: bool) -> StoreImage:
        """Open the store. If this is cancelled it opens all the same: `close` it."""

        def work() -> StoreImage:
            image = self._store.open(node, refuse_dirty=refuse_dirty)
            self._opened, self._left_clean = True, image.status.state is StoreState.CLEAN
            return image

        return await self.work(work)

    async def work(self, job: Callable[[], T]) -> T:
        """Run a long job in the store's thread, so that it does not block the loop. Before the first commit only."""
        return job() if self._worker is None else await self._answer(self._worker.submit(job))

    async def _answer(self, future: Future[T]) -> T:
        """The result of a job. A caller that is cancelled while it waits does not cancel the job."""
        answer: asyncio.Future[Any] = self._loop.create_future()

        def told(
            done: Future[T],
        ) -> None:  # Not `future`: it would refer to itself, and live until a collection.
            if answer.done():  # The caller was cancelled.
                return
            if (error := done.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(done.result())

        # Not `wrap_future`: cancelling that would take back the job.
        future.add_done_callback(lambda done: self._soon(told, done))
        result: T = await answer
        return result

    def commit(
        self, changes: list[Change], done: Done, around: AbstractContextManager[None] | None = None
    ) -> None:
        """Make one transaction durable, then call back in the event loop.

        Args:
            around: What is entered while a store that is blocking does it, in its thread.
        """
        store = self._store
        if self._worker is None and len(changes) > STEPPED_MIN and isinstance(store, SteppedStore):
            self._in_turns(store.commit_in_steps(changes), done)
            return

        def job() -> None:
            if around is None:
                store.commit(changes)
                return
            with around:
                store.commit(changes)

        self._call(job, done if self._worker is None else self._timed(done))

    def _timed(self, done: Done) -> Done:
        """The same callback; the time until it is called is counted: not by the loop's clock, which may tick in ms."""
        begun = time.perf_counter()

        def timed(error: Exception | None) -> None:
            self._commits.observe(time.perf_counter() - begun)
            done(error)

        return timed

    def _in_turns(self, steps: Iterator[None], done: Done) -> None:
        """Take all steps, as many in each turn of the loop as it has time for, then call back."""
        self._begin()
        self._next_turn(steps, done)

    def _next_turn(self, steps: Iterator[None], done: Done) -> None:
        until = self._loop.time() + SLICE_S
        more = False

        def some() -> None:
            nonlocal more
            for _ in steps:
                if self._loop.time() > until:
                    more = True
                    return

        error = _tried(some)
        if more:
            self._loop.call_soon(self._next_turn, steps, done)
        else:
            self._answered(done, error)

    def verify_files(self) -> None:
        """Have the store verify its files, if it can and is idle. What it finds wrong goes to ``broken``.

        A commit verifies them itself. One check at a time, so that none pile up behind a disk that hangs.
        """
        if self._looking or not self._idle.is_set() or not isinstance(self._store, WatchfulStore):
            return
        self._looking = True
        self._call(self._store.verify_files, self._looked)

    def _looked(self, error: Exception | None) -> None:
        self._looking = False
        if error is not None:
            self._broken(error)

    def _call(self, job: Callable[[], None], done: Done) -> None:
        if self._worker is None:
            self._finish(done, _tried(job))
            return
        self._begin()
        self._worker.submit(lambda: self._soon(self._answered, done, _tried(job)))

    def _begin(self) -> None:
        """The store is at work from now on, until `_answered`."""
        if not self._calls:
            self._idle.clear()
            self._busy_since = self._loop.time()
        self._calls += 1

    def _answered(self, done: Done, error: Exception | None) -> None:
        self._calls -= 1
        self._busy_since = self._loop.time() if self._calls else None
        if not self._calls:
            self._idle.set()
        self._finish(done, error)

    def _finish(self, done: Done, error: Exception | None) -> None:
        """Call back. A bug in what follows from the answer ends the node, not the thread or the loop's turn."""
        try:
            done(error)
        except Exception as bug:  # noqa: BLE001 - whatever it is, this node cannot be trusted any more.
            self._broken(bug)

    def _soon(self, work: Callable[..., None], *arguments: object) -> None:
        """Call in the event loop. If the loop has ended, do nothing: no caller waits for the answer then."""
        with contextlib.suppress(RuntimeError):  # "Event loop is closed."
            self._loop.call_soon_threadsafe(work, *arguments)

    @property
    def busy_s(self) -> float | None:
        """For how long the store has been at work by now, on a transaction or a look at its files; None: it is not."""
        return None if self._busy_since is None else self._loop.time() - self._busy_since

    async def wait_idle(self, timeout_s: float) -> bool:
        """Until the store is done with what it is at work on. False: it is not after this time.

        What follows from that may have it at work again.
        """
        await asyncio.sleep(0)  # A caller in a tight loop must not starve the event loop.
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except asyncio.TimeoutError:
            return self._idle.is_set()
        return True

    async def close(self, *, clean: bool | None) -> None:
        """Close the store, behind whatever is being made durable, and end the thread.

        If the caller is cancelled while it waits here, the thread does the rest: the store is closed, and its lock
        released, if the disk ever answers.

        Args:
            clean: Whether to mark it so; None: as it was when it was opened.
        """
        if self._worker is None:
            await self._idle.wait()  # A commit in steps: its callback comes first.
            self._close(clean)
            return
        closing = self._worker.submit(lambda: self._close(clean))
        self._worker.close()
        await self._answer(closing)

    def _close(self, clean: bool | None) -> None:
        if self._opened:
            self._store.close(clean=self._left_clean if clean is None else clean)


def _tried(call: Callable[[], None]) -> Exception | None:
    """What a call of the store raised."""
    try:
        call()
    except QpidhaError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a store that breaks its contract is as dead as a disk.
        return StoreFailed(f"the store raised {error!r}")
    return None
