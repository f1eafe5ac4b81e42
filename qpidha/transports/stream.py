"""One TCP connection as a link: bytes go from the kernel into the handler's own buffer.

The same class serves plain text and TLS: asyncio's TLS layer speaks the same protocol to it.

Written bytes are passed to asyncio's transport at once, in pieces, for as long as the transport accepts more; the
rest waits here, by reference. So a peer that reads slowly costs references, not copies, and `buffered` is
exact with TLS too, whose transport does not count the bytes of its inner transport.

The transport below is never aborted within one of its own calls, and one with TLS is never written to: TLS may be at its
end there, and the loop would report writes that it drops, or fail. Plain text is answered in the turn in which it came.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import cast

from qpidha.errors import LinkClosed
from qpidha.interfaces import LinkFactory, LinkHandler
from qpidha.system import forks
from qpidha.system.handshake import TellingObject, counting_object
from qpidha.transports.sockets import as_link_closed, describe, descriptor_of, is_vectored, tune
from qpidha.types import BytesLike, PeerInfo

KIB = 1024
LOW_BYTES = 64 * KIB
"""Asyncio's transport is full with more than this: the maximum that waits when `drained` is called."""
PIECE_BYTES = 256 * KIB
"""Bytes that are passed to asyncio's transport in one call."""
SMALL_BYTES = 32 * KIB
"""Smaller chunks are joined: copying them costs less than a separate system call or TLS record."""
WRITES_PER_TURN = 4
"""The link is told of a connection that broke in a later turn of the loop. After more writes than this in one turn the
loop would complain of them in the log."""
CLOSE_TIMEOUT_S = 5.0
"""How long `close` waits for a peer that does not read, before it aborts."""
SCRATCH_BYTES = 16 * KIB

Check = Callable[[PeerInfo], "str | None"]
"""Says why a peer is refused, or None."""


class LinkState(Enum):
    """Where a connection is in its life.

    It only moves down this table; what is not allowed in a state does nothing::

        state        accepts writes   sends and receives   left by
        CONNECTING   keeps them       no                   connection_made
        OPEN         yes              yes                  close, or any error
        CLOSING      ignores them     yes                  everything is sent, CLOSE_TIMEOUT_S, or any error
        DEAD         ignores them     no                   (the end)
    """

    CONNECTING = auto()
    OPEN = auto()
    CLOSING = auto()
    """`close` was called: what is buffered is sent first."""
    DEAD = auto()
    """Aborted, lost, or the link of the process that this one was forked from."""


WRITABLE = (LinkState.OPEN, LinkState.CONNECTING)  # Not sets: hashing a member of an enumeration is a call.
ALIVE = (LinkState.OPEN, LinkState.CLOSING)


class Flow(Enum):
    """What the transport below accepts."""

    READY = auto()
    """More bytes."""
    FULL = auto()
    """Nothing, until it calls `resume_writing`."""
    RELIEVED = auto()
    """More bytes, after much had to wait: the handler's `drained` is due when what waits here is handed down."""


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
        self._vectored = self._plain = False
        self._state = LinkState.CONNECTING
        self._flow = Flow.READY
        self._flush_due: asyncio.Handle | None = None
        self._called = False  # Within a call from the transport that reads.
        self._writes = 0  # Since the last `_flush`.
        self._tls: TellingObject | None = None
        self._error: Exception | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._fd = -1

    # --- the link ---------------------------------------------------------------------------------

    def write(self, chunks: Sequence[BytesLike]) -> None:
        """Send these chunks in order; see `qpidha.interfaces.Link`."""
        if self._state not in WRITABLE:
            return
        if self._plain and not self._pending and self._flow is Flow.READY and self._writes < WRITES_PER_TURN:
            transport = (
                self._transport
            )  # Nothing is in the way: what is small, as most is, is written in one piece.
            if transport is not None and sum(map(len, chunks)) < SMALL_BYTES and not transport.is_closing():
                self._writes += 1
                transport.write(b"".join(chunks))
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
        if self._state is not LinkState.OPEN:
            return
        self._state = LinkState.CLOSING
        self._close_timer = self._loop.call_later(CLOSE_TIMEOUT_S, self._give_up)
        self._schedule()

    def abort(self) -> None:
        """Close at once and forget what is buffered."""
        self._abort(LinkClosed(f"link to {self._name} was aborted"))

    # --- sending ----------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if self._flush_due is None:
            self._flush_due = self._loop.call_soon(self._flush)

    def _hand_down(self) -> None:
        """Write pieces until the transport is full. It may call `pause_writing`, or lose the link, meanwhile."""
        transport = self._transport
        if transport is None or self._state not in ALIVE:
            return
        while self._pending and self._flow is not Flow.FULL and not transport.is_closing():
            if (self._called and not self._plain) or self._writes >= WRITES_PER_TURN:
                if self._pending_bytes > WRITES_PER_TURN * PIECE_BYTES:  # The next turn does not take all.
                    self._flow = Flow.RELIEVED
                self._schedule()
                break
            taken = self._tls.writes if self._tls is not None else -1
            self._write_piece(transport)
            if self._tls is not None and self._tls.writes == taken:
                self._drop(None)  # The loop has dropped the piece: the peer has closed.
                break

    def _write_piece(self, transport: asyncio.Transport) -> None:
        if self._vectored:
            self._writes += 1
            transport.writelines(self._take_piece())
            return
        for chunk in self._take_piece(WRITES_PER_TURN - self._writes):
            self._writes += 1
            transport.write(chunk)

    def _flush(self) -> None:
        """Hand down what waits, call `drained` if it is due, and close if that was asked for and nothing waits.

        Runs in a separate turn of the loop, never within a call from the transport.
        """
        self._flush_due = None
        self._writes = 0
        self._hand_down()
        transport = self._transport
        if transport is None or self._state not in ALIVE:
            return
        if self._flow is Flow.RELIEVED and not self._pending:
            self._flow = Flow.READY
            self._call_drained()
        if self._state is LinkState.CLOSING and not self._pending and not transport.is_closing():
            transport.close()  # It sends what it has first. A second call would make TLS forget the connection.

    def _take_piece(self, chunks_max: int = sys.maxsize) -> list[BytesLike]:
        """The next chunks, small ones joined, large ones by reference, the last one cut to fit."""
        piece: list[BytesLike] = []
        small: list[BytesLike] = []
        room = PIECE_BYTES
        while self._pending and room > 0 and len(piece) + bool(small) < chunks_max:
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
        self._flow = Flow.FULL

    def resume_writing(self) -> None:
        """The transport below wants more. This may be a call from within our write: defer to the next turn."""
        self._flow = Flow.RELIEVED
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
        if self._handler is not None and self._state in ALIVE:
            if self._plain:
                self._writes = 0  # The loop reads a link once in a turn, and none whose connection broke.
            self._called = True
            try:
                return self._handler.get_buffer(sizehint)
            except Exception as error:  # noqa: BLE001 - its link dies, and `closed` is told why
                self._abort(error)
            finally:
                self._called = False
        return memoryview(bytearray(SCRATCH_BYTES))  # The TLS layer goes on reading until it has no more.

    def buffer_updated(self, nbytes: int) -> None:
        """This many bytes were put into the buffer."""
        if self._handler is not None and self._state in ALIVE:
            self._called = True
            try:
                self._handler.received(nbytes)
            except Exception as error:  # noqa: BLE001 - its link dies, and `closed` is told why
                self._abort(error)
            finally:
                self._called = False

    def eof_received(self) -> None:
        """The peer sends no more. There are no half-open links: the link is closed in order."""
        if self._state is not LinkState.DEAD:
            self._called = True
            self._drop(None)
            self._called = False

    # --- the life of the connection ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, and verified if there is TLS."""
        self._transport = cast(asyncio.Transport, transport)
        self._state = LinkState.OPEN
        self.peer = describe(self._transport)
        self._fd = descriptor_of(transport)
        forks.watch(self)
        reason = self._check(self.peer)
        if reason is not None:
            self.refused = LinkClosed(f"{self.peer.address}: {reason}")
            self._drop(self.refused)
            return
        self._transport.set_write_buffer_limits(LOW_BYTES)
        self._vectored = is_vectored(self._transport)
        self._plain = self._transport.get_extra_info("ssl_object") is None
        self._tls = counting_object(self._transport)
        tune(self._transport)
        try:
            self._handler = self._on_link(self)
        except Exception as error:  # noqa: BLE001 - `connect` or the listener passes it on
            self.refused = error
            self._drop(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The last call from asyncio."""
        forks.release(self)
        self._die()
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
        """In a child: the link belongs to the parent. Nothing is sent or received here any more."""
        self._die()
        return (self._fd,)

    def abandon(self) -> None:
        """Abort the link, if it is connected: the caller of `connect` was cancelled or timed out."""
        self._abort(LinkClosed("the attempt to connect was given up"))

    def _give_up(self) -> None:
        self._abort(LinkClosed(f"{self._name} did not read the last bytes in {CLOSE_TIMEOUT_S} s"))

    def _abort(self, error: Exception) -> None:
        if self._state is not LinkState.DEAD and self._transport is not None:
            self._drop(error)

    def _drop(self, error: Exception | None) -> None:
        self._error = error
        self._die()
        if self._called:
            self._loop.call_soon(self._hang_up)
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _die(self) -> None:
        self._state = LinkState.DEAD
        self._pending.clear()
        self._pending_bytes = 0

    @property
    def _name(self) -> str:
        return self.peer.address

    def _report(self, error: Exception) -> None:
        message = f"the handler of the link to {self._name} failed"
        self._loop.call_exception_handler({"message": message, "exception": error})
