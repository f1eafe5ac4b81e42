"""Servers of PostgreSQL in this process, as far as `PostgreSqlRecordStore` uses them. Time passes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from qpidha.records import PostgreSqlRecordStore
from qpidha.records.postgresql import layout

SILENT, RESET, WARNED = "silent", "reset", "warned"
Answer = Any
"""Rows, an exception, or one of the words above; WARNED is done as usual, with a warning."""
PROCESS = 4711


@dataclass
class Server:
    """One server, and what it says of itself."""

    fails: Exception | None = None
    silent: bool = False
    process: int = PROCESS
    commit: str | None = None
    """None: what was asked for."""
    connections: list[Connection] = field(default_factory=list)
    facts: dict[str, Any] = field(
        default_factory=lambda: {
            "standby": False,
            "started": 1,
            "version": 150000,
            "fsync": "on",
            "identity": 7,
            "timeline": "00000001",
        }
    )


class Connection:
    """One connection."""

    def __init__(self, fake: Fake, server: Server, settings: dict[str, str]) -> None:
        self.fake = fake
        self.server = server
        self.settings = settings
        self.since = fake.now
        self.closed = False
        self.listeners: list[Callable[..., None]] = []
        self._log: list[Callable[..., None]] = []
        self._ending: list[Callable[..., None]] = []
        self._waiting: set[asyncio.Future[None]] = set()

    def get_server_pid(self) -> int:
        return PROCESS

    async def fetchrow(self, sql: str) -> dict[str, Any]:
        assert sql == layout.CHECK_SERVER
        return {
            **self.server.facts,
            "process": self.server.process,
            "synchronous_commit": self.server.commit or self.settings["synchronous_commit"],
        }

    async def fetch(self, sql: str, *given: Any) -> list[dict[str, Any]]:
        return await self._answer(sql, given)

    async def execute(self, sql: str) -> None:
        await self._answer(sql, ())

    async def _answer(self, sql: str, given: tuple[Any, ...]) -> Any:
        self.fake.asked.append((sql, given))
        script = self.fake.script.get(sql, [])
        said = script.pop(0) if script else None
        if callable(said):
            said = said()
        if said == SILENT:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            await waiter
        if said == RESET:
            self.terminate()
            raise ConnectionResetError("cut")
        if isinstance(said, BaseException):
            raise said
        if said == WARNED:
            for told in self._log:
                told(self, SimpleNamespace(severity_en="NOTICE"))
                told(self, SimpleNamespace(severity_en="WARNING"))
        if isinstance(said, list):
            return said
        return self.fake.perform(self, sql, given)

    def add_log_listener(self, told: Callable[..., None]) -> None:
        self._log.append(told)

    def add_termination_listener(self, told: Callable[..., None]) -> None:
        self._ending.append(told)

    async def add_listener(self, channel: str, told: Callable[..., None]) -> None:
        assert channel == layout.CHANNEL
        self.listeners.append(told)

    def is_closed(self) -> bool:
        return self.closed

    async def close(self, *, timeout: float) -> None:
        self.terminate()

    def terminate(self) -> None:
        self.closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(asyncpg.ConnectionDoesNotExistError("closed"))
        for told in self._ending:
            told(self)


class Fake:
    """Servers that share one database."""

    def __init__(self, servers: int) -> None:
        self.servers = [Server() for _ in range(servers)]
        self.now = 1000.0
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.script: dict[str, list[Answer]] = {}
        """The next answers to a statement; after them it is performed."""
        self.records: dict[str, tuple[int, str]] = {}
        self.sessions: dict[tuple[str, bytes], dict[str, Any]] = {}
        self.passwords: list[str | None] = []
        self.cut = 0
        """Logins that were cancelled."""

    async def connect(
        self, *, host: str, port: int, password: str | None, server_settings: dict[str, str], **_: Any
    ) -> Connection:
        server = self.servers[port - 1]
        self.passwords.append(password)
        if server.silent:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cut += 1
                raise
        if server.fails is not None:
            raise server.fails
        made = Connection(self, server, server_settings)
        server.connections.append(made)
        return made

    def store(self, **options: Any) -> PostgreSqlRecordStore:
        endpoints = [f"127.0.0.1:{n + 1}" for n in range(len(self.servers))]
        given = {"endpoints": endpoints, "database": "x", "attempt_timeout_s": 0.2, **options}
        return PostgreSqlRecordStore(**given)

    def count(self, sql: str) -> int:
        """How often it was asked."""
        return sum(asked == sql for asked, _ in self.asked)

    def notify(self, name: str) -> None:
        for server in self.servers:
            for connection in server.connections:
                for told in connection.listeners:
                    told(connection, 1, layout.CHANNEL, name)

    # --- statements --------------------------------------------------------------------------------

    def perform(self, connection: Connection, sql: str, given: tuple[Any, ...]) -> list[dict[str, Any]]:
        if sql == layout.MAKE_TABLES:
            return []
        if sql in (layout.READ_RECORD, layout.READ_RECORD_SURELY):
            found = self.records.get(given[0])
            return [] if found is None else [{"version": found[0], "value": found[1]}]
        if sql in (layout.CREATE_RECORD, layout.CHANGE_RECORD):
            return self._write(*given)
        if sql == layout.NOTIFY:
            self.notify(given[0])
            return []
        return self._session(connection, sql, *given)

    def _write(
        self, name: str, value: str, expected: int = 0, known: str | None = None
    ) -> list[dict[str, Any]]:
        version, current = self.records.get(name, (0, ""))
        if version != expected or known not in (None, current):
            return []
        self.records[name] = (version + 1, value)
        return [{"version": version + 1}]

    def _dead(self, connection: Connection, row: dict[str, Any]) -> bool:
        return bool(row["expires_at"] < self.now and self.now - connection.since > row["ttl_s"])

    def _session(self, connection: Connection, sql: str, name: str, *given: Any) -> list[dict[str, Any]]:
        rows = self.sessions
        if sql == layout.READ_SESSIONS:
            return [
                {
                    **row,
                    "node": node,
                    "left_s": row["expires_at"] - self.now,
                    "dead": self._dead(connection, row),
                }
                for (of, node), row in rows.items()
                if of == name
            ]
        if sql == layout.REMOVE_DEAD:
            for key in [key for key, row in rows.items() if self._dead(connection, row)]:
                del rows[key]
            return []
        key = (name, given[0])
        row = rows.get(key)
        if sql == layout.LOOK_AT_SESSION:
            return [] if row is None else [row]
        if sql == layout.OPEN_SESSION:
            _, opener, token, info, ttl_s, inherited = given
            known = row is not None and (
                row["opener"] == opener or (inherited and row["opener"].startswith(inherited))
            )
            if row is not None and not known and not self._dead(connection, row):
                return []
            rows[key] = {
                "opener": opener, "token": token, "info": info, "ttl_s": ttl_s, "expires_at": self.now + ttl_s
            }  # fmt: skip
            return [rows[key]]
        if row is None or row["token"] != given[1]:
            return []
        if sql == layout.CLOSE_SESSION:
            return [rows.pop(key)]
        if sql == layout.UPDATE_SESSION:
            row["info"] = given[3]
        else:
            assert sql == layout.RENEW_SESSION
            row["expires_at"] = self.now + row["ttl_s"]
        return [row]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Two servers, both of which are primaries, on one timeline, of one process."""
    made = Fake(2)
    monkeypatch.setattr(asyncpg, "connect", made.connect)
    return made
