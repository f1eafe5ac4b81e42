"""The wire: events, how they are encoded, and the frames that carry them. Sans-I/O, no state.

`events` defines the events; `codec` turns an event into chunks and a frame back into an event;
`framing` cuts a byte stream into frames under hard limits; `batch` is the compiled layout of
message batches. ``docs/wire.md`` specifies all of it for a second implementation.
"""

from qpidha.wire.codec import decode, encode
from qpidha.wire.events import Frame, Ping, Welcome
from qpidha.wire.framing import FrameReader, RawFrame

__all__ = ["Frame", "FrameReader", "Ping", "RawFrame", "Welcome", "decode", "encode"]
