"""The compact form of a fan-out: the copies of what an Enqueue has just published, 24 bytes for each queue.

::

    FanOut   part header, whose queue is that of the Enqueue before it | (uuid queue | u64 first) × n

Only the bytes differ from n parts `Copy` that name the messages of that Enqueue as their source, without new props, and
replace nothing: the encoder writes such copies in this form, the decoder gives back the copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Final

from qpidha.errors import MalformedFrame
from qpidha.seq import SequenceSet
from qpidha.types import QueueId
from qpidha.wire import fields as f
from qpidha.wire.events import Copy, Enqueue, Operation, Part

_TARGET: Final = Struct("<16sQ")
"""queue, first"""


@dataclass(slots=True)
class FanOut:
    """What was published, and the copies of it that follow at once."""

    PART: ClassVar[int] = 7
    published: Enqueue
    copies: list[Copy]

    @property
    def queue(self) -> QueueId:
        """The queue that the part's header names."""
        return self.published.queue


def grouped(operation: Operation) -> Sequence[Part | FanOut]:
    """The parts of an operation as they are written: copies of what was published just before are taken together."""
    if len(operation) < 2:
        return operation
    found: list[Part | FanOut] = []
    for part in operation:
        last = found[-1] if found else None
        if type(part) is Copy:
            if type(last) is FanOut and _is_whole_copy(part, last.published):
                last.copies.append(part)
                continue
            if type(last) is Enqueue and _is_whole_copy(part, last):
                found.append(FanOut(last, [part]))
                continue
        found.append(part)
    return found


def _is_whole_copy(part: Copy, published: Enqueue) -> bool:
    ids = part.ids
    return (
        part.source == published.queue
        and not part.replacement
        and part.props is None
        and ids.run_count == 1
        and ids.first == published.first
        and ids.last == published.first + len(published.batch) - 1
    )


def encode_fan_out(fan_out: FanOut) -> tuple[bytes, None]:
    """The body of the part; it carries no batch. Raises `MalformedFrame` if it breaks a rule of the wire."""
    body = bytearray()
    for part in fan_out.copies:
        _check_ids(part)
        body += _TARGET.pack(f.UUID_.to_wire("Copy.queue", part.queue), part.first)
    return bytes(body), None


def decode_fan_out(body: bytes, at: int, size: int, queue: bytes, published: Part | None) -> Iterator[Copy]:
    """The copies that the part stands for. ``published``: the part before it, if any. Raises `MalformedFrame`."""
    if type(published) is not Enqueue or published.queue.bytes != queue:
        raise MalformedFrame("FanOut: the part before it is no Enqueue of its queue")
    if not size or size % _TARGET.size:
        raise MalformedFrame(f"FanOut: {size} bytes, a multiple of {_TARGET.size} is needed")
    ids = SequenceSet.from_range(published.first, published.first + len(published.batch) - 1)
    for target, first in _TARGET.iter_unpack(memoryview(body)[at : at + size]):
        part = Copy(
            queue=f.shared_uuid(target), first=first, source=published.queue, ids=ids, replacement=False
        )
        _check_ids(part)
        yield part


def _check_ids(part: Copy) -> None:
    f.MESSAGE_ID.to_wire("Copy.first", part.first)
    f.MESSAGE_ID.to_wire("Copy.last", part.last)
