"""Follows the record and the sessions in PostgreSQL, for all watches of one store.

A notification only says *that* something has changed; what there is now is then read. So one that is lost can make
others learn late, but never of something wrong. How late is limited: everything is read every ``check_interval_s``
anyway, and when the time of a session is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from qpidha.errors import ClusterError
from qpidha.records.postgresql.layout import CHANNEL, NOTIFY
from qpidha.records.postgresql.pool import Pool, end
from qpidha.records.soon import Soon
from qpidha.records.watch import WatchedValue
from qpidha.types import NodeId, Versioned

if TYPE_CHECKING:
    import asyncpg

READ_TIMEOUT_S = 5.0
"""A read that takes longer fails: the watches end with its error."""
TELL_TIMEOUT_S = 1.0
RETRY_S = 0.1
"""Before the next attempt, after a failure."""
AFTER_EXPIRY_S = 0.02
LISTEN_FOR_S = 10.0
"""After so long the connection that listens is replaced."""

Live = tuple[Mapping[NodeId, bytes], float | None]
"""The live nodes, and in how many seconds the time of the first session is over."""


class Follower:
    """The record and the live nodes as last read."""

    def __init__(
        self,
        pool: Pool,
        name: str,
        read_record: Callable[[float], Awaitable[Versioned | None]],
        read_live: Callable[[float], Awaitable[Live]],
        *,
        check_interval_s: float,
    ) -> None:
        self.record: WatchedValue[Versioned | None] = WatchedValue(self._start)
        self.live: WatchedValue[Mapping[NodeId, bytes]] = WatchedValue(self._start)
        self._pool = pool
        self._name = name
        self._read_record = read_record
        self._read_live = read_live
        self._check_interval_s = check_interval_s
        self._faults: tuple[type[BaseException], ...] = (ClusterError, OSError, *pool.faults)
        self._due = asyncio.Event()
        self._soon = Soon(self._due.set)
        self._tasks: list[asyncio.Task[None]] = []
        self._telling: set[asyncio.Task[None]] = set()

    def poll_soon(self) -> None:
        """Read in a moment, in case that nothing tells of a change. Never blocks."""
        self._soon.ask()

    def poll(self) -> None:
        """Read at once. Never blocks."""
        self._soon.now()

    def tell(self) -> None:
        """Notify others of a changed record. Without it they learn of the change within ``check_interval_s``."""
        task = asyncio.get_running_loop().create_task(self._tell(), name="qpidha-postgresql-notify")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self) -> None:
        with contextlib.suppress(*self._faults):
            await self._pool.run(NOTIFY, self._name, timeout_s=TELL_TIMEOUT_S)

    def _start(self) -> None:
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._run(), name="qpidha-postgresql-read"),
                loop.create_task(self._listen(), name="qpidha-postgresql-listen"),
            ]

    # --- reading -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._due.clear()
            pause_s = await self._read()
            waiter = asyncio.ensure_future(self._due.wait())
            try:  # `asyncio.wait_for` may lose a cancellation before Python 3.12.
                await asyncio.wait({waiter}, timeout=pause_s)
            finally:
                waiter.cancel()

    async def _read(self) -> float:
        """Read everything. Returns in how many seconds it is to be read again."""
        self.record.begin()
        self.live.begin()
        soon_s = self._check_interval_s
        try:
            live, first_s = await self._read_live(READ_TIMEOUT_S)
            self.live.set(live)
            if first_s is not None:
                soon_s = min(soon_s, max(first_s, 0.0) + AFTER_EXPIRY_S)
        except Exception as error:  # noqa: BLE001 - also a bug must not leave the watches waiting for ever
            self.live.fail(error)
            soon_s = min(RETRY_S, soon_s)
        try:  # It may wait for a standby, and the live nodes do not.
            self.record.set(await self._read_record(READ_TIMEOUT_S))
        except Exception as error:  # noqa: BLE001 - as above
            self.record.fail(error)
            soon_s = min(RETRY_S, soon_s)
        return soon_s

    # --- listening ---------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(*self._faults):  # A read meets the same, and reports it.
                await self._hear()
            await asyncio.sleep(RETRY_S)

    async def _hear(self) -> None:
        """Until the connection ends, or is due to be replaced: connecting finds out whether there is a newer primary."""
        ended = asyncio.Event()
        connection: asyncpg.Connection[asyncpg.Record] = await self._pool.connect(READ_TIMEOUT_S)
        try:
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(CHANNEL, self._heard)
            self._due.set()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), LISTEN_FOR_S)
        finally:
            await end(connection)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload == self._name:
            self._due.set()

    async def close(self) -> None:
        """End all watches, then the tasks. May be called twice."""
        self.record.close()
        self.live.close()
        self._soon.cancel()
        tasks, self._tasks = [*self._tasks, *self._telling], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
