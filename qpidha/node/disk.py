"""Where a node's transactions are made durable: in a worker thread if the store waits for a disk."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

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

    def commit(self, changes: list[Change], done: Done) -> None:
        """Make one transaction durable, then call back in the event loop."""
        if self._thread is None:
            done(self._try(changes))
            return
        self._idle.clear()

        def durable(error: Exception | None) -> None:
            self._idle.set()
            done(error)

        future = self._thread.submit(self._try, changes)
        future.add_done_callback(lambda f: self._loop.call_soon_threadsafe(durable, f.result()))

    def _try(self, changes: list[Change]) -> Exception | None:
        """In the worker thread, where there is one."""
        try:
            self._store.commit(changes)
        except QpidhaError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a store that breaks its contract is as dead as a disk.
            return StoreFailed(f"the store raised {error!r}")
        return None

    async def wait_idle(self) -> None:
        """Until nothing is being made durable."""
        await self._idle.wait()

    def close(self, *, clean: bool) -> None:
        if self._thread:
            self._thread.shutdown(wait=True)
        self._store.close(clean=clean)
