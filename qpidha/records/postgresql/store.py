"""The record store on PostgreSQL. `qpidha.records.postgresql.layout` says what is kept where.

The record is changed by an ``UPDATE`` that compares its version, so of any number of writers one wins (M1). A write
whose connection broke is repeated within its time: it finds either the version it expects or its own record, nonce
included (M2).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qpidha.checks import FLAG, SECONDS, SECONDS_OR_ZERO, Rule
from qpidha.errors import ClusterError, Conflict, OutcomeUnknown, SettingsError, Unavailable
from qpidha.records.addresses import ADDRESSES, TLS, USER, address, check_password, check_secrecy
from qpidha.records.format import VERSION, check_record, check_session, decode_value, encode_value
from qpidha.records.opener import LOCK
from qpidha.records.postgresql import layout
from qpidha.records.postgresql.follower import Follower, Live
from qpidha.records.postgresql.pool import Pool
from qpidha.records.postgresql.servers import Login, Servers
from qpidha.records.postgresql.session import Opener, PostgreSqlSession
from qpidha.records.tls import TlsFiles
from qpidha.types import NodeId, Record, Versioned

DEFAULT_TIMEOUT_S = 5.0
"""Time-out of the operations that have no argument for it."""
DATABASE = Rule("the name of a database", lambda value: value is not None and USER.fits(value))


class PostgreSqlRecordStore:
    """A `RecordStore` for one process; each process opens its own. For one event loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        database: str,
        name: str = "qpidha",
        tls: ssl.SSLContext | TlsFiles | None = None,
        user: str | None = None,
        password: str | Path | None = None,
        insecure: bool = False,
        attempt_timeout_s: float = 0.5,
        check_interval_s: float = 1.0,
    ) -> None:
        """Nothing is connected before the first request. The tables are made on first use.

        Args:
            endpoints: The servers, each "host:port": the primary and its standbys. The one that is not in recovery is
                used.
            database: Its name.
            name: Of this cluster's row. Clusters with different names do not see each other.
            tls: For encrypted connections. `TlsFiles` follows certificates that are renewed; an `ssl.SSLContext` must
                verify the peer. None: plain text, to loopback addresses only.
            user: The role to log in as. None: the name of the user who runs this process.
            password: As text, or the path of a private file, which is read at each connection. None: from ~/.pgpass,
                or a certificate in ``tls`` suffices.
            insecure: Allow plain text to any address, and contexts that do not verify the peer. Anyone in between
                can then elect a primary.
            attempt_timeout_s: After this silence a read is repeated over a new connection; after twice as long a server
                that could not be connected to is given up. At most a quarter of the session time-out.
            check_interval_s: How often the record and the sessions are read although there was no notification.

        Raises:
            SettingsError: An argument has a wrong type or value, or asyncpg is not installed.
        """
        ADDRESSES("endpoints", endpoints, SettingsError)
        DATABASE("database", database, SettingsError)
        layout.NAME("name", name, SettingsError)
        TLS("tls", tls, SettingsError)
        USER("user", user, SettingsError)
        FLAG("insecure", insecure, SettingsError)
        SECONDS("attempt_timeout_s", attempt_timeout_s, SettingsError)
        SECONDS("check_interval_s", check_interval_s, SettingsError)
        if password is not None:
            check_password(user, password)
        found = list(dict.fromkeys(one for text in endpoints if (one := address(text))))
        check_secrecy(found, tls, insecure=insecure)
        self._endpoints = [str(one) for one in found]
        self._database, self._name = database, name
        self._what = f"the record {name} in PostgreSQL"
        context = tls if isinstance(tls, ssl.SSLContext) else None
        servers = Servers(
            found,
            Login(database, user, password),
            tls.context if isinstance(tls, TlsFiles) else (lambda: context) if context else None,
            connect_timeout_s=2 * attempt_timeout_s,
        )
        self._records = Pool(servers, commit="on", attempt_timeout_s=attempt_timeout_s)
        self._sessions = Pool(servers, commit="local", attempt_timeout_s=attempt_timeout_s)
        """Without waiting for a standby: a session that a failover loses is opened again."""
        self._opener = Opener(self._sessions, name)
        self._follower = Follower(
            self._sessions, name, self._read_record, self._read_live, check_interval_s=check_interval_s
        )
        self._seen: tuple[int, str] | None = None
        """The newest version that was read or written, and its text."""

    def __repr__(self) -> str:
        return f"PostgreSqlRecordStore({self._endpoints}, database={self._database!r}, name={self._name!r})"

    # --- the record --------------------------------------------------------------------------------

    async def read(self) -> Versioned | None:
        """The record; None: there is none yet. A synchronous standby has it when this returns.

        Raises:
            Unavailable: No server that can be used answered for DEFAULT_TIMEOUT_S, or PostgreSQL refuses.
            ClusterError: The record is damaged, has a newer format, or went back; or it is another PostgreSQL.
        """
        return await self._read_surely(DEFAULT_TIMEOUT_S)

    async def create(self, new: Record) -> Versioned:
        """Raises `Conflict` if there is a record already; else as `compare_and_set`."""
        check_record(new)
        return await self._write(None, new, DEFAULT_TIMEOUT_S)

    async def compare_and_set(self, expected: int, new: Record, *, timeout_s: float) -> Versioned:
        """Replace the record if its version is still ``expected`` (rule M1).

        If the record is this very one already, nonce included, it was our own write whose answer was
        lost: that is success (rule M2).

        Raises:
            Conflict: There is another record.
            ManagerRefused: PostgreSQL refuses, and has done nothing: no permission, no space.
            Unavailable: No server that can be used could be reached. Nothing was sent.
            OutcomeUnknown: It was sent, and there was no answer in time.
            ArgumentError: A record that could not be written, or not be read again. Nothing was sent.
            ClusterError: The record is damaged, has a newer format, or went back; or it is another PostgreSQL.
        """
        VERSION("expected", expected)
        check_record(new)
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        return await self._write(expected, new, timeout_s)

    def watch(self) -> AsyncIterator[Versioned | None]:
        """The current record, then each change. Ends with an error if the record cannot be read."""
        self._follower.poll()
        return self._follower.record.watch()

    async def _read_record(self, timeout_s: float) -> Versioned | None:
        """The record, read without a lock if it is the one that was read or written before.

        What is new here may be on this server only: after a crash a primary shows also what it has not sent to its
        standby, and a promotion of the standby would take it back.
        """
        rows = await self._sessions.run(layout.READ_RECORD, self._name, timeout_s=timeout_s)
        if rows and self._seen == (rows[0]["version"], rows[0]["value"]):
            return Versioned(decode_value(rows[0]["value"].encode(), self._what), rows[0]["version"])
        return await self._read_surely(timeout_s)

    async def _read_surely(self, timeout_s: float) -> Versioned | None:
        rows = await self._records.run(layout.READ_RECORD_SURELY, self._name, timeout_s=timeout_s)
        version, value = (rows[0]["version"], rows[0]["value"]) if rows else (0, "")
        record = decode_value(value.encode(), self._what) if rows else None
        known, text = (0, "") if self._seen is None else self._seen
        if version < known or (version == known and value != text):
            raise ClusterError(
                f"{self._what} went back from version {known} to {version}: the database was reset or restored, or a "
                "standby that was not synchronous was promoted. Stop all nodes, then rebuild the record with "
                "`qpidha record rebuild`"
            )
        if record is None:
            return None
        self._remember(version, value)
        return Versioned(record, version)

    async def _write(self, expected: int | None, new: Record, timeout_s: float) -> Versioned:
        value = encode_value(new).decode()
        rows = await self._try_write(expected, value, timeout_s)
        if rows:
            self._remember(rows[0]["version"], value)
            self._follower.tell()
            return Versioned(new, rows[0]["version"])
        # Another record is there, or this one, by an earlier attempt.
        try:
            current = await self._read_surely(DEFAULT_TIMEOUT_S)
        except Unavailable as error:
            raise OutcomeUnknown(
                f"the version is not {expected}, and what is there cannot be read: {error}"
            ) from error
        if current is None:
            raise Conflict(f"there is no record, and version {expected} was expected", current=None)
        if new.nonce and current.record == new:
            return current  # Our earlier write: its answer was lost (M2).
        raise Conflict(f"the record has version {current.version}, not {expected}", current=current)

    async def _try_write(
        self, expected: int | None, value: str, timeout_s: float
    ) -> Sequence[Mapping[str, Any]]:
        """One row if it was written."""
        if expected is not None:
            known = self._seen[1] if self._seen is not None and self._seen[0] == expected else None
            given = (self._name, value, expected, known)
            return await self._records.run(layout.CHANGE_RECORD, *given, timeout_s=timeout_s, changes=True)
        if self._seen is not None:  # It is there. If not, the database was reset.
            return ()
        return await self._records.run(
            layout.CREATE_RECORD, self._name, value, timeout_s=timeout_s, changes=True
        )

    def _remember(self, version: int, value: str) -> None:
        if self._seen is None or version > self._seen[0]:
            self._seen = (version, value)

    # --- sessions ----------------------------------------------------------------------------------

    def succeed(self, lock: bytes) -> None:
        """See `qpidha.interfaces.SucceedingRecordStore`."""
        LOCK("lock", lock)
        self._opener.name.hold(lock)

    async def open_session(self, node: NodeId, info: bytes, *, ttl_s: float) -> PostgreSqlSession:
        """Show to others that this node is alive, until the session is closed or lost.

        After a crash of this node its session lives for the TTL: then this waits until it has expired, and
        until the connection of this store is as old as that TTL, unless `succeed` has told that its process has ended.

        Raises:
            Conflict: Another process, or this one, holds a session of this node id (T40).
            Unavailable: No server can be used, or PostgreSQL refuses.
            OutcomeUnknown: It was sent, and there was no answer in time.
            ArgumentError: Not a node id, not bytes, or a time out of range.
            ClusterError: It is another PostgreSQL than before.
        """
        check_session(node, info, ttl_s)
        return await self._opener.open(node, info, ttl_s)

    async def live(self) -> Mapping[NodeId, bytes]:
        """The info of every node with a live session."""
        return (await self._read_live(DEFAULT_TIMEOUT_S))[0]

    async def _read_live(self, timeout_s: float) -> Live:
        rows = await self._sessions.run(layout.READ_SESSIONS, self._name, timeout_s=timeout_s)
        if any(row["dead"] for row in rows):
            await self._sessions.run(layout.REMOVE_DEAD, self._name, timeout_s=timeout_s)
            rows = await self._sessions.run(layout.READ_SESSIONS, self._name, timeout_s=timeout_s)
        live = {row["node"].decode("utf-8", "replace"): row["info"] for row in rows}
        return live, min((row["left_s"] for row in rows), default=None)

    def watch_live(self) -> AsyncIterator[Mapping[NodeId, bytes]]:
        """The live nodes, then each change."""
        self._follower.poll()
        return self._follower.live.watch()

    def poll_soon(self) -> None:
        """Look in a moment: a link broke or a role changed, and a watch may hang. Never blocks."""
        self._follower.poll_soon()

    async def close(self) -> None:
        """End all watches, which then stop iterating, and close the connections. May be called twice."""
        await self._follower.close()
        await self._records.close()
        await self._sessions.close()
