"""Sessions: an ephemeral znode, whose ZooKeeper session the node's event loop keeps alive, so that it ends if that hangs.

Each session has a connection with a ZooKeeper session for itself. A restarted process finds the znode of the one before
until that has expired. Whether its owner lives is asked by a *claim*, an ephemeral znode beside it: an owner that sees
one writes its own znode again, and its version says that it lives.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from qpidha.errors import ClusterError, Conflict, OutcomeUnknown, Unavailable
from qpidha.records.format import INFO
from qpidha.records.zookeeper.failures import RESET, AttemptFailed, Caller, explained, require_kazoo
from qpidha.records.zookeeper.layout import OPENER_BYTES, Layout, decode_session, encode_session
from qpidha.records.zookeeper.link import Link, Request
from qpidha.records.zookeeper.requests import Requests
from qpidha.types import NodeId

T = TypeVar("T")

KEEP_ALIVES_PER_TTL = 4
DEADLINE_MARGIN = 0.25
"""Fraction of the TTL by which the deadline is earlier for the owner than for ZooKeeper. A keep-alive that the leader has
answered shows that the one before, a quarter of the TTL earlier, has reached it: a follower tells it each half tick who
is alive, and no TTL is shorter than two ticks."""
OPEN_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
LOOK_INTERVAL_S = 0.05
"""How often a session of somebody else is looked at, until it is known whether its owner is alive."""
EXPIRY_S = 10.0
"""How much later than its time-out an expired session may be removed: ticks, and an election, whose winner gives each
session its whole time again. An owner that lives answers a claim much sooner."""


class Opener:
    """Opens sessions of one store."""

    def __init__(self, requests: Requests, layout: Layout, caller: Caller) -> None:
        self._requests = requests
        self._layout = layout
        self._caller = caller
        self._name = os.urandom(OPENER_BYTES)
        self._open: dict[NodeId, ZooKeeperSession] = {}

    async def open(self, node: NodeId, info: bytes, ttl_s: float) -> ZooKeeperSession:
        """See `ZooKeeperRecordStore.open_session`."""
        ours = self._open.get(node)
        if ours is not None and not ours.lost:
            raise self._held(node)
        await self._requests.run(self._requests.ensure, OPEN_TIMEOUT_S)
        link = Link(self._requests.access, ttl_s, pings=False)
        try:
            session = await self._create(link, node, info)
        except BaseException:
            link.dismiss()
            raise
        self._open[node] = session
        return session

    def _held(self, node: NodeId) -> Conflict:
        message = f"another process holds the session of node {node!r} at {self._layout.prefix} in ZooKeeper"
        return Conflict(message, current=None)

    async def _create(self, link: Link, node: NodeId, info: bytes) -> ZooKeeperSession:
        exceptions, path = require_kazoo(), self._layout.session(node)
        while True:
            sent_at = time.monotonic()
            if not await link.wait_connected(OPEN_TIMEOUT_S):
                why = link.over or "; ".join(link.reasons.values()) or f"no connection in {OPEN_TIMEOUT_S} s"
                raise Unavailable(f"no member of ZooKeeper answers: {why}")
            value = encode_session(self._name, link.granted_ttl_s, info)
            try:
                await self._ask(link, "create", path, value, ephemeral=True)
            except exceptions.NodeExistsError:
                if not await self._is_ours(link, node):
                    await self._wait_until_free(link, node)
                    continue
            except exceptions.NoNodeError as error:
                raise ClusterError(
                    f"{self._layout.sessions} was removed while a session was opened. {RESET}"
                ) from error
            session = ZooKeeperSession(
                link, self._requests, self._layout, node, self._name, info=info, opened_at=sent_at
            )
            await self._forget(link, node)
            return session

    async def _is_ours(self, link: Link, node: NodeId) -> bool:
        """Whether the znode is that of this link: the answer to its creation was lost."""
        stat = await self._ask(link, "exists", self._layout.session(node))
        return stat is not None and stat.ephemeralOwner == link.session_id

    async def _wait_until_free(self, link: Link, node: NodeId) -> None:
        """Return when there is no session of this node. Raises `Conflict` once it is known that its owner is alive."""
        exceptions, path = require_kazoo(), self._layout.session(node)
        first: Any = None
        until = 0.0
        try:
            while True:
                try:
                    value, stat = await self._ask(link, "get", path)
                except exceptions.NoNodeError:
                    return
                found = decode_session(value)
                if found.opener == self._name:  # Of an earlier call, whose answer did not come.
                    await self._remove(link, path, stat.version)
                    return
                if first is None or first.czxid != stat.czxid:
                    first, until = stat, time.monotonic() + 2 * found.granted_s + EXPIRY_S
                    await self._claim(link, node)
                if stat.version != first.version or stat.ephemeralOwner == 0 or time.monotonic() > until:
                    raise self._held(node)
                await asyncio.sleep(LOOK_INTERVAL_S)
        except Conflict:
            await self._forget(link, node)
            raise

    async def _claim(self, link: Link, node: NodeId) -> None:
        try:
            await self._ask(link, "create", self._layout.claim(node), b"", ephemeral=True)
        except require_kazoo().NodeExistsError:
            return  # Somebody else asks already.

    async def _forget(self, link: Link, node: NodeId) -> None:
        await self._remove(link, self._layout.claim(node), -1)

    async def _remove(self, link: Link, path: str, version: int) -> None:
        exceptions = require_kazoo()
        try:
            await self._ask(link, "delete", path, version)
        except (exceptions.NoNodeError, exceptions.BadVersionError):
            return

    async def _ask(self, link: Link, name: str, *args: Any, **keywords: Any) -> Any:
        exceptions = require_kazoo()
        expected = (exceptions.NoNodeError, exceptions.NodeExistsError, exceptions.BadVersionError)
        return await over(
            link,
            lambda: link.ask(name, *args, timeout_s=self._requests.attempt_timeout_s, **keywords),
            OPEN_TIMEOUT_S,
            self._caller,
            expected,
        )


async def over(
    link: Link,
    attempt: Callable[[], Awaitable[T]],
    timeout_s: float,
    caller: Caller,
    expected: tuple[type[Exception], ...],
) -> T:
    """Make an attempt, again after each failure while the session lives. ``expected`` errors of kazoo are passed on."""
    until, sent, why = time.monotonic() + timeout_s, False, ""
    while not link.over and await link.wait_connected(until - time.monotonic()):
        try:
            return await attempt()
        except AttemptFailed as error:
            sent, why = sent or error.sent, str(error)
        except expected:
            raise
        except require_kazoo().KazooException as error:
            raise explained(error, caller) from error
        if time.monotonic() >= until:
            break
    told = link.over or why or "; ".join(link.reasons.values()) or f"no connection in {timeout_s:.3g} s"
    if sent and not link.over:
        raise OutcomeUnknown(f"ZooKeeper has not said whether it has written: {told}")
    raise Unavailable(f"no member of ZooKeeper answers: {told}")


class ZooKeeperSession:
    """A `Session`: an ephemeral znode, and the task that keeps it."""

    def __init__(
        self,
        link: Link,
        requests: Requests,
        layout: Layout,
        node: NodeId,
        opener: bytes,
        *,
        info: bytes,
        opened_at: float,
    ) -> None:
        self._link = link
        self._requests = requests
        self._layout = layout
        self._node = node
        self._opener = opener
        self._info = info
        self._caller = Caller(requests.access.user, layout.prefix)
        self.granted_ttl_s = link.granted_ttl_s
        """What the server grants: two ticks or more."""
        self._kept_at = opened_at
        self._writing = asyncio.Lock()
        self._claimed = asyncio.Event()
        self._closed = False
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._lost: asyncio.Future[str] = loop.create_future()
        self._task = loop.create_task(self._keep_alive(), name="qpidha-zookeeper-session")

    @property
    def lost(self) -> bool:
        """Whether it is lost or closed."""
        return self._lost.done()

    def deadline(self) -> float:
        """Monotonic: when the last request that was answered was sent, plus the TTL, minus a margin."""
        return self._kept_at + self.granted_ttl_s * (1 - DEADLINE_MARGIN)

    async def update(self, info: bytes) -> None:
        """Replace the info that others see.

        Raises:
            Unavailable: The session is lost, or no server could be reached. Nothing was sent.
            OutcomeUnknown: It was sent, and there is no answer.
        """
        INFO("info", info)
        async with self._writing:
            if self.lost:
                raise Unavailable(f"the session of {self._node!r} is lost: {self._lost.result()}")
            self._info = info
            try:
                await over(self._link, self._write, self.granted_ttl_s, self._caller, self._missing)
            except self._missing as error:
                self._lose("its znode was removed")
                raise Unavailable(f"the session of {self._node!r} is lost: its znode was removed") from error

    @property
    def _missing(self) -> tuple[type[Exception], ...]:
        return (require_kazoo().NoNodeError,)

    async def _write(self) -> None:
        """Write the newest info. ZooKeeper keeps the order of a session's writes: a late one undoes nothing."""
        value = encode_session(self._opener, self.granted_ttl_s, self._info)
        path = self._layout.session(self._node)
        await self._link.ask("set", path, value, timeout_s=self._requests.attempt_timeout_s)

    async def wait_lost(self) -> str:
        """Returns, with a reason, when the session is lost or closed."""
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Remove the znode: others see it at once. May be called twice.

        Raises:
            Unavailable, OutcomeUnknown: ZooKeeper could not be told; the session expires when its time is over.
        """
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._lose("closed")
        if self._closed:
            return
        self._closed = True
        path = self._layout.session(self._node)
        wait_s = min(CLOSE_TIMEOUT_S, self._requests.attempt_timeout_s)
        try:
            if not self._link.over:
                work = lambda: self._link.ask("delete", path, timeout_s=wait_s)  # noqa: E731
                await over(self._link, work, CLOSE_TIMEOUT_S, self._caller, self._missing)
        except self._missing:
            pass  # It is gone already.
        finally:
            await self._link.close()

    # --- keeping it --------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        pause_s = self.granted_ttl_s / KEEP_ALIVES_PER_TTL
        while not self.lost:
            waiter = asyncio.ensure_future(self._claimed.wait())
            try:
                await asyncio.wait({waiter}, timeout=pause_s)
            finally:
                waiter.cancel()
            self._claimed.clear()
            try:
                why = await self._renewed(pause_s)
            except (AttemptFailed, Unavailable, OutcomeUnknown):
                continue  # Without an answer it is not known: the session may live.
            except (ClusterError, require_kazoo().KazooException) as error:
                why = str(error) or type(error).__name__
            if why:
                self._lose(why)
                self._link.dismiss(why)

    async def _renewed(self, timeout_s: float) -> str:
        """Keep the session alive. Returns why it is over; "": it lives."""
        link, path = self._link, self._layout.session(self._node)
        if link.over:
            silent_s = time.monotonic() - self._kept_at
            return f"{link.over}: ZooKeeper last answered what was sent {silent_s:.1f} s ago"
        if not link.connected and time.monotonic() > self.deadline():
            return await self._seen_by_others()
        if not await link.wait_connected(timeout_s):
            return ""
        sent_at = time.monotonic()
        calls: list[Request] = [
            # It goes to the leader, which alone decides who is alive: a follower that is cut off answers reads.
            ("sync", [path], {}),
            ("exists", [path], {}),
            ("exists", [self._layout.claim(self._node), self._ask_again], {}),
        ]
        synced, mine, claim = await link.batch(calls, min(timeout_s, self._requests.attempt_timeout_s))
        for answer in (synced, mine):
            if isinstance(answer, Exception):
                raise answer
        if mine is None or mine.ephemeralOwner != link.session_id:
            return "its znode was removed"
        self._kept_at, self.granted_ttl_s = sent_at, link.granted_ttl_s
        if claim is not None and not isinstance(claim, Exception):
            async with self._writing:
                await self._write()
        return ""

    async def _seen_by_others(self) -> str:
        """Whether another connection finds the session, which has none for longer than its time-out.

        An ensemble that was reset refuses a connection that has seen more than itself, instead of telling that the
        session is over.
        """
        path, link = self._layout.session(self._node), self._link

        async def look(other: Link) -> str:
            await self._requests.read(other)
            stat = await other.ask("exists", path, timeout_s=self._requests.attempt_timeout_s)
            gone = stat is None or stat.ephemeralOwner != link.session_id
            return "its ZooKeeper session has expired" if gone else ""

        return await self._requests.run(look, self.granted_ttl_s)

    def _ask_again(self, event: object) -> None:
        """Somebody claims the node id. Called by a thread of kazoo."""
        try:
            self._loop.call_soon_threadsafe(self._claimed.set)
        except RuntimeError:
            return  # The event loop is closed.

    def _lose(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)
