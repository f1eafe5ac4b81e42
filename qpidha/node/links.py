"""All links of one node: accepted and opened, numbered for the core, kept alive by heartbeats."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qpidha.interfaces import Link, Listener, Transport
from qpidha.node.peer import Peer
from qpidha.types import Address, NodeId, NodeInfo

if TYPE_CHECKING:
    from qpidha.node.node import Node

READING_TURNS = 2
"""After so many turns of the loop every socket was read: what is called in the next turn may come before its reads."""
READING_ATTEMPTS = 3
"""So often it is begun again if the loop was blocked meanwhile: a loop that is blocked all the time must go on, too."""
TRANSPORT_TICK_S = 5.0
"""Between two looks of a transport at what it has to tell, such as its certificates."""


class Links:
    """The peers of a node, by the number that the core knows them by."""

    def __init__(self, node: Node, transport: Transport) -> None:
        self._node = node
        self._transport = transport
        self._listener: Listener | None = None
        self._count = 0
        self._timer: asyncio.Handle | None = None
        self._beaten_at = 0.0
        self._ticked_at = float("-inf")
        self.peers: dict[int, Peer] = {}

    @property
    def credentials(self) -> object:
        """Changes when the transport has other certificates than before."""
        return getattr(self._transport, "credentials", None)

    @property
    def certificate_days_left(self) -> float | None:
        """Until the certificate of this node's transport expires; None if it has none."""
        days: float | None = getattr(self._transport, "certificate_days_left", None)
        return days

    @property
    def address(self) -> Address | None:
        """Where other nodes connect; None before `listen`."""
        return self._listener.address if self._listener else None

    async def listen(self, address: Address) -> Address:
        """Accept links from now on. Returns the address that was bound."""
        if tell_to := getattr(self._transport, "tell_to", None):
            tell_to(self._node.troubles)
        self._listener = await self._transport.listen(address, self._accept)
        return self._listener.address

    async def close(self) -> None:
        """Close the listener and all links."""
        if self._timer:
            self._timer.cancel()
        if self._listener:
            await self._listener.close()
        for peer in list(self.peers.values()):
            peer.link.close()

    def _accept(self, link: Link) -> Peer:
        unknown = sum(not p.welcomed for p in self.peers.values())
        peer = self._peer(link, None)
        if unknown >= self._node.settings.links_unauthenticated_max:
            peer.close("too many links before their handshake")
        else:
            self._node.replica.link_opened(peer.number, identity=link.peer.identity)
        return peer

    def _peer(self, link: Link, to: NodeId | None) -> Peer:
        self._count += 1
        peer = self.peers[self._count] = Peer(self._node, self._count, link, to, self._node.now())
        return peer

    async def connect(self, primary: NodeId, info: NodeInfo) -> None:
        """Open the link to the primary. Raises `LinkClosed`."""

        def opened(link: Link) -> Peer:
            peer = self._peer(link, primary)
            self._node.cluster.connector.opened()
            self._node.replica.link_opened(peer.number, to=primary)
            self._node.poke()
            return peer

        timeout_s = self._node.settings.heartbeat_timeout_s
        await self._transport.connect(info.peer, opened, timeout_s=timeout_s, expect=primary)

    def closed(self, peer: Peer, error: Exception | None) -> None:
        """A link is gone; told once by its transport."""
        self.peers.pop(peer.number, None)
        node = self._node
        node.link_closed(peer.number)
        # Without the address: its port is another one each time, and so the same cause would look like many.
        told = "" if error is None else str(error).removeprefix(f"{peer.link.peer.address}: ")
        why = peer.why or told
        if peer.to is not None:
            node.cluster.connector.ended(peer, why or peer.silence)
        elif node.replica.stopped:
            pass
        elif why or (not peer.welcomed and (peer.heard or peer.link.peer.identity is not None)):
            node.troubles.report(peer.cause, why or f"before its handshake {peer.silence}", fades=True)
        elif peer.welcomed:  # Else somebody only looked whether the port is open.
            node.log("link closed", f"{peer.name}: {peer.silence}")

    # --- heartbeats ------------------------------------------------------------------------------

    def start_beating(self) -> None:
        """Begin to send heartbeats."""
        self._beaten_at = self._node.now()
        self._beat()

    def _wake(self, attempts: int = READING_ATTEMPTS) -> None:
        """After the loop was blocked acknowledgements and heartbeats wait in the sockets: read, then judge (L4, T42)."""
        woken_at = self._node.now()

        def later(turns: int) -> None:
            if turns:
                self._timer = asyncio.get_running_loop().call_soon(later, turns - 1)
            elif attempts and self._node.now() - woken_at > self._node.settings.heartbeat_interval_s:
                self._wake(attempts - 1)  # It was blocked in between: what came meanwhile is not read yet.
            else:
                self._beat()

        later(READING_TURNS)

    def _beat(self) -> None:
        """After a pause of this process everyone gets a fresh round before anyone is given up (T42)."""
        settings, now = self._node.settings, self._node.now()
        silent_s = now - self._beaten_at
        if silent_s > settings.heartbeat_timeout_s / 2:
            for peer in self.peers.values():
                peer.fresh_round(now)
            self._node.place.paused(silent_s)
        self._beaten_at = now
        for peer in list(self.peers.values()):
            peer.beat(now)
        self._see_settled()
        if now - self._ticked_at >= TRANSPORT_TICK_S and (tick := getattr(self._transport, "tick", None)):
            self._ticked_at = now
            tick()
        self._node.tick(now)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(settings.heartbeat_interval_s / 2, self._wake)

    def _see_settled(self) -> None:
        """A backup that has caught up is in order again, whatever its links were closed for before."""
        primary = self._node.replica.primary
        for session in primary.sessions.values() if primary else ():
            peer = self.peers.get(session.link)
            if peer is not None and session.flipped and not peer.settled:
                peer.settled = True
                self._node.troubles.clear(peer.cause)
