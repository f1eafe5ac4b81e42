"""The client protocol of the example broker: length-prefixed frames over one TCP connection.

A frame is ``u32 length | u8 kind | body``, little-endian; the length counts the body alone.

    kind        direction          body
    WELCOME     broker → client    u64 generation             I am primary, go ahead
    REDIRECT    broker → client    u16 port | host            the primary is there. Port 0: not known
    PUBLISH     client → broker    u64 sequence | batch       one or many messages
    CONFIRM     broker → client    u64 sequence               every PUBLISH up to this one is safe
    SUBSCRIBE   client → broker    u32 credit                 send me messages, so many unaccepted at most
    DELIVER     broker → client    u32 n | n bytes ids | batch
    ACCEPT      client → broker    ids                        done with these; they return their credit
    SETTLED     broker → client    ids                        no later primary will deliver these again
    PING        either             any bytes                  the broker sends the same frame back
    REGISTER    client → broker    name                       I am going to change queues and objects
    REGISTERED  broker → client    epoch                      send it with every change
    CHANGE      client → broker    [name, epoch, n, steps]    make change n: all of its steps, or none
    CHANGED     broker → client    u64 n                      change n is safe
    DESCRIBE    client → broker                               what is there?
    DESCRIBED   broker → client    [queues, objects]          this is, and it is safe

The broker speaks first: WELCOME, or REDIRECT and the end of the connection. A client chooses the sequence
of each PUBLISH, ascending; one CONFIRM answers for all up to it. A batch is a `qpidha.Batch` and ids are
an encoded `qpidha.SequenceSet`, both byte for byte as the library stores and replicates them: a payload
is packed once, by its publisher, and unpacked once, by its consumer. Every hop costs one call per batch.
What is in brackets is packed with msgpack; the steps are in `topology.py`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import cast

from qpidha import Landing, QpidhaError

(WELCOME, REDIRECT, PUBLISH, CONFIRM, SUBSCRIBE, DELIVER, ACCEPT, SETTLED, PING) = range(1, 10)
(REGISTER, REGISTERED, CHANGE, CHANGED, DESCRIBE, DESCRIBED) = range(10, 16)

HEADER = struct.Struct("<IB")
U16 = struct.Struct("<H")
U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")

FRAME_BYTES_MAX = 16 * 1024 * 1024
BUFFER_BYTES = 256 * 1024
LANDING_BYTES = 128 * 1024
"""A frame that lacks at least this many bytes is received into memory of its own instead of the shared buffer."""
LANDING_SHARE = 64
"""One part in this many must have arrived before memory is allocated, so that a header alone cannot claim much."""
HEAD_BYTES = 64 * 1024
"""How much is read after such a frame: the next one is probably as large, and only its beginning is needed."""

Address = tuple[str, int]


class ProtocolError(Exception):
    """The peer sent something that is not in the table above."""


class Framed(asyncio.BufferedProtocol):
    """Cuts received bytes into frames.

    Bytes are received into one reused buffer, and bodies are views of it. Large frames get memory of their own.

    Subclasses override `frame`, or `frames` if many of one kind can be handled at once, and `drained` if they send much.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray(BUFFER_BYTES)
        self._begin = self._end = 0
        self._landing: Landing | None = None
        self._landing_kind = 0
        self._landed = False
        self.congested = False
        """The peer reads more slowly than this side writes: send nothing for now."""

    def frames(self, kind: int, bodies: Sequence[memoryview | bytes]) -> None:
        """Called for frames of one kind that were received together, one after the other. Calls `frame` for each.

        Bodies that are views are valid only during this call.
        """
        for body in bodies:
            if not self.transport.is_closing():
                self.frame(kind, body)

    def frame(self, kind: int, body: memoryview | bytes) -> None:
        """Called for each frame."""
        raise NotImplementedError

    def drained(self) -> None:
        """Called when the connection is no longer congested."""

    def failed(self, error: Exception) -> None:
        """Called when the peer has broken the protocol. Closes the connection."""
        self.transport.abort()

    def send(self, kind: int, *chunks: bytes | memoryview) -> None:
        """Send one frame, in one write. A connection that is lost drops it: asyncio would complain in the log."""
        if self.transport.is_closing():
            return
        size = sum(map(len, chunks))
        self.transport.write(b"".join((HEADER.pack(size, kind), *chunks)))

    # --- what asyncio calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        self.drained()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._landing is not None:
            return self._landing.room
        room = memoryview(self._buffer)[self._end :]
        return room[:HEAD_BYTES] if self._landed else room

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if self._landing is not None:
                self._land(self._landing, nbytes)
            else:
                self._end += nbytes
                self._take_frames()
        except (ProtocolError, struct.error, UnicodeDecodeError, QpidhaError) as error:
            self.failed(error)

    # --- the buffer ------------------------------------------------------------------------------

    def _take_frames(self) -> None:
        """Pass on the frames that are complete; begin a landing for a large one that is not. This loop is per frame."""
        view, begin, end = memoryview(self._buffer), self._begin, self._end
        unpack, head = HEADER.unpack_from, HEADER.size
        kind_before, bodies = 0, []
        while (start := begin + head) <= end:
            size, kind = unpack(view, begin)
            if (stop := start + size) > end:
                break
            if kind != kind_before:
                self._pass_on(kind_before, bodies)
                kind_before, bodies = kind, []
            bodies.append(view[start:stop])
            begin, self._landed = stop, False
        self._pass_on(kind_before, bodies)
        self._begin = begin
        if start <= end and not self.transport.is_closing():
            self._begin_landing(size, kind, view[start:end])
        self._make_room()

    def _pass_on(self, kind: int, bodies: Sequence[memoryview]) -> None:
        if bodies and not self.transport.is_closing():
            self.frames(kind, bodies)

    def _begin_landing(self, size: int, kind: int, come: memoryview) -> None:
        """Receive the rest of this frame into memory of its own, if that is worth it."""
        if size > FRAME_BYTES_MAX:
            raise ProtocolError(f"a frame of {size} bytes; {FRAME_BYTES_MAX} is the limit")
        if size - len(come) >= LANDING_BYTES and size <= LANDING_SHARE * len(come):
            self._landing, self._landing_kind = Landing(size), kind
            self._landing.put(come)
            self._begin = self._end

    def _land(self, landing: Landing, nbytes: int) -> None:
        landing.received(nbytes)
        if not landing.rest:
            self._landing, self._landed = None, True
            self.frames(self._landing_kind, [landing.take()])

    def _make_room(self) -> None:
        """Move the rest to the front. The buffer grows only when it is full, and shrinks when it is empty."""
        left = self._end - self._begin
        if left == len(self._buffer):
            self._buffer = self._buffer + bytes(left)  # Not in place: views of it are still in use.
        elif left == 0 and len(self._buffer) > BUFFER_BYTES:
            self._buffer = bytearray(BUFFER_BYTES)
        elif self._begin:
            view = memoryview(self._buffer)
            view[:left] = view[self._begin : self._end]
        self._begin, self._end = 0, left
