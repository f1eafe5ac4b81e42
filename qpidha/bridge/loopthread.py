"""An asyncio event loop in a thread, for programs that have none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeVar

from qpidha.errors import LocalProtocolError

T = TypeVar("T")

AGAIN_S = 0.1
CLOSE_S = 10.0
"""`LoopThread.close` does not wait longer than this for tasks that do not end when they are cancelled."""


async def end_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel these tasks until all have ended. What they raise is dropped."""
    waiting = set(tasks)
    while waiting:  # Before Python 3.12 a cancellation can be lost in `wait_for`: cancel again.
        for task in waiting:
            task.cancel()
        ended, waiting = await asyncio.wait(waiting, timeout=AGAIN_S)
        for task in ended:
            _ = task.cancelled() or task.exception()


class LoopThread:
    """Starts at once and ends with `close`. Its methods may be called from any thread but its own."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine in the loop and wait for its result.

        Raises:
            TimeoutError: It has not ended in this time; it was cancelled.
            LocalProtocolError: The loop is closed, or the caller is in its thread and would wait for itself.
            Exception: Whatever the coroutine raises.
        """
        if self._closed or threading.current_thread() is self._thread:
            work.close()
            raise LocalProtocolError(
                "the loop is closed" if self._closed else "called from the loop's own thread"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise  # The coroutine itself raised it.
            future.cancel()
            raise TimeoutError(f"no result within {timeout_s} s") from None
        except concurrent.futures.CancelledError:
            raise LocalProtocolError("the loop was closed meanwhile") from None

    def post(self, call: Callable[[], object]) -> None:
        """Call this in the loop, soon. Does nothing once the loop is closed."""
        if not self._closed:
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Cancel all tasks, wait for their end and stop the loop. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(end_all(asyncio.all_tasks(self._loop)))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
