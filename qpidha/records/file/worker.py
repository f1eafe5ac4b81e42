"""One thread for file operations, so that a slow disk does not stop the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from qpidha.errors import OutcomeUnknown, Unavailable
from qpidha.system import forks
from qpidha.system.threads import JobThread

T = TypeVar("T")

CLOSE_TIMEOUT_S = 5.0


class Worker:
    """Runs jobs one after the other in one thread, which starts with the first job."""

    def __init__(self, name: str) -> None:
        self._thread = JobThread(name)
        self._closed = False
        self._forked = False

    async def run(self, job: Callable[[], T], timeout_s: float | None, *, changes: bool = False) -> T:
        """Run a job and return what it returns.

        A caller that is cancelled does not stop a job that has begun.

        Raises:
            Unavailable: It did not begin in time, or it ``changes`` nothing and did not end in time.
            OutcomeUnknown: It did begin, and did not end in time.
            ForkedError: The thread is in the parent of this process.
        """
        if self._forked:
            raise forks.forked_error("this record store")
        if self._closed:
            return job()  # After `close`, sessions may still be closed by their owners; that is quick.
        forks.watch(self)
        future = self._thread.submit(job)
        waiter = asyncio.wrap_future(future)
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            if waiter.done():
                _retrieve(waiter)  # Its caller may have been cancelled in the same turn of the loop.
            else:
                waiter.add_done_callback(_retrieve)
        if waiter.done():
            return waiter.result()
        if future.done():  # This process was paused, or its loop blocked: the disk was in time.
            return future.result()
        if future.cancel() or not changes:
            raise Unavailable(f"the disk did not answer in {timeout_s:.3f} s")
        raise OutcomeUnknown(f"the disk did not answer in {timeout_s:.3f} s")

    def forked(self) -> Iterable[int]:
        """In a child: there is no thread."""
        self._forked = True
        return ()

    async def close(self) -> None:
        """Wait up to CLOSE_TIMEOUT_S for the job that runs, then end the thread."""
        if not self._closed:
            with suppress(Unavailable):  # A disk that hangs must not keep the node from stopping.
                await self.run(lambda: None, CLOSE_TIMEOUT_S)
            self._closed = True
            self._thread.close()


def _retrieve(waiter: asyncio.Future[T]) -> None:
    """Retrieve the exception of a job whose caller is gone, so that asyncio does not log it."""
    if not waiter.cancelled():
        waiter.exception()
