"""The client protocol of the example broker: length-prefixed frames over one TCP connection.

A frame is ``u32 length | u8 kind | body``, little-endian; the length counts the body alone.

    kind        direction          body
    WELCOME     broker → client    u64 generation             I am primary, go ahead
    REDIRECT    broker → client    u16 port | host            I am not; this one is. Port 0: nobody, for now
    PUBLISH     client → broker    u64 sequence | batch       one or many messages
    CONFIRM     broker → client    u64 sequence               every PUBLISH up to this one is safe
    SUBSCRIBE   client → broker    u32 credit                 send me messages, so many unaccepted at most
    DELIVER     broker → client    u32 n | n bytes ids | batch
    ACCEPT      client → broker    ids                        done with these; they return their credit
    SETTLED     broker → client    ids                        no later primary will deliver these again
    PING        either             any bytes                  the broker sends the same frame back

The broker speaks first: WELCOME, or REDIRECT and the end of the connection. A client chooses the sequence
of each PUBLISH, ascending; one CONFIRM answers for all up to it. A batch is a `qpidha.Batch` and ids are
an encoded `qpidha.SequenceSet`, both byte for byte as the library stores and replicates them: a payload
is packed once, by its publisher, and unpacked once, by its consumer. Every hop costs one call per batch.
"""

from __future__ import annotations

import asyncio
import struct
from typing import cast

from qpidha import QpidhaError

(WELCOME, REDIRECT, PUBLISH, CONFIRM, SUBSCRIBE, DELIVER, ACCEPT, SETTLED, PING) = range(1, 10)

HEADER = struct.Struct("<IB")
U16 = struct.Struct("<H")
U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")

FRAME_BYTES_MAX = 16 * 1024 * 1024
BUFFER_BYTES = 256 * 1024

Address = tuple[str, int]


class ProtocolError(Exception):
    """The peer sent something that is not in the table above."""


class Framed(asyncio.BufferedProtocol):
    """Cuts the received bytes into frames. Bytes land in one reused buffer; bodies are views of it.

    Subclasses override `frame`, and `drained` if they send much.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray(BUFFER_BYTES)
        self._begin = self._end = 0
        self.congested = False
        """The peer does not read as fast as we write: do not send it more for now."""

    def frame(self, kind: int, body: memoryview) -> None:
        """One frame came. The body is valid only during this call."""
        raise NotImplementedError

    def drained(self) -> None:
        """No longer congested."""

    def failed(self, error: Exception) -> None:
        """The peer broke the protocol. Whatever it says next cannot be trusted."""
        self.transport.abort()

    def send(self, kind: int, *chunks: bytes | memoryview) -> None:
        """One frame, one write."""
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
        return memoryview(self._buffer)[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        try:
            self._take_frames()
        except (ProtocolError, struct.error, UnicodeDecodeError, QpidhaError) as error:
            self.failed(error)

    # --- the buffer ------------------------------------------------------------------------------

    def _take_frames(self) -> None:
        view = memoryview(self._buffer)
        while self._end - self._begin >= HEADER.size and not self.transport.is_closing():
            size, kind = HEADER.unpack_from(view, self._begin)
            if size > FRAME_BYTES_MAX:
                raise ProtocolError(f"a frame of {size} bytes; {FRAME_BYTES_MAX} is the limit")
            start = self._begin + HEADER.size
            if self._end - start < size:
                break
            self._begin = start + size
            self.frame(kind, view[start : start + size])
        self._make_room()

    def _make_room(self) -> None:
        """Move what is left to the front; grow only as bytes really come, and shrink again."""
        left = self._end - self._begin
        if left == len(self._buffer):
            self._buffer = self._buffer + bytes(left)  # Not in place: views of it are still in use.
        elif left == 0 and len(self._buffer) > BUFFER_BYTES:
            self._buffer = bytearray(BUFFER_BYTES)
        elif self._begin:
            view = memoryview(self._buffer)
            view[:left] = view[self._begin : self._end]
        self._begin, self._end = 0, left
