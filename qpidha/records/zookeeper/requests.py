"""Requests to a ZooKeeper ensemble that survive the loss of a connection, and are sure which ensemble they talk to.

A request is repeated over a new connection until its time is over: each one is written so that doing it twice is the
same as doing it once. At the end of the time there was no answer. Then it matters whether anything was sent:

    no connection                                  surely not sent: `Unavailable`
    the connection ended before the answer         it may be done now, later or never: `OutcomeUnknown`
    ZooKeeper says that it refuses                 surely not done: `ManagerRefused`, which is an `Unavailable`

Every new connection first reads what is kept at the prefix. An ensemble that was reset has another identity there, one
that was restored from a copy has done less than it had before. Requests that follow over the same connection are
answered by the same ensemble: a ZooKeeper session cannot be moved to another one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from qpidha.errors import ClusterError, OutcomeUnknown, Unavailable
from qpidha.records.addresses import Address
from qpidha.records.zookeeper.failures import RESET, AttemptFailed, Caller, explained, require_kazoo
from qpidha.records.zookeeper.layout import IDENTITY_BYTES, Known, Layout, Snapshot, decode_session, node_of
from qpidha.records.zookeeper.link import Access, Link, Request

T = TypeVar("T")

PAUSE_S = 0.05
"""Before another connection is made."""
LINK_TTL_S = 4.0
"""Of the ZooKeeper session for reads and changes of the record. Nothing depends on it."""


class Requests:
    """Makes requests over one connection at a time."""

    def __init__(self, access: Access, layout: Layout, caller: Caller, changed: Callable[[], None]) -> None:
        """``changed`` is called when a connection comes or goes, and when a watch has fired."""
        self._access = access
        self._layout = layout
        self._caller = caller
        self.changed = changed
        self._addresses = list(access.addresses)
        self._link: Link | None = None
        self._ended: list[Link] = []
        self._verified: Link | None = None
        self._identity: tuple[int, int, bytes] | None = None
        self._zxid = 0
        self.known: Known | None = None
        """The newest record that was read or written."""

    @property
    def access(self) -> Access:
        """How to connect; the server that answered last comes first."""
        given = self._access
        return Access(self._addresses, given.context, given.user, given.password, given.attempt_timeout_s)

    @property
    def attempt_timeout_s(self) -> float:
        """After this silence the next server is asked."""
        return self._access.attempt_timeout_s

    # --- one request -------------------------------------------------------------------------------

    async def run(
        self, attempt: Callable[[Link], Awaitable[T]], timeout_s: float, *, changes: bool = False
    ) -> T:
        """Make an attempt over a connection, again after each failure, until the time is over.

        Raises:
            ManagerRefused: ZooKeeper does not do it. Nothing was done.
            Unavailable: No answer, and nothing was done.
            OutcomeUnknown: It changes something, was sent, and there is no answer.
            ClusterError: It is another ensemble than before.
        """
        until, sent, why = time.monotonic() + timeout_s, False, ""
        while (left_s := until - time.monotonic()) > 0:
            link = self._current()
            if not await link.wait_connected(left_s):
                if link.over:
                    await asyncio.sleep(PAUSE_S)
                continue
            try:
                return await self._within(self._attempt(link, attempt), until)
            except AttemptFailed as error:
                sent, why = sent or error.sent, str(error)
            except require_kazoo().KazooException as error:
                if not (changes and sent):
                    raise explained(error, self._caller) from error
                why = str(
                    explained(error, self._caller)
                )  # Of no weight: an earlier attempt may have done it.
                break
        reasons = [] if self._link is None else list(self._link.reasons.values())
        told = (
            "; ".join(dict.fromkeys(filter(None, [why, *reasons]))) or f"no connection in {timeout_s:.3g} s"
        )
        if changes and sent:
            raise OutcomeUnknown(f"ZooKeeper has not said whether it has written: {told}")
        raise Unavailable(f"no member of ZooKeeper answers: {told}")

    async def _attempt(self, link: Link, attempt: Callable[[Link], Awaitable[T]]) -> T:
        if self._verified is not link:
            await self.read(link)
        return await attempt(link)

    @staticmethod
    async def _within(work: Coroutine[Any, Any, T], until: float) -> T:
        """Do this within the time. It may be done later if it is not: raises `AttemptFailed`."""
        task = asyncio.get_running_loop().create_task(work, name="qpidha-zookeeper")
        left_s = max(0.0, until - time.monotonic())
        try:
            await asyncio.wait({task}, timeout=left_s)
            if task.done():
                return task.result()
            raise AttemptFailed(f"no answer in {left_s:.3g} s", sent=True)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _current(self) -> Link:
        """The connection. One that was lost is replaced: nothing depends on its ZooKeeper session."""
        link = self._link
        if link is not None and not link.over:
            return link
        if link is not None:
            self._retire(link)
        self._link = Link(self.access, LINK_TTL_S, pings=True, changed=self.changed)
        return self._link

    def _retire(self, link: Link) -> None:
        link.dismiss("the connection was lost")
        if link.endpoint in self._addresses:  # Begin with the one after it.
            at = self._addresses.index(link.endpoint) + 1
            self._addresses = self._addresses[at:] + self._addresses[:at]
        self._ended = [one for one in self._ended if one.ending] + [link]

    # --- what is there -----------------------------------------------------------------------------

    async def read(self, link: Link, watcher: Callable[..., None] | None = None) -> Snapshot:
        """Read everything, as the leader knows it now.

        Raises:
            AttemptFailed: No answer.
            ClusterError: It is not the ensemble that it was; or the record is damaged.
        """
        where = self._layout
        calls: list[Request] = []
        calls.append(("sync", [where.prefix], {}))
        calls.append(("get", [where.prefix], {}))
        # These tell of the creation too, which the others cannot.
        calls.append(("exists", [where.record, watcher], {}))
        calls.append(("exists", [where.sessions, watcher], {}))
        calls.append(("get", [where.record], {}))
        calls.append(("get_children", [where.sessions, watcher], {}))
        _, prefix, _, _, record, names = await self._found(link, calls)
        sessions = await self._found(
            link, [("get", [f"{where.sessions}/{name}", watcher], {}) for name in names or ()]
        )
        live = {
            node_of(name): decode_session(found[0]).info
            for name, found in zip(names or (), sessions, strict=True)
            if found is not None
        }
        identity = None if prefix is None else (prefix[1].czxid, prefix[1].ctime, prefix[0])
        self._check(link, identity)
        if record is None:
            return Snapshot(identity, None, None, live)
        found = where.versioned(*record)
        return Snapshot(identity, found, self.remember(record[1]), live)

    async def _found(self, link: Link, calls: list[Request]) -> list[Any]:
        """The answers, None for each znode that does not exist. Raises the first other error."""
        answers = await link.batch(calls, self.attempt_timeout_s)
        missing = require_kazoo().NoNodeError
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, missing):
                raise answer
        return [None if isinstance(answer, missing) else answer for answer in answers]

    def _check(self, link: Link, identity: tuple[int, int, bytes] | None) -> None:
        """The ensemble must be the same, and must not know less than it did before."""
        if self._identity is not None and identity != self._identity:
            self._verified = None
            raise ClusterError(
                f"this is another ZooKeeper ensemble than before, or {self._layout.prefix} was removed: ZooKeeper was "
                f"reset, or an endpoint belongs to another one. {RESET}"
            )
        if link.zxid < self._zxid:
            self._verified = None
            raise ClusterError(
                f"ZooKeeper went back from transaction {self._zxid:#x} to {link.zxid:#x}: it was reset, or restored "
                f"from a copy. {RESET}"
            )
        self._identity, self._verified = identity, link
        self._zxid = link.zxid

    def remember(self, stat: Any) -> Known:
        """Remember the version of the record. Returns it."""
        found = Known(stat.mzxid, stat.version)
        if self.known is None or found.mzxid > self.known.mzxid:
            self.known = found
        self._zxid = max(self._zxid, found.mzxid)
        return found

    async def ensure(self, link: Link) -> None:
        """Create the znodes that a cluster needs, if they do not exist."""
        exceptions = require_kazoo()
        stats = await self._found(link, [("exists", [path], {}) for path in self._layout.folders])
        missing = [path for path, stat in zip(self._layout.folders, stats, strict=True) if stat is None]
        for path in missing:
            value = os.urandom(IDENTITY_BYTES) if path == self._layout.prefix else b""
            try:
                await link.ask("create", path, value, timeout_s=self.attempt_timeout_s)
            except exceptions.NodeExistsError:
                continue  # Another node was faster.
        if missing:
            await self.read(link)

    # --- life --------------------------------------------------------------------------------------

    @property
    def server(self) -> Address | None:
        """The server that it is connected to, or was last."""
        return None if self._link is None else self._link.endpoint

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        links, self._ended, self._link = [*self._ended, self._link], [], None
        for link in links:
            if link is not None:
                await link.close()
