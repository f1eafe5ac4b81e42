"""Keeps the one link of a backup: to the primary that the record names."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, TypeAlias

from qpidha.errors import CallerError, LinkClosed
from qpidha.events import NoLinkToPrimary
from qpidha.interfaces import RecordStore
from qpidha.node.engine import Engine
from qpidha.node.links import Links
from qpidha.node.peer import Peer
from qpidha.node.runtime import Runtime
from qpidha.system.backoff import Backoff
from qpidha.types import NodeId, NodeInfo, Role

Target: TypeAlias = "tuple[NodeId, NodeInfo]"


class Connector:
    """Opens the link, and opens it again when it ends: at once if something has changed, else after a delay.

    Invariants:
      - the delay between two attempts at the same target grows to ``reconnect_interval_max_s``
      - another target (generation, primary, boot, address) or other certificates are tried at once
      - an attempt at a primary that was replaced meanwhile is given up: a machine that is cut off never answers
      - while attempts fail, `NoLinkToPrimary` is among the node's troubles; it is cleared when the node follows the
        primary, or has a role that needs no link
    """

    def __init__(self, runtime: Runtime, *, links: Links, engine: Engine, records: RecordStore) -> None:
        self._runtime = runtime
        self._links = links
        self._engine = engine
        self._records = records
        self._wake = asyncio.Event()
        settings = runtime.settings
        self._backoff = Backoff(settings.reconnect_interval_s, settings.reconnect_interval_max_s)
        self._tried: object = None
        """What the last attempt depended on."""
        self._next_at = 0.0
        """The same target is not tried again before this time."""
        self._opened_for: object = None
        """What the record said about the primary when the last link was opened."""
        self._following_since: float | None = None
        """Since when that link was followed; None if it was not."""

    def wake(self) -> None:
        """Something changed that may ask for another link."""
        self._wake.set()

    def look(self) -> None:
        """Wake, and have a record store that polls read the record soon: a link broke, or a role changed."""
        self.wake()
        poll_soon = getattr(self._records, "poll_soon", None)
        if poll_soon is not None:
            poll_soon()

    async def run(self) -> None:
        """Never returns."""
        runtime = self._runtime
        while True:
            self._wake.clear()
            target = self._target()
            if target is None:
                await self._wake.wait()
                continue
            self._aim(target)
            wait_s = self._next_at - runtime.now()
            if wait_s > 0:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait_s)
                continue
            await self._attempt(*target)

    async def _attempt(self, primary: NodeId, info: NodeInfo) -> None:
        self._next_at = (
            self._runtime.now() + self._backoff.delay()
        )  # First: the link may be over in a moment.
        connecting = asyncio.ensure_future(self._links.connect(primary, info, self))
        try:
            await self._connected_or_replaced(connecting, info)
            if connecting.done():
                connecting.result()
        except (LinkClosed, CallerError) as error:
            self._failed(primary, str(error))
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)

    async def _connected_or_replaced(self, connecting: asyncio.Future[Any], info: NodeInfo) -> None:
        """Wait until the attempt is over, or is one at a primary or an address that was replaced."""
        named = self._named()
        while not connecting.done() and self._still_at(named, info):
            self._wake.clear()
            waking: asyncio.Future[Any] = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait({connecting, waking}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waking.cancel()

    def _still_at(self, named: object, info: NodeInfo) -> bool:
        """Whether the primary of an attempt is still where it was, as far as this node sees."""
        replica, record = self._runtime.replica, self._runtime.replica.record
        if replica.primary or record is None or record.primary is None or self._named() != named:
            return False
        return self._runtime.live.info_of(record.primary[0]) in (None, info)

    # --- what is tried ---------------------------------------------------------------------------

    def _target(self) -> Target | None:
        """The primary to connect to; None while no link is wanted, there is one, or its address is unknown."""
        runtime = self._runtime
        replica = runtime.replica
        record = replica.record
        if (
            replica.stopped or self._engine.disk_hangs
        ):  # Its first frame to the primary would wait for the disk.
            return None
        if replica.primary or record is None or record.primary is None:
            runtime.troubles.clear(NoLinkToPrimary)
            return None
        primary = record.primary[0]
        if primary == runtime.id or replica.follower.link is not None:
            return None
        info = runtime.live.info_of(primary)
        if info is not None:
            return primary, info
        if runtime.live.known and self._tried != (absent := (primary, None)):
            self._tried = absent
            self._failed(
                primary, "it has no session in the record store: it is stopped, or cut off from there"
            )
        return None

    def _aim(self, target: Target) -> None:
        """Forget the delay if anything has changed that could make the next attempt succeed."""
        key = (self._named(), target[1], self._links.credentials)
        if key != self._tried:
            self._tried = key
            self._backoff.reset()
            self._next_at = 0.0

    def _named(self) -> tuple[object, ...] | None:
        """What the record says about the primary."""
        record = self._runtime.replica.record
        return (record.cluster, record.generation, record.primary) if record else None

    # --- what came of it -------------------------------------------------------------------------

    def role_changed(self, role: Role) -> None:
        """The core has another role. READY: the backup follows the primary over this link."""
        if role is Role.READY:
            self._following_since = self._following_since or self._runtime.now()
            self._runtime.troubles.clear(NoLinkToPrimary)
        elif role.is_primary:
            self._runtime.troubles.clear(NoLinkToPrimary)

    def opened(self) -> None:
        """A link is open, and its handshake begins."""
        self._opened_for = self._named()
        self._following_since = None

    def ended(self, peer: Peer, why: str) -> None:
        """A link that this node had opened is gone."""
        replica = self._runtime.replica
        if replica.stopped or replica.primary or replica.follower.link is not None:
            return
        if self._opened_for != self._named():
            return  # It was left because the record names another primary.
        since = self._following_since
        if (
            since is not None
            and self._runtime.now() - since >= self._runtime.settings.reconnect_interval_max_s
        ):
            self._backoff.reset()
        assert peer.to is not None
        self._failed(peer.to, why)

    def _failed(self, primary: NodeId, why: str) -> None:
        self._runtime.troubles.report(NoLinkToPrimary(primary, why))
        self.look()
