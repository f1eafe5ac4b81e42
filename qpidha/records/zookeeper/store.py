"""The record store on a ZooKeeper ensemble. `qpidha.records.zookeeper.layout` says what is kept where.

The record is changed by writes that name its version, so of any number of writers one wins (M1). A request without an
answer is repeated within its time: a repeated compare-and-set finds either the version that it expects or its own
record, nonce included (M2).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from qpidha.checks import FLAG, SECONDS, SECONDS_OR_ZERO
from qpidha.errors import Conflict, ManagerRefused, SettingsError
from qpidha.records.addresses import (
    ADDRESSES,
    TLS,
    USER,
    address,
    check_password,
    check_secrecy,
)
from qpidha.records.format import VERSION, check_record, check_session, encode_value
from qpidha.records.opener import LOCK
from qpidha.records.tls import TlsFiles
from qpidha.records.zookeeper.failures import Caller, require_kazoo
from qpidha.records.zookeeper.follower import Follower
from qpidha.records.zookeeper.layout import PREFIX, Layout, Snapshot
from qpidha.records.zookeeper.link import Access, Link
from qpidha.records.zookeeper.opener import Opener
from qpidha.records.zookeeper.requests import Requests
from qpidha.records.zookeeper.session import ZooKeeperSession
from qpidha.types import NodeId, Record, Versioned

DEFAULT_TIMEOUT_S = 5.0
"""Time-out of the operations that have no argument for it."""
RECORD_BYTES_MAX = 1_000_000
"""A server ends the connection of a request that is longer than its ``jute.maxbuffer``, 1,048,575 bytes by default."""


class ZooKeeperRecordStore:
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
            endpoints: The servers' client addresses, each "host:port". They are tried in this order.
            prefix: Where in ZooKeeper this cluster is kept. Clusters with different prefixes do not see each other.
            tls: For encrypted connections, to the servers' secure client ports. `TlsFiles` follows certificates that are
                renewed; an `ssl.SSLContext` must verify the peer. None: plain text, to loopback addresses only.
            user: The name for digest authentication. What this store creates can then be read and changed only with this
                name and password. None: by everybody who can connect.
            password: As text, or the path of a private file, which is read at each connection.
            insecure: Allow plain text to any address, and contexts that do not verify the peer. Anyone in between
                can then read the password and elect a primary.
            attempt_timeout_s: After this silence of a server the next one is asked. Several times a round trip with an
                fsync, and at most a quarter of the session time-out.
            check_interval_s: How often the record and the sessions are read although no watch has reported a change.

        Raises:
            SettingsError: An argument has a wrong type or value, or kazoo is not installed.
        """
        ADDRESSES("endpoints", endpoints, SettingsError)
        PREFIX("prefix", prefix, SettingsError)
        TLS("tls", tls, SettingsError)
        USER("user", user, SettingsError)
        FLAG("insecure", insecure, SettingsError)
        SECONDS("attempt_timeout_s", attempt_timeout_s, SettingsError)
        SECONDS("check_interval_s", check_interval_s, SettingsError)
        check_password(user, password)
        if user is not None and ":" in user:
            raise SettingsError("user must not contain ':', which ends the name in ZooKeeper's digest")
        found = list(dict.fromkeys(one for text in endpoints if (one := address(text))))
        check_secrecy(found, tls, insecure=insecure)
        require_kazoo()
        self._endpoints = [str(one) for one in found]
        self._layout = Layout(prefix)
        context = tls if isinstance(tls, ssl.SSLContext) else None
        make = tls.context if isinstance(tls, TlsFiles) else (lambda: context) if context else None
        access = Access(found, make, user, password, attempt_timeout_s)
        caller = Caller(user, prefix)
        self._requests = Requests(access, self._layout, caller, self._changed)
        self._opener = Opener(self._requests, self._layout, caller)
        self._follower = Follower(self._requests, check_interval_s=check_interval_s)

    def __repr__(self) -> str:
        return f"ZooKeeperRecordStore({self._endpoints}, prefix={self._layout.prefix!r})"

    # --- the record --------------------------------------------------------------------------------

    async def read(self) -> Versioned | None:
        """The record; None: there is none yet. As the leader knows it: its server is brought up to date first.

        Raises:
            Unavailable: No server answered for DEFAULT_TIMEOUT_S, or there is no majority, or ZooKeeper refuses.
            ClusterError: The record is damaged, or has a newer format; or ZooKeeper was reset.
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
            ManagerRefused: ZooKeeper refuses, and has done nothing: no permission; or the record is too large.
            Unavailable: No server could be reached. Nothing was sent.
            OutcomeUnknown: It was sent, and no server has answered in time.
            ArgumentError: A record that could not be written, or not be read again. Nothing was sent.
            ClusterError: The record is damaged, or has a newer format; or ZooKeeper was reset.
        """
        VERSION("expected", expected)
        check_record(new)
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        return await self._write(expected, new, timeout_s)

    def watch(self) -> AsyncIterator[Versioned | None]:
        """The current record, then each change. Ends with an error if the record cannot be read."""
        self._follower.poll()
        return self._follower.record.watch()

    def _changed(self) -> None:
        """A connection has come or gone, and its watches with it."""
        self._follower.poll()

    async def _read_all(self, timeout_s: float) -> Snapshot:
        return await self._requests.run(self._requests.read, timeout_s)

    async def _write(self, expected: int | None, new: Record, timeout_s: float) -> Versioned:
        value = encode_value(new)
        if len(value) > RECORD_BYTES_MAX:
            raise ManagerRefused(
                f"the record has {len(value)} bytes, and ZooKeeper takes {RECORD_BYTES_MAX}. What to do: "
                "shorten the node ids"
            )

        async def attempt(link: Link) -> Versioned:
            if expected is None:
                return await self._create(link, new, value)
            return await self._replace(link, expected, new, value)

        return await self._requests.run(attempt, timeout_s, changes=True)

    async def _create(self, link: Link, new: Record, value: bytes) -> Versioned:
        requests = self._requests
        await requests.ensure(link)
        try:
            _, stat = await link.ask(
                "create", self._layout.record, value, include_data=True, timeout_s=requests.attempt_timeout_s
            )
        except require_kazoo().NodeExistsError:
            return self._judge(await requests.read(link), None, new)
        return Versioned(new, requests.remember(stat).mzxid)

    async def _replace(self, link: Link, expected: int, new: Record, value: bytes) -> Versioned:
        """Compare ``mzxid``, which grows for ever, here, and the znode's own version in ZooKeeper."""
        requests, known, exceptions = self._requests, self._requests.known, require_kazoo()
        if known is None or known.mzxid != expected:
            found = await requests.read(link)
            known = found.known
            if known is None or known.mzxid != expected:
                return self._judge(found, expected, new)
        try:
            stat = await link.ask(
                "set", self._layout.record, value, known.version, timeout_s=requests.attempt_timeout_s
            )
        except (exceptions.BadVersionError, exceptions.NoNodeError):
            return self._judge(await requests.read(link), expected, new)
        return Versioned(new, requests.remember(stat).mzxid)

    @staticmethod
    def _judge(found: Snapshot, expected: int | None, new: Record) -> Versioned:
        """The record that was found instead, if it is our own one (M2). Raises `Conflict`."""
        current = found.record
        if current is None:
            raise Conflict(f"there is no record, and version {expected} was expected", current=None)
        if new.nonce and current.record == new:
            return current  # Our earlier write: its answer was lost (M2).
        raise Conflict(f"the record has version {current.version}, not {expected}", current=current)

    # --- sessions ----------------------------------------------------------------------------------

    def succeed(self, lock: bytes) -> None:
        """See `qpidha.interfaces.SucceedingRecordStore`."""
        LOCK("lock", lock)
        self._opener.name.hold(lock)

    async def open_session(self, node: NodeId, info: bytes, *, ttl_s: float) -> ZooKeeperSession:
        """Show to others that this node is alive, until the session is closed or lost.

        ZooKeeper grants not less than two of its ticks (4 s by default): `ZooKeeperSession.granted_ttl_s` says how much.
        After a crash of this node its session lives for so long: then this waits until it has expired, unless `succeed`
        has told that its process has ended.

        Raises:
            Conflict: Another process, or this one, holds a session of this node id (T40).
            Unavailable: No server answers, there is no majority, or ZooKeeper refuses.
            OutcomeUnknown: It was sent, and no server has answered in time.
            ArgumentError: Not a node id, not bytes, or a time out of range.
            ClusterError: ZooKeeper was reset.
        """
        check_session(node, info, ttl_s)
        return await self._opener.open(node, info, ttl_s)

    async def live(self) -> Mapping[NodeId, bytes]:
        """The info of every node with a live session, as the leader knows it now."""
        return (await self._read_all(DEFAULT_TIMEOUT_S)).live

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
        await self._requests.close()
