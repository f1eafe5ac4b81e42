"""The record store on an etcd ensemble. `qpidha.records.etcd.layout` says what is kept where.

The record is changed by transactions that compare its revision, so of any number of writers one wins (M1). A request
without an answer is repeated at other members within its time: a repeated compare-and-set finds either the revision
it expects or its own record, nonce included (M2).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qpidha.checks import FLAG, SECONDS, SECONDS_OR_ZERO
from qpidha.errors import Conflict, SettingsError
from qpidha.records.addresses import ADDRESSES, TLS, USER, address, check_password, check_secrecy
from qpidha.records.etcd.connections import Connections
from qpidha.records.etcd.failures import Caller
from qpidha.records.etcd.follower import Follower
from qpidha.records.etcd.gateway import Gateway
from qpidha.records.etcd.layout import (
    PREFIX,
    Layout,
    Snapshot,
    found_by,
    put_if,
    reading,
    revision_is,
    value_is,
)
from qpidha.records.etcd.session import EtcdSession, Opener
from qpidha.records.format import VERSION, check_record, check_session, encode_value
from qpidha.records.opener import LOCK
from qpidha.records.tls import TlsFiles
from qpidha.types import NodeId, Record, Versioned

DEFAULT_TIMEOUT_S = 5.0
"""Time-out of the operations that have no argument for it."""


class EtcdRecordStore:
    """A `RecordStore` for one process; each process opens its own. For one event loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        prefix: str = "/qpidha",
        tls: ssl.SSLContext | TlsFiles | None = None,
        user: str | None = None,
        password: str | Path | None = None,
        insecure: bool = False,
        attempt_timeout_s: float = 0.5,
        check_interval_s: float = 1.0,
    ) -> None:
        """Nothing is connected before the first request.

        Args:
            endpoints: The members' client addresses, each "host:port". Any of them suffices to begin.
            prefix: Where in etcd this cluster is kept. Clusters with different prefixes do not see each other.
            tls: For encrypted connections. `TlsFiles` follows certificates that are renewed; an `ssl.SSLContext` must
                verify the peer. None: plain text, to loopback addresses only.
            user: The name to log in with, where etcd wants one.
            password: As text, or the path of a private file, which is read at each login.
            insecure: Allow plain text to any address, and contexts that do not verify the peer. Anyone in between
                can then read the password and elect a primary.
            attempt_timeout_s: After this silence of a member another one is asked as well. Several times a round trip
                with an fsync, and at most a quarter of the session time-out.
            check_interval_s: How often the record and the sessions are read although no watch has reported a change: a
                member that hangs or is cut off reports none.

        Raises:
            SettingsError: An argument has a wrong type or value, or aiohttp is not installed.
        """
        ADDRESSES("endpoints", endpoints, SettingsError)
        PREFIX("prefix", prefix, SettingsError)
        TLS("tls", tls, SettingsError)
        USER("user", user, SettingsError)
        FLAG("insecure", insecure, SettingsError)
        SECONDS("attempt_timeout_s", attempt_timeout_s, SettingsError)
        SECONDS("check_interval_s", check_interval_s, SettingsError)
        check_password(user, password)
        found = [one for text in endpoints if (one := address(text))]
        check_secrecy(found, tls, insecure=insecure)
        self._endpoints = [str(one) for one in found]
        self._layout = Layout(prefix)
        context = tls if isinstance(tls, ssl.SSLContext) else None
        self._gateway = Gateway(
            Connections(tls.context if isinstance(tls, TlsFiles) else (lambda: context) if context else None),
            list(dict.fromkeys(found)),
            caller=Caller(user, prefix),
            password=password,
            attempt_timeout_s=attempt_timeout_s,
        )
        self._opener = Opener(self._gateway, self._layout)
        self._follower = Follower(
            self._gateway,
            self._layout,
            self._read_all,
            self._remember,
            check_interval_s=check_interval_s,
        )
        self._seen: tuple[int, bytes] | None = None
        """The newest version that was read or written, and its bytes."""

    def __repr__(self) -> str:
        return f"EtcdRecordStore({self._endpoints}, prefix={self._layout.prefix!r})"

    # --- the record --------------------------------------------------------------------------------

    async def read(self) -> Versioned | None:
        """The record; None: there is none yet. Linearizable: it asks a majority.

        Raises:
            Unavailable: No member answered for DEFAULT_TIMEOUT_S, or there is no majority, or etcd refuses.
            ClusterError: The record is damaged, or has a newer format; or etcd was reset.
        """
        return (await self._read_all(DEFAULT_TIMEOUT_S)).record

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
            ManagerRefused: etcd refuses, and has done nothing: no permission, no space.
            Unavailable: No member could be reached. Nothing was sent.
            OutcomeUnknown: It was sent, and no member has answered in time.
            ArgumentError: A record that could not be written, or not be read again. Nothing was sent.
            ClusterError: The record is damaged, or has a newer format; or etcd was reset.
        """
        VERSION("expected", expected)
        check_record(new)
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        return await self._write(expected, new, timeout_s)

    def watch(self) -> AsyncIterator[Versioned | None]:
        """The current record, then each change. Ends with an error if the record cannot be read."""
        self._follower.poll()
        return self._follower.record.watch()

    async def _read_all(self, timeout_s: float) -> Snapshot:
        answer = await self._gateway.read("/v3/kv/txn", self._layout.read_all, timeout_s)
        with reading():
            found = self._layout.snapshot(answer)
        if found.record is not None:
            self._remember(found.record.version, found.value)
        return found

    async def _write(self, expected: int | None, new: Record, timeout_s: float) -> Versioned:
        value = encode_value(new)
        answer = await self._gateway.read(
            "/v3/kv/txn",
            put_if(self._layout.record, self._conditions(expected), value),
            timeout_s,
            changes=True,
        )
        with reading():
            if answer.get("succeeded"):
                written = Versioned(new, int(answer["header"]["revision"]))
                self._remember(written.version, value)
                return written
            found = found_by(answer)
        if found is None:
            raise Conflict(f"there is no record, and version {expected} was expected", current=None)
        current = self._layout.versioned(found)
        self._remember(current.version, found.value)
        if new.nonce and current.record == new:
            return current  # Our earlier write: its answer was lost (M2).
        raise Conflict(f"the record has version {current.version}, not {expected}", current=current)

    def _conditions(self, expected: int | None) -> list[dict[str, Any]]:
        """What must hold for a write. The content is compared too: a reset etcd counts its revisions again."""
        if expected is None:
            return [revision_is(0)]
        exists = {"target": "CREATE", "create_revision": "0", "result": "GREATER"}
        known = self._seen is not None and self._seen[0] == expected
        return [revision_is(expected), exists, *([value_is(self._seen[1])] if known and self._seen else [])]

    def _remember(self, version: int, value: bytes) -> None:
        if self._seen is None or version > self._seen[0]:
            self._seen = (version, value)

    # --- sessions ----------------------------------------------------------------------------------

    def succeed(self, lock: bytes) -> None:
        """See `qpidha.interfaces.SucceedingRecordStore`."""
        LOCK("lock", lock)
        self._opener.name.hold(lock)

    async def open_session(self, node: NodeId, info: bytes, *, ttl_s: float) -> EtcdSession:
        """Show to others that this node is alive, until the session is closed or lost.

        etcd grants whole seconds, and not less than 1.5 times its election time-out (2 s by default):
        `EtcdSession.granted_ttl_s` says how much. After a crash of this node its session lives for so long: then this
        waits until it has expired, unless `succeed` has told that its process has ended.

        Raises:
            Conflict: Another process, or this one, holds a session of this node id (T40).
            Unavailable: No member answers, there is no majority, or etcd refuses.
            OutcomeUnknown: It was sent, and no member has answered in time.
            ArgumentError: Not a node id, not bytes, or a time out of range.
            ClusterError: etcd was reset.
        """
        check_session(node, info, ttl_s)
        return await self._opener.open(node, info, ttl_s)

    async def live(self) -> Mapping[NodeId, bytes]:
        """The info of every node with a live session, as a majority knows it now."""
        return (await self._read_all(DEFAULT_TIMEOUT_S)).live

    def watch_live(self) -> AsyncIterator[Mapping[NodeId, bytes]]:
        """The live nodes, then each change."""
        self._follower.poll()
        return self._follower.live.watch()

    def poll_soon(self) -> None:
        """Look in a moment: a link broke or a role changed, and the watch may hang. Never blocks."""
        self._follower.poll_soon()

    async def close(self) -> None:
        """End all watches, which then stop iterating, and close the connections. May be called twice."""
        await self._follower.close()
        await self._gateway.close()
