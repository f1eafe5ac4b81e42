"""All links of one node: accepted and opened, numbered for the core."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from qpidha.addresses import address_text
from qpidha.errors import AddressUnavailable, StoreError
from qpidha.events import LinkClosed, LinkFromPeerFailed, ProbeFailed
from qpidha.interfaces import Link, Listener, Transport
from qpidha.node.attempts import Attempts, Farewells
from qpidha.node.peer import Peer
from qpidha.node.runtime import Runtime
from qpidha.types import Address, NodeId, NodeInfo

PROBE_TIMEOUT_S = 1.0
"""A machine that has not refused a connection by then does not refuse it."""


class LinkOwner(Protocol):
    """Who asked for a link to be opened: the `Connector`."""

    def opened(self) -> None:
        """The link is open, and its handshake begins."""

    def ended(self, peer: Peer, why: str) -> None:
        """The link is gone, for this reason."""


class Links:
    """The peers of a node, by the number that the core knows them by.

    Args:
        link_lost: Called when any link is gone, after the core was told.
    """

    def __init__(self, runtime: Runtime, transport: Transport, link_lost: Callable[[], None]) -> None:
        self._runtime = runtime
        self._transport = transport
        self._link_lost = link_lost
        self._listeners: list[Listener] = []
        self._reached: dict[NodeId, Address] = {}
        """The address at which each node was reached last: it is tried first."""
        self._farewells = Farewells()
        self._count = 0
        self._owners: dict[int, LinkOwner] = {}
        self.peers: dict[int, Peer] = {}

    @property
    def credentials(self) -> object:
        """Changes when the transport has other certificates than before."""
        return getattr(self._transport, "credentials", None)

    @property
    def certificate_days_left(self) -> float | None:
        """Days until the certificate of this node's transport expires; None if it has none."""
        days: float | None = getattr(self._transport, "certificate_days_left", None)
        return days

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where this node accepts links; empty before `listen`."""
        return tuple(listener.address for listener in self._listeners)

    async def listen(self, addresses: Sequence[Address]) -> tuple[Address, ...]:
        """Accept links from now on. Returns the addresses that were bound. Raises `AddressUnavailable`."""
        if tell_to := getattr(self._transport, "tell_to", None):
            tell_to(self._runtime.troubles)
        for address in addresses:
            try:
                self._listeners.append(await self._transport.listen(address, self._accept))
            except OSError as error:
                raise unavailable(self._runtime.id, address, error) from None
        return self.addresses

    def tick_transport(self) -> None:
        """Give the transport a chance to report something, such as a certificate that expires soon."""
        if tick := getattr(self._transport, "tick", None):
            tick()

    async def close(self) -> None:
        """Close the listeners, then every link."""
        for listener in self._listeners:
            await listener.close()
        for peer in list(self.peers.values()):
            peer.link.close()
        await self._farewells.close()

    def _accept(self, link: Link) -> Peer:
        unknown = sum(not p.welcomed for p in self.peers.values())
        peer = self._peer(link, None)
        if unknown >= self._runtime.settings.links_unauthenticated_max:
            peer.close("too many links before their handshake")
        else:
            self._runtime.replica.link_opened(peer.number, identity=link.peer.identity)
        return peer

    def _peer(self, link: Link, to: NodeId | None) -> Peer:
        self._count += 1
        peer = self.peers[self._count] = Peer(self._runtime, self._count, link, to, self._closed)
        return peer

    async def connect(self, primary: NodeId, info: NodeInfo, owner: LinkOwner) -> None:
        """Open the link to the primary. Raises `LinkClosed`."""

        def opened(link: Link) -> Peer:
            peer = self._peer(link, primary)
            self._owners[peer.number] = owner
            owner.opened()
            self._runtime.replica.link_opened(peer.number, to=primary)
            self._runtime.poke()
            return peer

        timeout_s = self._runtime.settings.heartbeat_timeout_s
        first = self._reached.get(primary)
        addresses = sorted(info.peers, key=lambda address: address != first)
        attempts = Attempts(self._transport, opened, self._farewells, timeout_s=timeout_s, expect=primary)
        self._reached[primary] = await attempts.first_of(addresses)

    async def refused(self, info: NodeInfo) -> bool:
        """Whether the node's machine refuses connections to every address that it published. False: perhaps not."""
        refuses = getattr(self._transport, "refuses", None)
        if refuses is None:
            return False
        for address in info.peers:
            try:
                if not await refuses(address, timeout_s=PROBE_TIMEOUT_S):
                    return False
            except Exception as error:  # noqa: BLE001 - a bug of the transport: it is not known, and the node goes on.
                where = f"{address[0]}:{address[1]}"
                self._runtime.troubles.report(ProbeFailed(where, f"{type(error).__name__}: {error}"))
                return False
        return True

    def _closed(self, peer: Peer, error: Exception | None) -> None:
        """A link is gone. Called once for each, by its peer: tell the core, then the log or who opened it."""
        runtime = self._runtime
        self.peers.pop(peer.number, None)
        with suppress(
            StoreError
        ):  # It could not give a message back, and the node ends: `Replica.unreadable`.
            runtime.replica.link_closed(peer.number)
        self._link_lost()
        runtime.poke()
        # Without the address: its port differs each time, so one cause would look like many.
        told = "" if error is None else str(error).removeprefix(f"{peer.link.peer.address}: ")
        why = peer.why or told
        owner = self._owners.pop(peer.number, None)
        if owner is not None:
            owner.ended(peer, why or peer.silence)
        elif runtime.replica.stopped:
            pass
        elif not (peer.why or peer.welcomed or peer.heard or peer.link.peer.identity is not None):
            pass  # It was a port scan, a health check, or another node's prober: however it ended.
        elif peer.uses_another:
            pass  # A backup tried several addresses of this node at once.
        elif peer.welcomed and runtime.replica.primary is None:
            # This node was primary, and is not any more. Its backups go to the next one: nobody would clear a trouble.
            runtime.tell(LinkClosed(peer.name, why or peer.silence))
        elif why or not peer.welcomed:
            runtime.troubles.report(
                LinkFromPeerFailed(peer.name, why or f"before its handshake {peer.silence}")
            )
        else:
            runtime.tell(LinkClosed(peer.name, peer.silence))

    def clear_settled(self) -> None:
        """Clear the trouble of each backup that has caught up, for whatever reason its earlier links were closed."""
        primary = self._runtime.replica.primary
        for session in primary.sessions.values() if primary else ():
            peer = self.peers.get(session.link)
            if peer is not None and session.flipped and not peer.settled:
                peer.settled = True
                self._runtime.troubles.clear(LinkFromPeerFailed, peer.name)


def unavailable(node: NodeId, address: Address, error: OSError) -> AddressUnavailable:
    """What is said of an address on which a node cannot listen. Its ``errno`` is that of the error."""
    known = (
        error.errno is not None and error.errno > 0
    )  # A name that does not resolve has a number of its own kind.
    reason = os.strerror(error.errno) if known else error.strerror or str(error)  # type: ignore[arg-type]
    failure = AddressUnavailable(
        f"node {node!r} cannot listen on {address_text(address)}: {reason}; "
        "end what listens there, or give the node another address with `listen`"
    )
    failure.errno = error.errno
    return failure
