"""One thread that runs jobs in order and never keeps the process from ending.

The threads of `concurrent.futures` are joined when the interpreter ends: one job that waits for a disk that does not
answer would keep the process for ever. This thread is a daemon: at the end of the process it is left where it is, as
in a crash.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class JobThread:
    """Starts with the first job. Any thread may submit."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run a job after those submitted before. Raises `RuntimeError` after `close`."""
        if self._closed:
            raise RuntimeError(f"thread {self._name} is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._jobs.put((future, job))
        return future

    def close(self) -> None:
        """The thread ends after the jobs submitted so far. Does not wait for it. May be called twice."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)

    @property
    def alive(self) -> bool:
        """The thread has begun and not ended."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for its end after `close`, blocking, but not for longer than this."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            future, job = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - the caller that waits for the result gets it.
                future.set_exception(error)
            del future, job, entry  # Not kept alive until the next job, nor is the result.
