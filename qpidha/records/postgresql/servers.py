"""Connections to the PostgreSQL server that is the primary, among several."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from qpidha.errors import ClusterError, ManagerRefused, SettingsError, Unavailable
from qpidha.records.addresses import Address, read_password
from qpidha.records.postgresql.layout import CHECK_SERVER

if TYPE_CHECKING:
    import asyncpg

VERSION_MIN = 140000
SETTINGS = {
    "application_name": "qpidha",
    "client_min_messages": "warning",
    "default_transaction_isolation": "read committed",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "statement_timeout": "0",
}
"""Of each connection. An operation has its time-out here; one of the server's would end connections that listen."""


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

    async def connect(self, commit: str, timeout_s: float) -> asyncpg.Connection[asyncpg.Record]:
        """A new connection to the primary: all servers are asked at once.

        Args:
            commit: The value of ``synchronous_commit``.
            timeout_s: At most ``connect_timeout_s`` of it is used.

        Raises:
            ManagerRefused: None of them can be used, and one has refused. Nothing was sent.
            Unavailable: None of them can be used. Nothing was sent.
            ClusterError: Only servers of another cluster of PostgreSQL answer.
        """
        password = self._login.read_password()
        loop = asyncio.get_running_loop()
        until = loop.time() + min(timeout_s, self._connect_timeout_s)
        tasks = [loop.create_task(self._try(one, commit, password, until)) for one in self._endpoints]
        waiting, reasons = set(tasks), []
        refused, foreign, chosen = False, None, None
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if error is None:
                        chosen = chosen or task
                        continue
                    refused = refused or (isinstance(error, NotUsable) and error.refused)
                    foreign = error if isinstance(error, ClusterError) else foreign
                    reasons.append(str(error))
                if chosen is not None:
                    return chosen.result()
        finally:
            await _drop([task for task in tasks if task is not chosen])
        if foreign is not None:
            raise foreign
        kind = ManagerRefused if refused else Unavailable
        raise kind(f"no server of PostgreSQL can be used: {'; '.join(reasons)}")

    async def _try(
        self, endpoint: Address, commit: str, password: str | None, until: float
    ) -> asyncpg.Connection[asyncpg.Record]:
        left_s = until - asyncio.get_running_loop().time()
        try:
            found = await asyncio.wait_for(self._open(endpoint, commit, password), left_s)
        except (ClusterError, NotUsable):
            raise
        except (asyncio.TimeoutError, TimeoutError):
            raise NotUsable(f"{endpoint}: no connection in {max(left_s, 0):.3g} s") from None
        except Exception as error:
            raise self._explained(error, endpoint) from error
        return found

    async def _open(
        self, endpoint: Address, commit: str, password: str | None
    ) -> asyncpg.Connection[asyncpg.Record]:
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
            self._check(await connection.fetchrow(CHECK_SERVER), endpoint, commit)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _check(self, found: asyncpg.Record | None, endpoint: Address, commit: str) -> None:
        """Raises `NotUsable` or `ClusterError` for a server that must not keep a record."""
        assert found is not None
        if found["version"] < VERSION_MIN:
            raise NotUsable(f"{endpoint}: it is older than PostgreSQL 14", refused=True)
        if found["standby"]:
            raise NotUsable(f"{endpoint}: it is a standby, in recovery")
        if found["synchronous_commit"] != commit:
            raise NotUsable(
                f"{endpoint}: its synchronous_commit is {found['synchronous_commit']!r} although {commit!r} was asked "
                "for: connect without a pooler that ignores settings",
                refused=True,
            )
        if found["fsync"] != "on":
            raise NotUsable(f"{endpoint}: its fsync is off, so a power cut loses the record", refused=True)
        if self._identity not in (None, found["identity"]):
            raise ClusterError(
                f"{endpoint} is another cluster of PostgreSQL than before. Stop all nodes, then rebuild the record with "
                "`qpidha record rebuild`"
            )
        timeline = int(found["timeline"], 16)
        if timeline < self._timeline:
            raise NotUsable(
                f"{endpoint}: a primary that was replaced (timeline {timeline}, and {self._timeline} was seen): stop it",
                refused=True,
            )
        self._identity, self._timeline = found["identity"], timeline

    def _explained(self, error: Exception, endpoint: Address) -> NotUsable:
        errors, user = self._asyncpg, self._login.user
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NotUsable(
                f"{endpoint}: its certificate is not accepted ({cause.verify_message}): check the authority, and that "
                "the certificate names this host"
            )
        what = ""
        if isinstance(error, errors.InvalidPasswordError):
            what = f"user {user!r} or the password is wrong"
        elif isinstance(error, errors.InvalidAuthorizationSpecificationError):
            what = f"allow user {user!r} from this host in pg_hba.conf, with hostssl where tls is given"
        elif isinstance(error, errors.InvalidCatalogNameError):
            what = f"createdb {self._login.database}"
        if what:
            return NotUsable(f"{endpoint} refuses: {error}. What to do: {what}", refused=True)
        return NotUsable(f"{endpoint}: {str(error) or type(error).__name__}")


async def _drop(tasks: Sequence[asyncio.Task[asyncpg.Connection[asyncpg.Record]]]) -> None:
    """End the attempts that were not needed."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and task.exception() is None:
            task.result().terminate()
