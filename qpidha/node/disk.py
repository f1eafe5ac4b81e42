"""Where a node's transactions are made durable: in a worker thread if the store waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from qpidha.driver import Done
from qpidha.errors import QpidhaError, StoreFailed
from qpidha.interfaces import MessageStore, WatchfulStore
from qpidha.journal import Change


class Disk:
    """One transaction at a time; the driver sees to that."""

    def __init__(self, store: MessageStore) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qpidha-store") if store.blocking else None
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy_since: float | None = None
        self._calls = 0
        self._looking = False

    def commit(self, changes: list[Change], done: Done) -> None:
        """Make one transaction durable, then call back in the event loop."""
        self._call(lambda: self._store.commit(changes), done)

    def look(self, failed: Callable[[Exception], None]) -> None:
        """Have the store look at its files, if it can and is idle; call back in the event loop if it found something.

        A commit looks itself. One look at a time, so that none pile up behind a disk that hangs.
        """
        if self._looking or not self._idle.is_set() or not isinstance(self._store, WatchfulStore):
            return
        self._looking = True

        def looked(error: Exception | None) -> None:
            self._looking = False
            if error is not None:
                failed(error)

        self._call(self._store.verify_files, looked)

    def _call(self, job: Callable[[], None], done: Done) -> None:
        if self._thread is None:
            done(_tried(job))
            return
        if not self._calls:
            self._idle.clear()
            self._busy_since = self._loop.time()
        self._calls += 1

        def answer(error: Exception | None) -> None:
            self._calls -= 1
            self._busy_since = self._loop.time() if self._calls else None
            if not self._calls:
                self._idle.set()
            done(error)

        future = self._thread.submit(_tried, job)

        def answered(future: Future[Exception | None]) -> None:
            """In the worker thread; maybe long after the node, and its loop, were given up."""
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(answer, future.result())

        future.add_done_callback(answered)

    @property
    def busy_s(self) -> float | None:
        """For how long the store has been at work by now, on a transaction or a look at its files; None: it is not."""
        return None if self._busy_since is None else self._loop.time() - self._busy_since

    async def wait_idle(self, timeout_s: float) -> bool:
        """Until the store is not at work. False: it still is after this time."""
        await asyncio.sleep(0)  # Whoever asks again and again must not keep the loop.
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        return self._idle.is_set()

    def close(self, *, clean: bool) -> None:
        """Close the store; if the disk hangs, as soon as it has answered, and then not as clean."""
        if self._thread is None or self._busy_since is None:
            if self._thread is not None:
                self._thread.shutdown(wait=True)
            self._store.close(clean=clean)
        else:
            self._thread.submit(self._store.close, clean=False)
            self._thread.shutdown(wait=False)


def _tried(call: Callable[[], None]) -> Exception | None:
    """What a call of the store raised."""
    try:
        call()
    except QpidhaError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a store that breaks its contract is as dead as a disk.
        return StoreFailed(f"the store raised {error!r}")
    return None
