"""Connections to the PostgreSQL server that is the primary, among several."""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from qpidha.errors import ClusterError, ManagerRefused, SettingsError, Unavailable
from qpidha.records.addresses import Address, read_password
from qpidha.records.postgresql.layout import CHECK_SERVER
from qpidha.system.words import in_words

if TYPE_CHECKING:
    import asyncpg

VERSION_MIN = 140000
SETTINGS = {
    "application_name": "qpidha",
    "client_connection_check_interval": "1s",
    "client_min_messages": "warning",
    "default_transaction_isolation": "read committed",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "statement_timeout": "0",
}
"""Of each connection. An operation has its time-out here; one of the server's would end connections that listen. A server
that still waits for a lock ends the statement when its client is gone, so such statements do not pile up there."""


OTHERS_TIMEOUT_S = 0.1
"""After the first primary has answered: another one may be newer."""
CLOSE_TIMEOUT_S = 0.5


class NotUsable(Exception):
    """A server that is not used, and why. Nothing was done. ``refused``: by its own decision."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


def require_asyncpg() -> ModuleType:
    """The module. Raises `SettingsError` if it is not installed."""
    try:
        import asyncpg
    except ImportError as error:
        raise SettingsError(
            f"PostgreSQL needs asyncpg 0.30 or later: pip install 'qpidha[postgresql]' ({error})"
        ) from error
    module: ModuleType = asyncpg
    return module


@dataclass(frozen=True)
class Login:
    """Who connects to what. The password is not shown."""

    database: str
    user: str | None
    password: str | Path | None

    def __repr__(self) -> str:
        return f"Login(database={self.database!r}, user={self.user!r})"

    def read_password(self) -> str | None:
        """The password. Raises `Unavailable` if its file cannot be used. None: asyncpg looks for it in ~/.pgpass."""
        return None if self.password is None else read_password(self.password, "PostgreSQL")


@dataclass(frozen=True, slots=True)
class Primary:
    """A connection to a server that is a primary, and what identifies the server."""

    connection: asyncpg.Connection[asyncpg.Record]
    endpoint: Address
    identity: int
    timeline: int
    """Promoting a standby begins a new one: of two primaries, the one with the lower timeline was replaced."""
    started: object
    """When its process was started: two endpoints may be addresses of one server."""


class Servers:
    """The servers of one cluster of PostgreSQL. Remembers its identity and its newest timeline."""

    def __init__(
        self,
        endpoints: Sequence[Address],
        login: Login,
        tls: Callable[[], ssl.SSLContext] | None,
        *,
        connect_timeout_s: float,
    ) -> None:
        self._asyncpg = require_asyncpg()
        self._endpoints = list(endpoints)
        self._login = login
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._identity: int | None = None
        self._timeline = 0
        self._timelines: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
        """Of each connection."""
        self._left: set[asyncio.Task[Primary]] = set()
        """Attempts that are not needed any more. They end within ``connect_timeout_s``."""

    async def connect(self, commit: str, timeout_s: float) -> asyncpg.Connection[asyncpg.Record]:
        """A new connection to the primary: all servers are asked at once.

        Args:
            commit: The value of ``synchronous_commit``.
            timeout_s: At most ``connect_timeout_s`` of it is used.

        Raises:
            ManagerRefused: None of them can be used, and one has refused. Nothing was sent.
            Unavailable: None of them can be used. Nothing was sent.
            ClusterError: Only servers of another cluster of PostgreSQL answer, or servers of several.
        """
        password = self._login.read_password()
        loop = asyncio.get_running_loop()
        until = loop.time() + min(timeout_s, self._connect_timeout_s)
        tasks = [loop.create_task(self._try(one, commit, password, until)) for one in self._endpoints]
        chosen: Primary | None = None
        try:
            await _wait_for_answers(tasks)
            ended = [task for task in tasks if task.done()]
            errors = [error for task in ended if (error := task.exception()) is not None]
            chosen = self._choose([task.result() for task in ended if task.exception() is None], errors)
        finally:
            self._leave(tasks, chosen)
        return chosen.connection

    def _leave(self, tasks: Sequence[asyncio.Task[Primary]], chosen: Primary | None) -> None:
        """Close what these attempts have opened or will open, except the chosen connection.

        They are not cancelled: asyncpg closes a connection that is cancelled during its login as TLS asks for, and waits
        up to 30 s for the server; the socket would be open longer than the caller's event loop.
        """
        for task in tasks:
            if task.done():
                self._ended(task, but=chosen)
            else:
                self._left.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Primary], *, but: Primary | None = None) -> None:
        self._left.discard(task)
        if not task.cancelled() and task.exception() is None and task.result() is not but:
            task.result().connection.terminate()

    async def close(self) -> None:
        """Wait a moment for attempts that are not needed any more, then cancel them. May be called twice."""
        if self._left:
            await asyncio.wait([*self._left], timeout=CLOSE_TIMEOUT_S)
        if left := [*self._left]:
            for task in left:
                task.cancel()
            await asyncio.wait(left)

    def replaced(self, connection: object) -> bool:
        """Whether a newer primary than that of this connection has been seen."""
        return self._timelines.get(connection, 0) < self._timeline

    def _choose(self, found: list[Primary], errors: list[BaseException]) -> Primary:
        """Raises the error for "none of them"."""
        reasons = [str(error) for error in errors]
        refused = any(isinstance(error, NotUsable) and error.refused for error in errors)
        identities = {one.identity for one in found}
        if self._identity is None and len(identities) > 1:
            raise ClusterError(
                f"{' and '.join(str(one.endpoint) for one in found)} are not one cluster of PostgreSQL: name the "
                "servers of one"
            )
        if identities and self._identity not in (None, *identities):
            raise ClusterError(
                f"{found[0].endpoint} is another cluster of PostgreSQL than before. Stop all nodes, then rebuild the "
                "record with `qpidha record rebuild`"
            )
        ours = [one for one in found if self._identity in (None, one.identity)]
        newest = max((one.timeline for one in ours), default=0)
        usable = [one for one in ours if one.timeline == newest]
        if newest < self._timeline and usable:
            reasons.append(
                f"{usable[0].endpoint}: a primary that was replaced (timeline {newest}, and {self._timeline} was seen): "
                "stop it"
            )
            refused, usable = True, []
        if len({one.started for one in usable}) > 1:
            reasons.append(
                f"{' and '.join(str(one.endpoint) for one in usable)} are both primaries on timeline {newest}: stop the "
                "one that was replaced"
            )
            refused, usable = True, []
        if not usable:
            kind = ManagerRefused if refused else Unavailable
            raise kind(f"no server of PostgreSQL can be used: {'; '.join(reasons)}")
        self._identity, self._timeline = usable[0].identity, newest
        self._timelines[usable[0].connection] = newest
        return usable[0]

    async def _try(self, endpoint: Address, commit: str, password: str | None, until: float) -> Primary:
        left_s = until - asyncio.get_running_loop().time()
        try:
            found = await asyncio.wait_for(self._open(endpoint, commit, password), left_s)
        except NotUsable:
            raise
        except (asyncio.TimeoutError, TimeoutError):
            raise NotUsable(f"{endpoint}: no connection in {max(left_s, 0):.3g} s") from None
        except Exception as error:
            raise self._explained(error, endpoint) from error
        return found

    async def _open(self, endpoint: Address, commit: str, password: str | None) -> Primary:
        made = await self._asyncpg.connect(
            host=endpoint.host,
            port=endpoint.port,
            user=self._login.user,
            database=self._login.database,
            password=password,
            ssl=False if self._tls is None else self._tls(),
            timeout=self._connect_timeout_s,
            statement_cache_size=0,
            server_settings={**SETTINGS, "synchronous_commit": commit},
        )
        connection: asyncpg.Connection[asyncpg.Record] = made
        try:
            return _checked(connection, await connection.fetchrow(CHECK_SERVER), endpoint, commit)
        except BaseException:
            connection.terminate()
            raise

    def _explained(self, error: Exception, endpoint: Address) -> NotUsable:
        errors, user = self._asyncpg, self._login.user
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NotUsable(
                f"{endpoint}: its certificate is not accepted ({cause.verify_message}): check the authority, and that "
                "the certificate names this host"
            )
        if cause is not None and "ALERT" in (alert := cause.reason or ""):
            return NotUsable(f"{endpoint}: it does not accept the certificate of this node ({alert})")
        what = ""
        if isinstance(error, errors.InvalidPasswordError):
            what = f"user {user!r} or the password is wrong"
        elif isinstance(error, errors.InvalidAuthorizationSpecificationError) and "certificate" in str(error):
            what = f"check the certificate of this node: the server wants one, and may want it to name user {user!r}"
        elif isinstance(error, errors.InvalidAuthorizationSpecificationError) and user is None:
            what = "give a user, or allow this one from this host in pg_hba.conf"
        elif isinstance(error, errors.InvalidAuthorizationSpecificationError):
            what = f"allow user {user!r} from this host in pg_hba.conf, with hostssl where tls is given"
        elif isinstance(error, errors.InvalidCatalogNameError):
            what = f"createdb {self._login.database}"
        if what:
            return NotUsable(f"{endpoint} refuses: {error}. What to do: {what}", refused=True)
        said = in_words(error)
        if self._tls is not None and isinstance(error, errors.ConnectionDoesNotExistError):
            said += "; it may not accept the certificate of this node: its log says so"  # Its alert came too late.
        return NotUsable(f"{endpoint}: {said}")


def _checked(
    connection: asyncpg.Connection[asyncpg.Record],
    found: asyncpg.Record | None,
    endpoint: Address,
    commit: str,
) -> Primary:
    """Raises `NotUsable` for a server that must not keep a record."""
    assert found is not None
    if found["version"] < VERSION_MIN:
        raise NotUsable(f"{endpoint}: it is older than PostgreSQL 14", refused=True)
    if found["process"] != connection.get_server_pid():
        raise NotUsable(
            f"{endpoint}: it is a pooler, which may give each statement to another connection: name the server itself",
            refused=True,
        )
    if found["standby"]:
        raise NotUsable(f"{endpoint}: it is a standby, in recovery")
    if found["synchronous_commit"] != commit:
        raise NotUsable(
            f"{endpoint}: its synchronous_commit is {found['synchronous_commit']!r} although {commit!r} was asked for",
            refused=True,
        )
    if found["fsync"] != "on":
        raise NotUsable(f"{endpoint}: its fsync is off, so a power cut loses the record", refused=True)
    return Primary(connection, endpoint, found["identity"], int(found["timeline"], 16), found["started"])


async def _wait_for_answers(tasks: Sequence[asyncio.Task[Primary]]) -> None:
    """Until all have ended, or some time after the first primary was found."""
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if waiting and any(task.exception() is None for task in done):
            await asyncio.wait(waiting, timeout=OTHERS_TIMEOUT_S)
            return
