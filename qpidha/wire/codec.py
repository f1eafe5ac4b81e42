"""Events to frames and back. The layouts are specified in ``docs/wire.md``.

    encode    Frame -> chunks for one vectored write; payloads are not copied
    decode    RawFrame -> Frame; payloads are windows of the frame's body

Control events are msgpack arrays in field order (`CONTROL`). `PlanMessages` and `Operations` carry the
payloads and have fixed layouts. `decode` raises `RemoteProtocolError` for whatever a peer can send, and
nothing else; `encode` raises `LocalProtocolError` for what no peer would accept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final, get_args

from qpidha.errors import LocalProtocolError, MalformedFrame
from qpidha.types import MESSAGE_ID_MAX, BytesLike, Position
from qpidha.wire import fields as f
from qpidha.wire import version
from qpidha.wire.batch import Batch
from qpidha.wire.events import (
    Acknowledged,
    Declare,
    Dequeue,
    Enqueue,
    Established,
    Event,
    Fenced,
    Frame,
    Hello,
    Operation,
    Operations,
    Part,
    Ping,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    Progress,
    Refused,
    Resubscribe,
    SkipIds,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from qpidha.wire.framing import HEADER, HEADER_BYTES, LENGTH_BYTES, RawFrame

__all__ = ["CONTROL", "KINDS", "decode", "encode"]

KINDS: Final[Mapping[int, type[Event]]] = {event.KIND: event for event in get_args(Event)}
"""The closed set of frames. A number that is not here is refused."""

CONTROL: Final[Mapping[type[Event], tuple[tuple[str, f.Shape], ...]]] = {
    Hello: (
        ("version_min", f.U16),
        ("version_max", f.U16),
        ("cluster", f.optional(f.UUID_)),
        ("node", f.NODE),
        ("boot", f.UUID_),
        ("wanted", f.NODE),
    ),
    Welcome: (("version", f.U16), ("cluster", f.UUID_), ("node", f.NODE), ("boot", f.UUID_)),
    Refused: (("code", f.U16), ("reason", f.REASON)),
    Fenced: (("generation", f.GENERATION),),
    Ping: (),
    Subscribe: (("epoch", f.UUID_), ("stored_generation", f.GENERATION), ("queues", f.U32)),
    SubscribeQueue: (("queue", f.UUID_), ("lineage", f.LINEAGE), ("next", f.NEXT_ID), ("held", f.IDS)),
    PlanQueue: (
        ("queue", f.UUID_),
        ("spec", f.SPEC),
        ("lineage", f.LINEAGE),
        ("next", f.NEXT_ID),
        ("held", f.COUNT),
    ),
    PlanDrop: (("queue", f.UUID_), ("ids", f.IDS), ("staged", f.FLAG)),
    PlanEnd: (("position", f.POSITION), ("queues", f.U32)),
    Progress: (("chunks", f.COUNT),),
    Resubscribe: (),
    Acknowledged: (("position", f.POSITION),),
    Established: (),
}
"""The fields of each control event, in the order in which they travel."""

_DECLARE = (("spec", f.SPEC), ("lineage", f.LINEAGE), ("next", f.NEXT_ID))
"""The body of a Declare; its queue is in the part's header."""

CONTROL_BYTES_MAX = 4 * 1024
"""Body of a control event, except for those of `LARGE`: msgpack never gets to see more."""
LARGE_BYTES_MAX = 3 * 1024 * 1024
LARGE: Final = frozenset({SubscribeQueue, PlanQueue, PlanDrop})
"""Events with a lineage or an id set: each of these has its own limit of 65,536 entries."""

LENGTH_MAX = 2**32 - 1
COALESCE_BYTES = 4 * 1024
"""Smaller batches are copied next to their header: one write of a few pages beats two buffers."""

_PLAN = Struct("<16sQI")
"""queue, generation_of, size of the ids"""
_OPERATIONS = Struct("<QI")
"""first position, number of parts"""
_PART = Struct("<BBHI16s")
"""part kind, flags, zero, size of the body, queue"""
_ID = Struct("<Q")
_SKIP = Struct("<QQ")
_CONTINUES = 1
"""Part flag: belongs to the same operation as the part before it."""


def encode(frame: Frame) -> list[BytesLike]:
    """The frame as chunks whose concatenation goes on the wire. Payloads are not copied.

    The body of an `Operations` is kept in the event, so sending it to another session costs a header.

    Raises:
        LocalProtocolError: The frame could never be decoded: a field out of range, too large, empty.
    """
    event = frame.event
    try:
        f.GENERATION.to_wire("generation", frame.generation)
        f.U64.to_wire("session", frame.session)
        if isinstance(event, Operations):
            if not event.chunks:
                event.chunks.extend(_encode_operations(event))
            chunks: list[BytesLike] = [b"", *event.chunks]
        elif isinstance(event, PlanMessages):
            chunks = [b"", _encode_plan(event), event.batch.chunk]
        else:
            chunks = [b"", _encode_control(event)]
    except MalformedFrame as error:
        raise LocalProtocolError(f"cannot be sent: {error}") from None
    length = HEADER_BYTES - LENGTH_BYTES + sum(map(len, chunks))
    if length > LENGTH_MAX:
        raise LocalProtocolError(f"cannot be sent: {type(event).__name__} of {length} bytes")
    header = HEADER.pack(length, event.KIND, 0, 0, frame.generation, frame.session)
    if not isinstance(event, Operations):
        return [header + chunks[1], *chunks[2:]]
    chunks[0] = header
    return chunks


def decode(raw: RawFrame) -> Frame:
    """The event in a frame.

    Raises:
        RemoteProtocolError: Anything is wrong with it. The link must be closed.
    """
    event = KINDS.get(raw.kind)
    if event is None:
        raise MalformedFrame(f"frame: kind {raw.kind} is unknown")
    f.GENERATION.from_wire("generation", raw.generation)
    if event is Operations:
        return Frame(raw.generation, raw.session, _decode_operations(raw.body))
    if event is PlanMessages:
        return Frame(raw.generation, raw.session, _decode_plan(raw.body))
    return Frame(raw.generation, raw.session, _decode_control(event, raw.body))


# --- control -------------------------------------------------------------------------------------


def _encode_control(event: Event) -> bytes:
    kind = type(event)
    body = _pack(kind.__name__, CONTROL[kind], event)
    if len(body) > _body_max(kind):
        raise MalformedFrame(f"{kind.__name__}: {len(body)} bytes, at most {_body_max(kind)} are allowed")
    return body


def _decode_control(kind: type[Event], body: bytes) -> Event:
    name, table = kind.__name__, CONTROL[kind]
    if len(body) > _body_max(kind):
        raise MalformedFrame(f"{name}: {len(body)} bytes, at most {_body_max(kind)} are allowed")
    values = f.unpack_array(name, body)
    if kind is Hello and len(values) > len(table) and _from_the_future(values):
        values = values[: len(table)]
    return kind(**_unpack(name, table, values))


def _from_the_future(values: tuple[Any, ...]) -> bool:
    # Version rule V2: only a peer that speaks a later version may say more in its Hello.
    return f.U16.from_wire("Hello.version_max", values[1]) > version.PROTOCOL_MAX


def _body_max(kind: type[Event]) -> int:
    return LARGE_BYTES_MAX if kind in LARGE else CONTROL_BYTES_MAX


def _pack(name: str, table: tuple[tuple[str, f.Shape], ...], event: Event | Declare) -> bytes:
    return f.pack_array([shape.to_wire(f"{name}.{field}", getattr(event, field)) for field, shape in table])


def _unpack(name: str, table: tuple[tuple[str, f.Shape], ...], values: tuple[Any, ...]) -> dict[str, Any]:
    if len(values) != len(table):
        raise MalformedFrame(f"{name}: must have {len(table)} fields, not {len(values)}")
    return {
        field: shape.from_wire(f"{name}.{field}", value)
        for (field, shape), value in zip(table, values, strict=True)
    }


# --- plan messages -------------------------------------------------------------------------------


def _encode_plan(event: PlanMessages) -> bytes:
    ids = f.IDS.to_wire("PlanMessages.ids", event.ids)
    _check_plan(event)
    queue = f.UUID_.to_wire("PlanMessages.queue", event.queue)
    f.GENERATION.to_wire("PlanMessages.generation_of", event.generation_of)
    return _PLAN.pack(queue, event.generation_of, len(ids)) + ids


def _decode_plan(body: bytes) -> PlanMessages:
    if len(body) < _PLAN.size:
        raise MalformedFrame(f"PlanMessages: {len(body)} bytes, at least {_PLAN.size} are needed")
    queue, generation, size = _PLAN.unpack_from(body)
    at = _PLAN.size + size
    if at > len(body):
        raise MalformedFrame(f"PlanMessages.ids: {size} bytes, {len(body) - _PLAN.size} are left")
    event = PlanMessages(
        queue=f.shared_uuid(queue),
        generation_of=f.GENERATION.from_wire("PlanMessages.generation_of", generation),
        ids=f.IDS.from_wire("PlanMessages.ids", body[_PLAN.size : at]),
        batch=Batch.parse(body, at),
    )
    _check_plan(event)
    return event


def _check_plan(event: PlanMessages) -> None:
    count = event.ids.count()  # Not len(): a set may have more ids than that can tell.
    if count != len(event.batch):
        raise MalformedFrame(f"PlanMessages: {count} ids for {len(event.batch)} messages")


# --- operations ----------------------------------------------------------------------------------


def _encode_operations(event: Operations) -> list[BytesLike]:
    _check_positions(event.first, len(event.operations))
    chunks: list[BytesLike] = []
    small = bytearray(_OPERATIONS.pack(event.first, sum(map(len, event.operations))))
    for operation in event.operations:
        if not operation:
            raise MalformedFrame("Operations: an operation has at least one part")
        flags = 0
        for part in operation:
            head, batch = _ENCODERS[type(part)](part)
            size = len(head) + (0 if batch is None else batch.nbytes)
            if size > LENGTH_MAX:
                raise MalformedFrame(f"{type(part).__name__}: {size} bytes are too many for one part")
            queue = f.UUID_.to_wire(f"{type(part).__name__}.queue", part.queue)
            small += _PART.pack(part.PART, flags, 0, size, queue) + head
            flags = _CONTINUES
            if batch is None:
                continue
            if batch.nbytes < COALESCE_BYTES:
                small += batch.chunk
            else:
                chunks += bytes(small), batch.chunk
                small.clear()
    if small:
        chunks.append(bytes(small))
    return chunks


def _decode_operations(body: bytes) -> Operations:
    end = len(body)
    if end < _OPERATIONS.size:
        raise MalformedFrame(f"Operations: {end} bytes, at least {_OPERATIONS.size} are needed")
    first, count = _OPERATIONS.unpack_from(body)
    if count > (end - _OPERATIONS.size) // _PART.size:
        raise MalformedFrame(f"Operations: {count} parts do not fit in {end} bytes")
    operations: list[Operation] = []
    parts: list[Part] = []
    at = _OPERATIONS.size
    for _ in range(count):
        if end - at < _PART.size:
            raise MalformedFrame(f"Operations: {end - at} bytes left for a part's header of {_PART.size}")
        kind, flags, zero, size, queue = _PART.unpack_from(body, at)
        at += _PART.size
        if flags & ~_CONTINUES or zero:
            raise MalformedFrame(f"Operations: reserved bits are set (flags {flags:#x}, {zero:#x})")
        if size > end - at:
            raise MalformedFrame(f"Operations: a part of {size} bytes, {end - at} are left")
        decoder = _DECODERS.get(kind)
        if decoder is None:
            raise MalformedFrame(f"Operations: part kind {kind} is unknown")
        if flags and not parts:
            raise MalformedFrame("Operations: the first part continues nothing")
        if parts and not flags:
            operations.append(tuple(parts))
            parts.clear()
        parts.append(decoder(body, at, size, queue))
        at += size
    if at != end:
        raise MalformedFrame(f"Operations: {end - at} bytes after the last part")
    if parts:
        operations.append(tuple(parts))
    _check_positions(first, len(operations))
    return Operations(first=first, operations=tuple(operations))


def _check_positions(first: Position, count: int) -> None:
    if count < 1:
        raise MalformedFrame("Operations: there is no operation")
    f.POSITION.to_wire("Operations.first", first)
    f.POSITION.to_wire("Operations.last", first + count - 1)


# --- parts: each encoder returns what precedes the batch, and the batch ---------------------------


def _encode_enqueue(part: Enqueue) -> tuple[bytes, Batch | None]:
    _check_enqueue(part)
    return _ID.pack(part.first), part.batch


def _decode_enqueue(body: bytes, at: int, size: int, queue: bytes) -> Enqueue:
    if size < _ID.size:
        raise MalformedFrame(f"Enqueue: {size} bytes, at least {_ID.size} are needed")
    batch = Batch.parse(body, at + _ID.size, size - _ID.size)
    part = Enqueue(queue=f.shared_uuid(queue), first=_ID.unpack_from(body, at)[0], batch=batch)
    _check_enqueue(part)
    return part


def _check_enqueue(part: Enqueue) -> None:
    f.MESSAGE_ID.to_wire("Enqueue.first", part.first)
    f.MESSAGE_ID.to_wire("Enqueue.last", part.first + len(part.batch) - 1)


def _encode_dequeue(part: Dequeue) -> tuple[bytes, Batch | None]:
    return f.IDS.to_wire("Dequeue.ids", part.ids), None


def _decode_dequeue(body: bytes, at: int, size: int, queue: bytes) -> Dequeue:
    return Dequeue(queue=f.shared_uuid(queue), ids=f.IDS.from_wire("Dequeue.ids", body[at : at + size]))


def _encode_skip(part: SkipIds) -> tuple[bytes, Batch | None]:
    _check_skip(part)
    return _SKIP.pack(part.first, part.last), None


def _decode_skip(body: bytes, at: int, size: int, queue: bytes) -> SkipIds:
    if size != _SKIP.size:
        raise MalformedFrame(f"SkipIds: must be {_SKIP.size} bytes, not {size}")
    first, last = _SKIP.unpack_from(body, at)
    part = SkipIds(queue=f.shared_uuid(queue), first=first, last=last)
    _check_skip(part)
    return part


def _check_skip(part: SkipIds) -> None:
    f.MESSAGE_ID.to_wire("SkipIds.first", part.first)
    f.MESSAGE_ID.to_wire("SkipIds.last", part.last)
    if part.first > part.last:
        raise MalformedFrame(f"SkipIds: first {part.first} is above last {part.last}")


def _encode_declare(part: Declare) -> tuple[bytes, Batch | None]:
    return _pack("Declare", _DECLARE, part), None


def _decode_declare(body: bytes, at: int, size: int, queue: bytes) -> Declare:
    if size > LARGE_BYTES_MAX:
        raise MalformedFrame(f"Declare: {size} bytes, at most {LARGE_BYTES_MAX} are allowed")
    values = f.unpack_array("Declare", body[at : at + size])
    return Declare(queue=f.shared_uuid(queue), **_unpack("Declare", _DECLARE, values))


_ENCODERS: Final[Mapping[type[Part], Callable[[Any], tuple[bytes, Batch | None]]]] = {
    Enqueue: _encode_enqueue,
    Dequeue: _encode_dequeue,
    SkipIds: _encode_skip,
    Declare: _encode_declare,
}
_DECODERS: Final[Mapping[int, Callable[[bytes, int, int, bytes], Part]]] = {
    Enqueue.PART: _decode_enqueue,
    Dequeue.PART: _decode_dequeue,
    SkipIds.PART: _decode_skip,
    Declare.PART: _decode_declare,
}
