"""One TCP connection as a link: bytes go from the kernel into the handler's own buffer.

The same class serves plain text and TLS: asyncio's TLS layer speaks the same protocol to it.

What is written goes to asyncio's transport at once, in pieces, for as long as the transport wants more; the
rest waits here, by reference. So a peer that reads slowly costs references, not copies, and `buffered` is
right under TLS too, whose transport does not count what its inner transport holds.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from qpidha.errors import LinkClosed
from qpidha.interfaces import LinkFactory, LinkHandler
from qpidha.system import forks
from qpidha.transports.handshake import plain_words
from qpidha.transports.tls import peer_names
from qpidha.types import BytesLike, PeerInfo

KIB = 1024
LOW_BYTES = 64 * KIB
"""The transport below is full with more than this: so much at most waits when `drained` is called."""
PIECE_BYTES = 256 * KIB
"""What is handed down in one call."""
SMALL_BYTES = 32 * KIB
"""Smaller chunks are joined: copying them costs less than a system call or a TLS record of their own."""
CLOSE_TIMEOUT_S = 5.0
"""How long `close` waits for a peer that does not read, before it aborts."""
SCRATCH_BYTES = 16 * KIB

Check = Callable[[PeerInfo], "str | None"]
"""Says why a peer is refused, or None."""


class TcpLink(asyncio.BufferedProtocol):
    """A `Link`, and the asyncio protocol below it. Made by `TcpTransport` only."""

    peer: PeerInfo

    def __init__(self, loop: asyncio.AbstractEventLoop, on_link: LinkFactory, check: Check) -> None:
        self.refused: Exception | None = None
        """Why the link was given up before it had a handler."""
        self._loop = loop
        self._on_link = on_link
        self._check = check
        self._handler: LinkHandler | None = None
        self._transport: asyncio.Transport | None = None
        self._pending: deque[BytesLike] = deque()
        self._pending_bytes = 0
        self._vectored = False
        self._scheduled = False
        self._paused = False
        self._was_full = False
        self._closing = False
        self._aborted = False
        self._deaf = False
        self._error: Exception | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._fd = -1

    # --- the link ---------------------------------------------------------------------------------

    def write(self, chunks: Sequence[BytesLike]) -> None:
        """Send these chunks in order; see `qpidha.interfaces.Link`."""
        if self._closing:
            return
        for chunk in chunks:
            if size := len(chunk):
                self._pending.append(chunk)
                self._pending_bytes += size
        self._hand_down()

    @property
    def buffered(self) -> int:
        """Bytes written but not yet handed to the operating system."""
        below = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return self._pending_bytes + below

    def close(self) -> None:
        """Send what is buffered, for at most CLOSE_TIMEOUT_S, then close."""
        if self._closing:
            return
        self._closing = True
        self._close_timer = self._loop.call_later(CLOSE_TIMEOUT_S, self._give_up)
        self._schedule()

    def abort(self) -> None:
        """Close at once and forget what is buffered."""
        self._abort(LinkClosed(f"link to {self._name} was aborted"))

    # --- sending ----------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _hand_down(self) -> None:
        """Pieces, until the transport is full. It may call `pause_writing` meanwhile."""
        transport = self._transport
        if transport is None or self._aborted:
            return
        while self._pending and not self._paused:
            piece = self._take_piece()
            if self._vectored:
                transport.writelines(piece)
            else:
                for chunk in piece:
                    transport.write(chunk)

    def _flush(self) -> None:
        """In a turn of its own: the transport wants more, or is to be closed after what it has."""
        self._scheduled = False
        self._hand_down()
        transport = self._transport
        if transport is None or self._aborted:
            return
        if self._paused:
            self._was_full = True
        elif self._was_full:
            self._was_full = False
            self._call_drained()
        if self._closing and not self._pending:
            transport.close()  # It sends what it has first.

    def _take_piece(self) -> list[BytesLike]:
        """The next chunks, small ones joined, large ones by reference, the last one cut to fit."""
        piece: list[BytesLike] = []
        small: list[BytesLike] = []
        room = PIECE_BYTES
        while self._pending and room > 0:
            chunk = self._pending.popleft()
            if len(chunk) > room:
                view = memoryview(chunk)
                self._pending.appendleft(view[room:])
                chunk = view[:room]
            room -= len(chunk)
            if len(chunk) < SMALL_BYTES:
                small.append(chunk)
                continue
            if small:
                piece.append(b"".join(small))
                small.clear()
            piece.append(memoryview(chunk))  # A view: what the kernel leaves over is not copied by slicing.
        if small:
            piece.append(small[0] if len(small) == 1 else b"".join(small))
        self._pending_bytes -= PIECE_BYTES - room
        return piece

    def pause_writing(self) -> None:
        """The transport below is full."""
        self._paused = True
        self._was_full = True

    def resume_writing(self) -> None:
        """The transport below wants more. It may say so from within a write of ours: hence not at once."""
        self._paused = False
        self._schedule()

    def _call_drained(self) -> None:
        if self._handler is not None:
            try:
                self._handler.drained()
            except Exception as error:  # noqa: BLE001 - its link dies, and `closed` is told why
                self._abort(error)

    # --- receiving --------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio is to put the next bytes."""
        if self._handler is not None and not self._deaf:
            try:
                return self._handler.get_buffer(sizehint)
            except Exception as error:  # noqa: BLE001 - its link dies, and `closed` is told why
                self._deaf = True
                self._loop.call_soon(self._abort, error)  # uvloop crashes if it is closed from in here.
        return memoryview(bytearray(SCRATCH_BYTES))  # The TLS layer goes on reading until it has no more.

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were put there."""
        if self._handler is not None and not self._deaf:
            try:
                self._handler.received(nbytes)
            except Exception as error:  # noqa: BLE001 - its link dies, and `closed` is told why
                self._abort(error)

    def eof_received(self) -> None:
        """The peer sends no more. There are no half-open links: it is closed, in order."""
        if not self._aborted:
            self._drop(None)

    # --- the life of the connection ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, and verified if there is TLS."""
        self._transport = cast(asyncio.Transport, transport)
        self.peer = _describe(self._transport)
        self._fd = descriptor_of(transport)
        forks.watch(self)
        reason = self._check(self.peer)
        if reason is not None:
            self.refused = LinkClosed(f"{self.peer.address}: {reason}")
            self._drop(self.refused)
            return
        self._transport.set_write_buffer_limits(LOW_BYTES)
        self._vectored = _is_vectored(self._transport)
        _tune(self._transport)
        try:
            self._handler = self._on_link(self)
        except Exception as error:  # noqa: BLE001 - `connect` or the listener passes it on
            self.refused = error
            self._drop(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The last call from asyncio."""
        forks.release(self)
        self._aborted = self._closing = self._deaf = True
        self._forget()
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()  # The TLS of Python 3.10 forgets that its transport is closed.
        self._transport = None
        handler, self._handler = self._handler, None
        if handler is None:
            return
        try:
            handler.closed(self._error if self._error is not None else as_link_closed(exc, self._name))
        except Exception as error:  # noqa: BLE001 - it was the last call: only the loop is left to tell
            self._report(error)

    def forked(self) -> Iterable[int]:
        """In a child: the link is the parent's. Nothing is sent or received here any more."""
        self._aborted = self._closing = self._deaf = True
        self._forget()
        return (self._fd,)

    def abandon(self) -> None:
        """Whoever asked for the link does not want it any more, if it came up at all."""
        self._abort(LinkClosed("the attempt to connect was given up"))

    def _give_up(self) -> None:
        self._abort(LinkClosed(f"{self._name} did not read the last bytes in {CLOSE_TIMEOUT_S} s"))

    def _abort(self, error: Exception) -> None:
        if not self._aborted and self._transport is not None:
            self._drop(error)

    def _drop(self, error: Exception | None) -> None:
        self._aborted = self._closing = self._deaf = True
        self._error = error
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def _forget(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0

    @property
    def _name(self) -> str:
        return self.peer.address

    def _report(self, error: Exception) -> None:
        message = f"the handler of the link to {self._name} failed"
        self._loop.call_exception_handler({"message": message, "exception": error})


def as_link_closed(error: BaseException | None, what: str) -> LinkClosed | None:
    """The one gate at which errors of sockets and of TLS become ours."""
    if error is None or isinstance(error, LinkClosed):
        return error
    reason = plain_words(error) or str(error) or type(error).__name__
    closed = LinkClosed(f"{what}: {reason}")
    closed.__cause__ = error
    return closed


def is_loopback(host: str) -> bool:
    """Is this numeric address one that never leaves the machine?"""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def descriptor_of(transport: asyncio.BaseTransport) -> int:
    """Of the connection; -1 if it is not known."""
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def _describe(transport: asyncio.BaseTransport) -> PeerInfo:
    name = transport.get_extra_info("peername") or ("?", 0)  # Missing if the peer is gone already.
    host, port = str(name[0]), int(name[1])
    tls = transport.get_extra_info("ssl_object")
    return PeerInfo(
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        identity=None if tls is None else peer_names(tls.getpeercert()),
        local=is_loopback(host),
    )


def _is_vectored(transport: asyncio.Transport) -> bool:
    """Does its `writelines` send several buffers without joining them?

    Until 3.12.9 and 3.13.2 asyncio's forgot to pause the writer (CVE-2024-12254): single writes there.
    """
    writelines: Any = getattr(type(transport), "writelines", None)
    if writelines is asyncio.WriteTransport.writelines:
        return False
    if not type(transport).__module__.startswith("asyncio."):
        return True
    version = sys.version_info[:3]
    return not ((3, 12) <= version < (3, 12, 9) or (3, 13) <= version < (3, 13, 2))


def _tune(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError:
            return  # The peer is gone already: `connection_lost` says so.
