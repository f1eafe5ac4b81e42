"""Where a node's transactions are made durable: in a worker thread if the store waits for a disk."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from qpidha.driver import Done
from qpidha.errors import QpidhaError, StoreFailed
from qpidha.interfaces import MessageStore
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

    def commit(self, changes: list[Change], done: Done) -> None:
        """Make one transaction durable, then call back in the event loop."""
        if self._thread is None:
            done(self._try(changes))
            return
        self._idle.clear()
        self._busy_since = self._loop.time()

        def durable(error: Exception | None) -> None:
            self._busy_since = None
            self._idle.set()
            done(error)

        future = self._thread.submit(self._try, changes)

        def answered(future: Future[Exception | None]) -> None:
            """In the worker thread; maybe long after the node, and its loop, were given up."""
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(durable, future.result())

        future.add_done_callback(answered)

    def _try(self, changes: list[Change]) -> Exception | None:
        """In the worker thread, where there is one."""
        try:
            self._store.commit(changes)
        except QpidhaError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a store that breaks its contract is as dead as a disk.
            return StoreFailed(f"the store raised {error!r}")
        return None

    @property
    def busy_s(self) -> float | None:
        """For how long a transaction is being made durable by now; None: there is none."""
        return None if self._busy_since is None else self._loop.time() - self._busy_since

    async def wait_idle(self, timeout_s: float) -> bool:
        """Until nothing is being made durable. False: something still is after this time."""
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
