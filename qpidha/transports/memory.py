"""Links inside one process: byte streams through the running loop, in a deterministic order.

For tests, and for clusters within one process. It can cause what happens rarely in a real network:
deliveries cut at every byte, readers that stop, links that break, unreachable addresses.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from qpidha.addresses import address_text
from qpidha.checks import (
    ADDRESS,
    CALLBACK,
    NODE_ID,
    PAIR,
    SECONDS_OR_ZERO,
    check_connect,
    instance_of,
    integer,
    optional,
)
from qpidha.errors import LinkClosed, SettingsError
from qpidha.interfaces import Link, LinkFactory, LinkHandler
from qpidha.types import Address, BytesLike, PeerInfo

HIGH_BYTES = 256 * 1024
LOW_BYTES = 64 * 1024
SIZE_HINT = 64 * 1024


class MemoryNetwork:
    """The addresses of one process, the links between them, and the ways to disturb them."""

    def __init__(self, *, delivery_bytes_max: int | None = None) -> None:
        """``delivery_bytes_max``: no delivery is larger; 1 cuts every frame at every byte."""
        optional(integer(1, 2**63 - 1))("delivery_bytes_max", delivery_bytes_max, SettingsError)
        self.delivery_bytes_max = delivery_bytes_max
        self.links: list[MemoryLink] = []
        """Both ends of every open link, oldest first."""
        self.listeners: dict[Address, MemoryListener] = {}
        self._blocked: set[Address] = set()
        self._next_port = 1

    def cut(self, address: Address) -> None:
        """Break every link of the transport that listens, or listened, at this address."""
        PAIR("address", address)
        for link in self._of(address):
            link.fail(LinkClosed(f"link to {link.peer.address} was cut"))

    def block(self, address: Address) -> None:
        """Cut it off: its links break, and no link is opened to it or from it until `unblock`."""
        PAIR("address", address)
        self._blocked.add(address)
        self.cut(address)

    def unblock(self, address: Address) -> None:
        """Undo `block`."""
        PAIR("address", address)
        self._blocked.discard(address)

    def pause(self, address: Address) -> None:
        """The transport at this address stops reading from its open links."""
        PAIR("address", address)
        for link in self._of(address):
            link.pause()

    def resume(self, address: Address) -> None:
        """Undo `pause`."""
        PAIR("address", address)
        for link in self._of(address):
            link.resume()

    def reaches(self, own: Sequence[Address], other: Address) -> bool:
        """Whether a transport with these addresses may connect to that one."""
        return other in self.listeners and not self._blocked.intersection((other, *own))

    def refuses(self, address: Address) -> bool:
        """Whether the machine would say that nothing listens there: an address that is blocked says nothing."""
        PAIR("address", address)
        return address not in self.listeners and address not in self._blocked

    def claim(self, address: Address, listener: MemoryListener) -> Address:
        """Bind; port 0 asks for one that is free."""
        host, port = address
        while port == 0 or (host, port) in self.listeners:
            if address[1]:
                raise OSError(f"address {address_text(address)} is already in use")
            port, self._next_port = self._next_port, self._next_port + 1
        self.listeners[host, port] = listener
        return host, port

    def _of(self, address: Address) -> list[MemoryLink]:
        return [link for link in self.links if address in link.owner.addresses]


NETWORK = instance_of(MemoryNetwork)


class MemoryTransport:
    """A `Transport` on a `MemoryNetwork`: one for each node, so that the network knows whose a link is."""

    def __init__(self, network: MemoryNetwork, *, identity: str | None = None) -> None:
        """``identity``: what peers see as the name in this node's certificate. None: not authenticated."""
        NETWORK("network", network, SettingsError)
        optional(NODE_ID)("identity", identity, SettingsError)
        self.network = network
        self.identity = identity
        self.addresses: list[Address] = []
        """The addresses at which it listens or listened."""

    async def listen(self, address: Address, on_link: LinkFactory) -> MemoryListener:
        """Accept links until the listener is closed. Raises `OSError` if the address is taken."""
        ADDRESS("address", address)
        CALLBACK("on_link", on_link)
        listener = MemoryListener(self, on_link)
        listener.address = self.network.claim(address, listener)
        self.addresses.append(listener.address)
        return listener

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        """Open a link, one turn of the loop later. Raises `qpidha.errors.LinkClosed` at once if nobody listens there."""
        check_connect(address, on_link, timeout_s, expect)
        await asyncio.sleep(0)
        what = f"cannot connect to {address_text(address)}"
        if not self.network.reaches(self.addresses, address):
            raise LinkClosed(f"{what}: no transport listens there")
        listener = self.network.listeners[address]
        theirs = listener.transport.identity
        if expect is not None and theirs is not None and theirs != expect:
            raise LinkClosed(f"{what}: expected node {expect!r}, but its certificate is for {theirs}")
        near = MemoryLink(self, self._peer(address, theirs))
        far = MemoryLink(listener.transport, self._peer(self._own_address(), self.identity))
        near.other, far.other = far, near
        near.start(on_link)
        try:
            far.start(listener.on_link)
        except Exception as error:  # noqa: BLE001 - not the fault of the one who connects
            message = f"no handler for the link from {far.peer.address}"
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
        return near

    async def refuses(self, address: Address, *, timeout_s: float) -> bool:
        """Whether nothing listens there, and the address is not blocked. After one turn of the loop."""
        PAIR("address", address)
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        await asyncio.sleep(0)
        return self.network.refuses(address)

    def _own_address(self) -> Address:
        return self.addresses[0] if self.addresses else ("client", 0)

    @staticmethod
    def _peer(address: Address, identity: str | None) -> PeerInfo:
        names = None if identity is None else frozenset((identity,))
        return PeerInfo(address=address_text(address), identity=names, local=True)


class MemoryListener:
    """A `Listener`."""

    address: Address

    def __init__(self, transport: MemoryTransport, on_link: LinkFactory) -> None:
        self.transport = transport
        self.on_link = on_link

    async def close(self) -> None:
        """Stop accepting. Links already open are not touched."""
        listeners = self.transport.network.listeners
        if listeners.get(self.address) is self:
            del listeners[self.address]


class MemoryLink:
    """One end of a link. It keeps the bytes that it wrote until the other end takes them."""

    other: MemoryLink

    def __init__(self, owner: MemoryTransport, peer: PeerInfo) -> None:
        self.owner = owner
        self.peer = peer
        self._network = owner.network
        self._loop = asyncio.get_running_loop()
        self._handler: LinkHandler | None = None
        self._outgoing: deque[memoryview] = deque()
        self._outgoing_bytes = 0
        self._was_full = False
        self._scheduled = False
        self._reading = True
        self._closing = False
        self._dead = False

    def start(self, on_link: LinkFactory) -> None:
        """Ask the factory for a handler. If it raises, the link breaks, and the caller gets the error."""
        try:
            self._handler = on_link(self)
        except Exception:
            self._dead = True
            self.other.fail(LinkClosed(f"{self.other.peer.address} gave up the link"))
            raise
        self._network.links.append(self)

    # --- the link ---------------------------------------------------------------------------------

    def write(self, chunks: Sequence[BytesLike]) -> None:
        """Send these chunks in order; see `qpidha.interfaces.Link`."""
        if self._closing:
            return
        for chunk in chunks:
            if size := len(chunk):
                self._outgoing.append(memoryview(chunk))
                self._outgoing_bytes += size
        self._was_full = self._was_full or self._outgoing_bytes > HIGH_BYTES
        self._schedule()

    @property
    def buffered(self) -> int:
        """Bytes the other end has not taken."""
        return self._outgoing_bytes

    def close(self) -> None:
        """Send what is buffered, then close."""
        self._closing = True
        self._schedule()

    def abort(self) -> None:
        """Close at once and forget what is buffered, in both directions."""
        self.fail(LinkClosed(f"link to {self.peer.address} was aborted"))

    # --- disturbances -----------------------------------------------------------------------------

    def pause(self) -> None:
        """This end stops reading, and the other end's `buffered` grows."""
        self._reading = False

    def resume(self) -> None:
        """Undo `pause`."""
        self._reading = True
        self.other._schedule()

    def fail(self, error: Exception) -> None:
        """Break the link at both ends, each told in a later turn of the loop."""
        if not self._dead:
            self._end(error)
            self.other._end(LinkClosed(f"{self.other.peer.address}: connection reset"))

    # --- delivery ---------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._scheduled and not self._dead:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """Deliver what waited when the turn began to the handler of the other end."""
        self._scheduled = False
        budget = self._outgoing_bytes
        while budget > 0 and not self._dead and self.other._reading:
            budget -= self._deliver_once(budget)
        if self._dead:
            return
        if self._was_full and self._outgoing_bytes <= LOW_BYTES:
            self._was_full = False
            self._drained()
        if self._outgoing_bytes and self.other._reading:
            self._schedule()
        elif self._closing and not self._outgoing_bytes:
            self._end(None)
            self.other._end(None)

    def _deliver_once(self, budget: int) -> int:
        handler = self.other._handler
        assert handler is not None
        try:
            buffer = handler.get_buffer(SIZE_HINT)
            filled = self._fill(buffer[: self._network.delivery_bytes_max], budget)
            handler.received(filled)
        except Exception as error:  # noqa: BLE001 - its link dies, and `closed` is told why
            self.other.fail(error)
            return budget
        return filled

    def _fill(self, buffer: memoryview, budget: int) -> int:
        room = total = min(len(buffer), budget)
        while room:
            chunk = self._outgoing.popleft()
            if len(chunk) > room:
                self._outgoing.appendleft(chunk[room:])
                chunk = chunk[:room]
            at = total - room
            buffer[at : at + len(chunk)] = chunk
            room -= len(chunk)
        self._outgoing_bytes -= total
        return total

    def _drained(self) -> None:
        try:
            if self._handler is not None:
                self._handler.drained()
        except Exception as error:  # noqa: BLE001 - the same
            self.fail(error)

    def _end(self, error: Exception | None) -> None:
        if not self._dead:
            self._dead = self._closing = True
            self._outgoing.clear()
            self._outgoing_bytes = 0
            self._loop.call_soon(self._closed, error)

    def _closed(self, error: Exception | None) -> None:
        if self in self._network.links:
            self._network.links.remove(self)
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.closed(error)  # What it raises goes to the loop's exception handler.
