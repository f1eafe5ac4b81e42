"""Sessions: an ephemeral znode, whose ZooKeeper session the node's event loop keeps alive, so that it ends if that hangs.

Each session has a connection with a ZooKeeper session for itself. A restarted process finds the znode of the one before
until that has expired, unless it may replace it (`qpidha.records.zookeeper.opener`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from qpidha.errors import ClusterError, OutcomeUnknown, Unavailable
from qpidha.records.format import INFO
from qpidha.records.zookeeper.failures import AttemptFailed, Caller, explained, require_kazoo
from qpidha.records.zookeeper.layout import Layout, encode_session
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
        value, wait_s = (
            encode_session(self._opener, self.granted_ttl_s, self._info),
            self._requests.attempt_timeout_s,
        )
        await self._link.ask("set", await self._own_path(wait_s), value, timeout_s=wait_s)

    async def _own_path(self, timeout_s: float) -> str:
        """Where the znode is. Raises NoNodeError if another session has replaced it: ZooKeeper lets anybody write it."""
        path = self._layout.session(self._node)
        stat = await self._link.ask("exists", path, timeout_s=timeout_s)
        if stat is None or stat.ephemeralOwner != self._link.session_id:
            raise require_kazoo().NoNodeError
        return path

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
        wait_s = min(CLOSE_TIMEOUT_S, self._requests.attempt_timeout_s)
        try:
            if not self._link.over:
                await over(
                    self._link, lambda: self._delete(wait_s), CLOSE_TIMEOUT_S, self._caller, self._missing
                )
        except self._missing:
            pass  # It is gone already.
        finally:
            await self._link.close()

    async def _delete(self, timeout_s: float) -> None:
        await self._link.ask("delete", await self._own_path(timeout_s), timeout_s=timeout_s)

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
