"""Runs statements on the primary, and says for a failed one whether it may have been done.

    no connection, a wrong certificate, a standby            surely not sent: `Unavailable`
    the connection breaks, or no answer in time              it may be done now, later or never: `OutcomeUnknown`
    PostgreSQL answers with an error                         rolled back: `ManagerRefused`, which is an `Unavailable`

A statement whose connection broke is repeated within its time, so each one is written so that doing it twice is the
same as doing it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qpidha.errors import ManagerRefused, OutcomeUnknown, Unavailable
from qpidha.records.postgresql.layout import MAKE_TABLES
from qpidha.records.postgresql.servers import Servers, require_asyncpg
from qpidha.system import forks
from qpidha.system.words import in_words

if TYPE_CHECKING:
    import asyncpg

PAUSE_S = 0.05
"""Before the servers are asked again."""
IDLE_MAX = 2
CLOSE_TIMEOUT_S = 0.5
RETRIED = frozenset({"25006", "40001", "40P01", "55P03"})
"""Rolled back, and worth another try: a server that became a standby, a serialization failure, a deadlock, a lock."""
ENDED = ("08", "57P")
"""Classes of errors with which a server ends a connection."""


class Broken(Exception):
    """The statement may have been done."""


class Again(Exception):
    """The statement was not done; another try may succeed."""


class Pool:
    """Connections with one value of ``synchronous_commit``. They belong to the event loop of the first statement."""

    def __init__(self, servers: Servers, *, commit: str, attempt_timeout_s: float) -> None:
        self._asyncpg = require_asyncpg()
        self.faults: tuple[type[BaseException], ...] = (
            self._asyncpg.PostgresError,
            self._asyncpg.InterfaceError,
            self._asyncpg.InternalClientError,
        )
        """What asyncpg raises, besides OSError."""
        self._servers = servers
        self._commit = commit
        self._attempt_timeout_s = attempt_timeout_s
        self._idle: list[asyncpg.Connection[asyncpg.Record]] = []
        self._all: weakref.WeakSet[asyncpg.Connection[asyncpg.Record]] = weakref.WeakSet()
        self._warned: weakref.WeakSet[object] = weakref.WeakSet()
        """Connections whose statement was committed here and perhaps nowhere else."""
        self._closed = False
        self._forked = False

    async def run(
        self, sql: str, *given: Any, timeout_s: float, changes: bool = False
    ) -> list[asyncpg.Record]:
        """The rows of a statement.

        Args:
            sql: One statement.
            given: The values of its parameters.
            timeout_s: For everything, a connection included.
            changes: It writes: without an answer its outcome is unknown once it was sent. A read is repeated over a new
                connection after ``attempt_timeout_s``.

        Raises:
            ManagerRefused: PostgreSQL does not do it. Nothing was done.
            Unavailable: No answer, and nothing was done.
            OutcomeUnknown: It changes something, was sent, and there is no answer.
            ClusterError: The servers are those of another cluster of PostgreSQL.
        """
        until, sent = time.monotonic() + timeout_s, False
        why = f"no time was left of {timeout_s:.3g} s"
        while (left_s := until - time.monotonic()) > 0:
            try:
                connection = self._take() or await self.connect(left_s)
                return await self._attempt(
                    connection, sql, given, left_s if changes else min(left_s, self._attempt_timeout_s)
                )
            except Broken as error:
                sent, why = sent or changes, str(error)
                await asyncio.sleep(PAUSE_S)
            except Again as error:
                why = str(error)
                await asyncio.sleep(PAUSE_S)
            except Unavailable as error:
                if not sent:
                    raise
                why = str(error)
                await asyncio.sleep(PAUSE_S)
        if sent:
            raise OutcomeUnknown(f"PostgreSQL has not said whether it has written: {why}")
        raise Unavailable(f"PostgreSQL does not answer: {why}")

    async def connect(self, timeout_s: float) -> asyncpg.Connection[asyncpg.Record]:
        """A new connection, which is closed with the others. Raises as `Servers.connect`."""
        if self._forked:
            raise forks.forked_error("this record store")
        made = await self._servers.connect(self._commit, timeout_s)
        made.add_log_listener(self._told)
        forks.watch(self)
        self._all.add(made)
        return made

    def _told(self, connection: object, message: Any) -> None:
        if message.severity_en == "WARNING":
            self._warned.add(connection)

    def _take(self) -> asyncpg.Connection[asyncpg.Record] | None:
        if self._forked:
            raise forks.forked_error("this record store")
        while self._idle:
            found = self._idle.pop()
            if not found.is_closed() and not self.replaced(found):
                return found
            found.terminate()
        return None

    def replaced(self, connection: object) -> bool:
        """Whether a newer primary than that of this connection has been seen."""
        return self._servers.replaced(connection)

    async def _attempt(
        self,
        connection: asyncpg.Connection[asyncpg.Record],
        sql: str,
        given: tuple[Any, ...],
        timeout_s: float,
    ) -> list[asyncpg.Record]:
        self._warned.discard(connection)
        task = asyncio.get_running_loop().create_task(connection.fetch(sql, *given))
        task.add_done_callback(_retrieved)  # If this call is cancelled, nothing else asks for its error.
        late = True
        try:
            await asyncio.wait({task}, timeout=timeout_s)
            late = not task.done()
        finally:
            if late:
                # Or cancelled, perhaps just as the answer comes: nobody else would close it.
                connection.terminate()  # Without the request to cancel that asyncpg sends when a call is cancelled.
                await asyncio.wait({task})
        error = task.exception()
        if late:
            raise Broken(f"no answer in {timeout_s:.3g} s")
        if error is None and connection in self._warned:
            connection.terminate()
            raise Broken("written by this server, and perhaps by no standby")
        if error is None:
            await self._put_back(connection)
            rows: list[asyncpg.Record] = task.result()
            return rows
        if isinstance(error, self._asyncpg.PostgresError) and not (error.sqlstate or "08").startswith(ENDED):
            await self._answered(error, connection)
        connection.terminate()
        raise Broken(in_words(error)) from error

    async def _answered(self, error: Any, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Raises the error for a statement that was rolled back."""
        if isinstance(error, self._asyncpg.UndefinedTableError):
            try:
                await asyncio.wait_for(connection.execute(MAKE_TABLES), self._attempt_timeout_s * 4)
            except self._asyncpg.PostgresError as refusal:
                connection.terminate()
                what = "run qpidha.records.postgresql.SCHEMA_SQL as the owner of the schema"
                raise ManagerRefused(
                    f"PostgreSQL refuses to make the tables: {refusal}. What to do: {what}"
                ) from error
            except (OSError, asyncio.TimeoutError, self._asyncpg.InterfaceError) as broken:
                connection.terminate()
                raise Again(f"the tables could not be made: {in_words(broken)}") from error
            except asyncio.CancelledError:
                connection.terminate()
                raise
            await self._put_back(connection)
            raise Again("the tables were made")
        if error.sqlstate in RETRIED:
            connection.terminate()
            raise Again(str(error))
        await self._put_back(connection)
        what = ""
        if isinstance(error, self._asyncpg.InsufficientPrivilegeError):
            what = ". What to do: GRANT SELECT, INSERT, UPDATE, DELETE ON qpidha_records, qpidha_sessions"
        raise ManagerRefused(f"PostgreSQL refuses: {error}{what}") from error

    async def _put_back(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        if self._closed or len(self._idle) >= IDLE_MAX:
            await end(connection)
        else:
            self._idle.append(connection)

    def forked(self) -> Iterable[int]:
        """In a child: the connections are the parent's."""
        self._forked = True
        transports = [getattr(one, "_transport", None) for one in self._all]
        raws = [one.get_extra_info("socket") for one in transports if one is not None]
        return [raw.fileno() for raw in raws if raw is not None]

    async def close(self) -> None:
        """Close the connections. May be called twice; a later statement opens one for itself."""
        self._closed = True
        idle, self._idle = self._idle, []
        forks.release(self)
        if not self._forked:
            for connection in idle:
                await end(connection)
            await self._servers.close()


def _retrieved(task: asyncio.Task[list[asyncpg.Record]]) -> None:
    if not task.cancelled():
        task.exception()


async def end(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Close a connection in order, at once if it does not answer."""
    with contextlib.suppress(Exception):
        await connection.close(timeout=CLOSE_TIMEOUT_S)
    connection.terminate()
    await asyncio.sleep(0)
