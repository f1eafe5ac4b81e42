"""Frames: cutting a byte stream into them under hard limits. Sans-I/O.

    u32 length (of all that follows) | u8 kind | u8 flags = 0 | u16 zero | u64 generation | u64 session | body

The reader is made for `asyncio.BufferedProtocol`: the transport receives straight into the reader's
buffer, and each payload is copied once, into the frame's body, a new ``bytes``. A large body is not copied:
once the head of its frame has arrived, the rest is received directly into the memory of the body.

Invariants:
  - a length is compared with the limit before anything is allocated or waited for
  - memory grows with bytes received: the buffer at most doubles, and only when it is full; memory for a whole
    large frame is taken only once 1 / LANDING_SHARE of the frame has arrived, and not written to before
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
"""Size of the receive buffer, unless the limit is smaller."""
BUFFER_BYTES_MIN = 4 * 1024
"""Size of the smallest receive buffer, for peers that are not authenticated: their limit is as small (Z1)."""
BUFFER_BYTES_KEPT = 8 * BUFFER_BYTES
"""A buffer that had to grow beyond this for one frame is replaced by a smaller one afterwards."""
LANDING_BYTES = 128 * 1024
"""The rest of a frame is received directly into its body if at least this many bytes are missing."""
LANDING_SHARE = 64
"""1 / 64 of a frame must have arrived before memory for the whole frame is taken: a header alone costs nothing."""
HEAD_BYTES = 64 * 1024
"""Size of the first read after such a frame. It is short, because the next frame is likely as large: most of that is
then received directly into its body, too."""

_length = Struct("<I").unpack_from


class RawFrame(NamedTuple):
    """A frame as cut from the stream. Only its header was checked, and not the kind."""

    kind: int
    generation: int
    session: int
    body: bytes


class FrameReader:
    """Bytes in, frames out. One per direction of a link.

    Call ``get_buffer`` and ``buffer_updated`` in turn, or ``feed``. Frames that were complete before
    a bad one are returned first; `error` is set from then on, and the next ``feed`` or ``buffer_updated``
    raises it, as does every later one. So check `error` after each call: otherwise the link of a peer that
    sends nothing more would not be closed.
    """

    def __init__(self, limit: int) -> None:
        """``limit``: the largest length a frame may announce, in bytes, without the length itself."""
        self.limit = limit
        """May be raised at any time, and is after the handshake. Frames cut earlier are not affected."""
        self.error: RemoteProtocolError | None = None
        """The error that ended this reader, or None."""
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
        """The last frame was received directly into its body."""

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

        After an error it still returns room, so that a transport can go on until it is closed in an orderly way.
        """
        if self.error is not None:
            return self._view
        if self._landing is not None:
            return self._landing.room
        self._make_room()
        return self._view[self._end :][:HEAD_BYTES] if self._landed else self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> list[RawFrame]:
        """``nbytes`` bytes were received into the buffer. Returns the frames that they complete, in order.

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
        """Like `buffer_updated`, for bytes in memory of the caller; they are copied into the buffer first."""
        self._raise_again()
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

    def _raise_again(self) -> None:
        """Raise what ended this reader, if anything has. A call of its own: what follows in the caller sets the error."""
        if self.error is not None:
            raise self.error

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
        """Receive the rest of the frame at the front of the buffer directly into its body."""
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
    """A hint for the error if the length looks like TLS, whose records begin with their type and the byte 3."""
    return ": the other end speaks TLS, this node plain text" if length & 0xFFFF in (0x0316, 0x0315) else ""
