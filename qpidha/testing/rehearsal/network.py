"""The network of a rehearsal: asyncio transports without sockets, with delays, cuts and resets.

Between two places (nodes, or all clients) each direction can be cut: bytes then wait, as TCP's do, and arrive when
the cut is healed. Neither end is notified of a cut: they find out by heartbeats.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from qpidha.testing.rehearsal.loop import PROCESS, Process
from qpidha.types import Address

OUTSIDE = "clients"
"""The place of all code that runs in no node's process."""
RETRY_S = 0.2
"""Interval at which an attempt to connect through a cut is repeated."""
HIGH_BYTES = 64 * 1024
"""Bytes in flight at which writing pauses, unless the protocol sets another limit."""


class Network:
    """Listeners, connections, cuts and delays. Delays are drawn from ``rng``, in seconds."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.delay_s = (0.0001, 0.003)
        """The least and the greatest delay of a direction."""
        self.cuts: set[tuple[str, str]] = set()
        """Directions (from, to) in which nothing gets through."""
        self.listeners: dict[Address, Port] = {}
        self.ends: dict[End, None] = {}
        self._next_port = 40_000

    def delay(self) -> float:
        """Draw a delay, in seconds."""
        return self.rng.uniform(*self.delay_s)

    # --- faults ----------------------------------------------------------------------------------

    def cut(self, one: str, other: str) -> None:
        """Let nothing through from one place to the other, until `heal`."""
        self.cuts.add((one, other))

    def heal(self, one: str, other: str) -> None:
        """Undo `cut`: bytes that waited arrive."""
        self.cuts.discard((one, other))
        for end in list(self.ends):
            end.flow()

    def reset(self, place: str) -> None:
        """Break every connection of this place."""
        for end in [end for end in self.ends if end.place == place]:
            end.broken(ConnectionResetError("connection reset"))
            end.other.broken(ConnectionResetError("connection reset by peer"))

    def kill(self, process: Process, *, silently: bool) -> None:
        """Close all ports and connections of a killed process. Its peers see a reset, unless ``silently``."""
        for address in [a for a, port in self.listeners.items() if port.process is process]:
            del self.listeners[address]
        for end in [end for end in self.ends if end.process is process]:
            self.ends.pop(end, None)
            if not silently:
                end.other.broken(ConnectionResetError("connection reset by peer"))

    # --- called by the event loop ------------------------------------------------------------------

    def listen(self, factory: Callable[[], Any], host: str, port: int) -> Port:
        """Listen at this address; port 0 takes a free one. Raises OSError if it is in use."""
        while port == 0 or (host, port) in self.listeners:
            if port:
                raise OSError(98, f"address {host}:{port} is already in use")
            self._next_port += 1
            if (host, self._next_port) not in self.listeners:
                port = self._next_port
        made = self.listeners[host, port] = Port(self, factory, (host, port))
        return made

    async def connect(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        """Connect, once no cut is between. Raises ConnectionRefusedError if no port listens there."""
        loop = asyncio.get_running_loop()
        here = _place(PROCESS.get())
        await asyncio.sleep(self.delay())
        found = self.listeners.get((host, port))
        while found is not None and {(here, found.place), (found.place, here)} & self.cuts:
            await asyncio.sleep(RETRY_S)
            found = self.listeners.get((host, port))
        process = PROCESS.get()
        if found is None or (process is not None and not process.alive):
            raise ConnectionRefusedError(111, f"no port listens at {host}:{port}")
        self._next_port += 1
        near = End(self, copy_context(), factory(), ("127.0.0.1", self._next_port), (host, port))
        far = End(
            self,
            found.context,
            found.context.copy().run(found.factory),
            (host, port),
            ("127.0.0.1", self._next_port),
        )
        near.other, far.other = far, near
        self.ends.update({near: None, far: None})
        near.protocol.connection_made(near)
        loop.call_soon(far.protocol.connection_made, far, context=far.context)
        return near, near.protocol


NO_DESCRIPTOR = 2**30
"""A descriptor that no process has."""


class Port(asyncio.AbstractServer):
    """A listening server, which is also its only socket."""

    def __init__(self, network: Network, factory: Callable[[], Any], address: Address) -> None:
        self.factory = factory
        self.context = copy_context()
        self.process = PROCESS.get()
        self.place = _place(self.process)
        self.sockets = (self,)
        self._network = network
        self._address = address

    def getsockname(self) -> Address:
        """Return the address of the port."""
        return self._address

    def fileno(self) -> int:
        """Return a number that no loop watches: there is no descriptor."""
        return NO_DESCRIPTOR

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop."""
        return asyncio.get_running_loop()

    def close(self) -> None:
        """Stop listening; connections stay open."""
        if self._network.listeners.get(self._address) is self:
            del self._network.listeners[self._address]

    def is_serving(self) -> bool:
        """Tell whether the port listens."""
        return self._network.listeners.get(self._address) is self

    async def start_serving(self) -> None:
        """Do nothing: it serves from the start."""

    async def serve_forever(self) -> None:
        """Wait until cancelled."""
        await asyncio.get_running_loop().create_future()

    async def wait_closed(self) -> None:
        """Let other tasks run once: there is nothing else to wait for."""
        await asyncio.sleep(0)


class End(asyncio.Transport):
    """One end of a connection. Written bytes are in flight until the other end's protocol has received them."""

    other: End

    def __init__(
        self, network: Network, context: Context, protocol: Any, own: Address, peer: Address
    ) -> None:
        super().__init__({"sockname": own, "peername": peer})
        self.context = context
        self.process = context.get(PROCESS)
        self.place = _place(self.process)
        self.protocol = protocol
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._flight: deque[tuple[float, bytes | None]] = deque()
        """(when it arrives, bytes); None is the end of the stream."""
        self._inbox: deque[bytes | None] = deque()
        self._bytes = 0
        self._high, self._low = HIGH_BYTES, HIGH_BYTES // 4
        self._full = False
        self._reading = True
        self._closing = False
        self._ended = False
        self._latest = 0.0

    # --- called by protocols -----------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send these bytes; the protocol is paused when too many are in flight."""
        if self._closing or not data or self._void:
            return
        self._bytes += len(data)
        self._send(bytes(data))
        if self._bytes > self._high and not self._full:
            self._full = True
            self.protocol.pause_writing()

    def close(self) -> None:
        """Close once everything written is sent."""
        if not self._closing:
            self._closing = True
            self._send(None)
            self._end(None)

    def write_eof(self) -> None:
        """End the stream in this direction."""
        self._send(None)

    def can_write_eof(self) -> bool:
        """Return True."""
        return True

    def abort(self) -> None:
        """Close at once: what is in flight is lost, and the other end sees a reset."""
        self._closing = True
        self._flight.clear()
        if not self._void and not self._ended:
            self._loop.call_later(self._network.delay(), self._reset_other, context=Context())
        self._end(None)

    def is_closing(self) -> bool:
        """Tell whether this end is closed or closing."""
        return self._closing

    def pause_reading(self) -> None:
        """Stop passing data to the protocol."""
        self._reading = False

    def resume_reading(self) -> None:
        """Pass data to the protocol again."""
        self._reading = True
        self._loop.call_soon(self._take, context=self.context)

    def is_reading(self) -> bool:
        """Tell whether data is passed to the protocol."""
        return self._reading

    def get_protocol(self) -> Any:
        """Return the protocol."""
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        """Change the protocol."""
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits, in bytes, at which writing pauses and resumes."""
        self._high = HIGH_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the limits in bytes: (low, high)."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are in flight."""
        return self._bytes

    # --- bytes in flight ---------------------------------------------------------------------------

    @property
    def _void(self) -> bool:
        """Whether the process was killed: what its code still does has no effect."""
        return self.process is not None and not self.process.alive

    def _send(self, data: bytes | None) -> None:
        if self._void:
            return
        self._latest = max(self._latest, self._loop.time() + self._network.delay())
        self._flight.append((self._latest, data))
        self._loop.call_at(self._latest, self.flow, context=Context())

    def flow(self) -> None:
        """Move bytes that have arrived to the inbox of the other end, unless the direction is cut."""
        if (self.place, self.other.place) in self._network.cuts:
            return
        while self._flight and self._flight[0][0] <= self._loop.time() + 1e-9:
            _, data = self._flight.popleft()
            if self.other._ended:
                self.broken(ConnectionResetError("connection reset by peer"))
                return
            self.other._inbox.append(data)
            self._loop.call_soon(self.other._take, context=self.other.context)

    def _take(self) -> None:
        """Give the bytes in the inbox to the protocol, in the process of this end."""
        while self._inbox and self._reading and not self._ended:
            data = self._inbox.popleft()
            if data is None:
                if not self.protocol.eof_received():
                    self.close()
                return
            self._feed(data)
            self._loop.call_soon(self.other._taken, len(data), context=self.other.context)

    def _feed(self, data: bytes) -> None:
        if not isinstance(self.protocol, asyncio.BufferedProtocol):
            self.protocol.data_received(data)
            return
        view = memoryview(data)
        while view and not self._ended:
            buffer: memoryview = self.protocol.get_buffer(len(view))  # type: ignore[assignment]
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            view = view[size:]
            self.protocol.buffer_updated(size)

    def _taken(self, nbytes: int) -> None:
        self._bytes -= nbytes
        if self._full and self._bytes <= self._low and not self._ended:
            self._full = False
            self.protocol.resume_writing()

    # --- the end -----------------------------------------------------------------------------------

    def broken(self, error: Exception) -> None:
        """End the connection with an error, unless the direction to this end is cut."""
        if (self.other.place, self.place) not in self._network.cuts and not self._void:
            self._closing = True
            self._end(error)

    def _reset_other(self) -> None:
        self.other.broken(ConnectionResetError("connection reset by peer"))

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._loop.call_soon(self._lost, error, context=self.context)

    def _lost(self, error: Exception | None) -> None:
        if not self._flight:
            self._network.ends.pop(self, None)
        self.protocol.connection_lost(error)


def _place(process: Process | None) -> str:
    return OUTSIDE if process is None else process.node
