"""Frames: cutting a byte stream into them under hard limits. Sans-I/O.

    u32 length (of all that follows) | u8 kind | u8 flags = 0 | u16 zero | u64 generation | u64 session | body

The reader is made for `asyncio.BufferedProtocol`: the transport receives straight into the reader's
buffer, and the one copy that is made of a payload is the frame's body, a fresh ``bytes``. Large bodies are
spared even that: once the head of such a frame is there, the rest is received where it stays.

Invariants:
  - a length is compared with the limit before anything is allocated or waited for
  - memory grows with bytes received: the buffer at most doubles, and only when it is full; a frame lands
    in memory of its own, which is not touched before, once a LANDING_SHARE-th of it is there
  - 0 <= start <= end <= len(buffer); the pending bytes are buffer[start:end], less than one frame
  - each byte is moved inside the buffer O(1) times, however the stream is split
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from qpidha.errors import FrameTooLarge, LocalProtocolError, MalformedFrame, RemoteProtocolError
from qpidha.types import BytesLike
from qpidha.wire.batch import Landing

__all__ = [
    "HEADER",
    "HEADER_BYTES",
    "LENGTH_BYTES",
    "LENGTH_MAX",
    "LENGTH_MIN",
    "FrameReader",
    "RawFrame",
]

HEADER = Struct("<IBBHQQ")
"""length, kind, flags, zero, generation, session"""
HEADER_BYTES = HEADER.size
LENGTH_BYTES = 4
LENGTH_MIN = HEADER_BYTES - LENGTH_BYTES
"""The length of a frame with an empty body."""
LENGTH_MAX = 2**32 - 1

BUFFER_BYTES = 256 * 1024
"""What one read can deliver, once the limit is above it."""
BUFFER_BYTES_MIN = 4 * 1024
"""What an unauthenticated peer costs: the limit in force is tiny, so is the buffer (Z1)."""
BUFFER_BYTES_KEPT = 8 * BUFFER_BYTES
"""A buffer that had to grow beyond this for one frame is given back after it."""
LANDING_BYTES = 128 * 1024
"""A frame that lacks at least this much is worth a read of its own: it lands where it stays."""
LANDING_SHARE = 64
"""So much of a frame must be there before memory is taken for the whole: a header alone costs nothing."""
HEAD_BYTES = 64 * 1024
"""What is read after a frame that landed: enough of the next one, which is likely as large, to land it as well."""

_length = Struct("<I").unpack_from


class RawFrame(NamedTuple):
    """A frame as cut from the stream. Only its header was checked, and not the kind."""

    kind: int
    generation: int
    session: int
    body: bytes


class FrameReader:
    """Bytes in, frames out. One per direction of a link.

    Either ``get_buffer`` and ``buffer_updated`` in turn, or ``feed``. Frames that were complete before
    a bad one are returned first; `error` is set from then on, and the next ``feed`` or ``buffer_updated``
    raises it, as does every later one. So check `error` after each call: a peer that goes silent must
    not delay the verdict.
    """

    def __init__(self, limit: int) -> None:
        """``limit``: the largest length a frame may announce, in bytes, without the length itself."""
        self.limit = limit
        """May be raised at any time, and is after the handshake. Frames cut earlier are not affected."""
        self.error: RemoteProtocolError | None = None
        """What killed this reader, or None."""
        self._buffer = bytearray(self._room_wanted())
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._needed = LENGTH_BYTES
        """Pending bytes below which scanning cannot get any further."""
        self._landing: Landing | None = None
        """The body of the frame that is arriving, if it is large; nothing is pending in the buffer then."""
        self._head = (0, 0, 0)
        """Kind, generation and session of that frame."""
        self._landed = False
        """The last frame was one of these."""

    @property
    def pending(self) -> int:
        """Bytes of the frame that has begun and is not complete; 0 between frames."""
        if self._landing is not None:
            return HEADER_BYTES + self._landing.filled
        return self._end - self._start

    @property
    def capacity(self) -> int:
        """Bytes of memory for what is still arriving."""
        return len(self._buffer) + (0 if self._landing is None else len(self._landing))

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where to receive the next bytes. Valid until the next call; never empty, and never raises.

        A dead reader gives room too, so that a transport may go on until it is closed in good order.
        """
        if self.error is not None:
            return self._view
        if self._landing is not None:
            return self._landing.room
        self._make_room()
        return self._view[self._end :][:HEAD_BYTES] if self._landed else self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> list[RawFrame]:
        """So many bytes were received into the buffer: the frames they complete, in order.

        Raises:
            FrameTooLarge: A frame announces more than the limit.
            MalformedFrame: A length below the header's, or reserved bits set.
        """
        if self.error is not None:
            raise self.error
        room = len(self._buffer) - self._end if self._landing is None else self._landing.rest
        if not 0 <= nbytes <= room:
            raise LocalProtocolError(f"{nbytes} bytes cannot have been received into the buffer")
        if self._landing is not None:
            return self._land(self._landing, nbytes)
        self._end += nbytes
        if self._end - self._start < self._needed:
            return []
        frames: list[RawFrame] = []
        try:
            self._scan(frames)
        except RemoteProtocolError as error:
            self.error = error
            if not frames:
                raise
        return frames

    def feed(self, data: BytesLike) -> list[RawFrame]:
        """The same for bytes that are somewhere else already; they are copied into the buffer first."""
        if self.error is not None:
            raise self.error
        rest = memoryview(data).cast("B")
        frames: list[RawFrame] = []
        while rest:
            room = self.get_buffer()
            n = min(len(room), len(rest))
            room[:n] = rest[:n]
            rest = rest[n:]
            try:
                frames += self.buffer_updated(n)
            except RemoteProtocolError:
                if not frames:
                    raise
            if self.error is not None:
                break  # The rest of a broken stream means nothing.
        return frames

    def _scan(self, frames: list[RawFrame]) -> None:
        """Cut all complete frames. On an error the frames cut so far are in the list."""
        view, start, end = self._view, self._start, self._end
        try:
            while True:
                needed = LENGTH_BYTES
                if end - start < needed:
                    break
                length = _length(view, start)[0]
                if length > self.limit:
                    raise FrameTooLarge(
                        f"frame: length {length} exceeds the limit of {self.limit} bytes{_guess(length)}"
                    )
                if length < LENGTH_MIN:
                    raise MalformedFrame(f"frame: length {length} is less than the header's {LENGTH_MIN}")
                needed = HEADER_BYTES
                if end - start < needed:
                    break
                _, kind, flags, zero, generation, session = HEADER.unpack_from(view, start)
                if flags or zero:
                    raise MalformedFrame(f"frame: reserved bits are set (flags {flags:#x}, {zero:#x})")
                needed = LENGTH_BYTES + length
                if end - start < needed:
                    break
                stop = start + needed
                frames.append(RawFrame(kind, generation, session, bytes(view[start + HEADER_BYTES : stop])))
                start = stop
        finally:
            self._start = start
            self._landed = self._landed and not frames
        self._needed = needed
        if needed - (end - start) >= LANDING_BYTES and needed <= LANDING_SHARE * (end - start):
            self._begin_landing()

    def _begin_landing(self) -> None:
        """The rest of the frame at the front of the buffer is received where its body stays."""
        length, kind, _, _, generation, session = HEADER.unpack_from(self._view, self._start)
        self._head = kind, generation, session
        self._landing = Landing(LENGTH_BYTES + length - HEADER_BYTES)
        self._landing.put(self._view[self._start + HEADER_BYTES : self._end])
        self._start = self._end = 0
        self._needed = LENGTH_BYTES

    def _land(self, landing: Landing, nbytes: int) -> list[RawFrame]:
        landing.received(nbytes)
        if landing.rest:
            return []
        self._landing, self._landed = None, True
        return [RawFrame(*self._head, landing.take())]

    def _room_wanted(self) -> int:
        return min(BUFFER_BYTES, max(BUFFER_BYTES_MIN, LENGTH_BYTES + self.limit))

    def _make_room(self) -> None:
        """Leave free space behind the pending bytes, moving or growing seldom enough to move each byte O(1) times."""
        size = len(self._buffer)
        if self._start == self._end:
            self._start = self._end = 0
            if size != BUFFER_BYTES and not self._room_wanted() <= size <= BUFFER_BYTES_KEPT:
                self._resize(self._room_wanted())
            return
        # Moving to the front costs `pending`: worth it when at least as much was consumed since the last
        # move, and due when the frame does not fit behind its start, which happens once per frame.
        if self._start and (self._start >= self.pending or self._start + self._needed > size):
            self._view[: self.pending] = self._view[self._start : self._end]
            self._end -= self._start
            self._start = 0
        if self._end == size:
            # Full with a part of one frame: at most double. `_needed` passed the limit already.
            steps = -(-min(2 * size, self._needed) // BUFFER_BYTES_MIN)
            self._resize(steps * BUFFER_BYTES_MIN)

    def _resize(self, size: int) -> None:
        """A new buffer, because the transport may still hold a view of the old one."""
        buffer = bytearray(size)
        buffer[: self.pending] = self._view[self._start : self._end]
        self._end -= self._start
        self._start = 0
        self._buffer = buffer
        self._view = memoryview(buffer)


def _guess(length: int) -> str:
    """A handshake or an alert of TLS begins with its type and the byte 3."""
    return ": the other end speaks TLS, this node plain text" if length & 0xFFFF in (0x0316, 0x0315) else ""
