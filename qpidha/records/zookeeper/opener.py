"""Opens sessions: the znode of a process that was killed may still be there.

It is replaced at once if its opener held the lock that this process holds now. Else whether its owner lives is asked by
a *claim*, an ephemeral znode beside it: an owner that sees one writes its own znode again, and its version says that it
lives.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from qpidha.errors import ClusterError, Conflict, Unavailable
from qpidha.records.opener import OpenerName
from qpidha.records.zookeeper.failures import RESET, Caller, require_kazoo
from qpidha.records.zookeeper.layout import Layout, decode_session, encode_session
from qpidha.records.zookeeper.link import Link
from qpidha.records.zookeeper.requests import Requests
from qpidha.records.zookeeper.session import OPEN_TIMEOUT_S, ZooKeeperSession, over
from qpidha.types import NodeId

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
        self.name = OpenerName()
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
        self.name.opened()
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
            value = encode_session(bytes(self.name), link.granted_ttl_s, info)
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
                link, self._requests, self._layout, node, bytes(self.name), info=info, opened_at=sent_at
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
                if self.name.replaces(found.opener):
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
