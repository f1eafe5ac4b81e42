"""The bodies that carry messages: fixed layouts, decoded without copying a payload. See `qpidha.wire.codec`.

::

    PlanMessages   uuid queue | u64 generation | u32 size of ids | ids | batch
    Operations     u64 first position | u32 parts | parts
    part           u8 part kind | u8 flags | u16 zero | u32 size of body | uuid queue | body
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final
from uuid import UUID

from qpidha.errors import MalformedFrame
from qpidha.types import BytesLike, Position
from qpidha.wire import fields as f
from qpidha.wire.batch import Batch
from qpidha.wire.events import (
    Copy,
    Declare,
    Dequeue,
    Drop,
    Enqueue,
    Operation,
    Operations,
    Part,
    PlanMessages,
    SkipIds,
)
from qpidha.wire.fanout import FanOut, decode_fan_out, encode_fan_out, grouped
from qpidha.wire.framing import LENGTH_MAX

__all__ = ["decode_operations", "decode_plan", "encode_operations", "encode_plan"]

DECLARE: f.Table = (("spec", f.SPEC), ("lineage", f.LINEAGE), ("next", f.NEXT_ID))
"""The body of a Declare; its queue is in the part's header."""
_DECLARE_ROWS: Final = f.rows("Declare", DECLARE)

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
_COPY = Struct("<QBB16sI")
"""first, replacement, with props, source, size of the ids"""
_SIZE = Struct("<I")
_ORDINARY_IDS: Final = 2**63
"""Up to here a batch of any size has ids: nearly all are below."""
_ORDINARY_POSITIONS: Final = 2**62
"""Up to here a frame of any number of operations has positions."""
_CONTINUES = 1
"""Part flag: belongs to the same operation as the part before it."""


# --- plan messages -------------------------------------------------------------------------------


def encode_plan(event: PlanMessages) -> bytes:
    """The body of a PlanMessages frame. Raises `MalformedFrame` if it breaks a rule of the wire."""
    ids: bytes = f.IDS.to_wire("PlanMessages.ids", event.ids)
    _check_plan(event)
    queue = f.UUID_.to_wire("PlanMessages.queue", event.queue)
    f.GENERATION.to_wire("PlanMessages.generation_of", event.generation_of)
    return _PLAN.pack(queue, event.generation_of, len(ids)) + ids


def decode_plan(body: bytes) -> PlanMessages:
    """The event in the body of a PlanMessages frame. Raises `MalformedFrame`."""
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
    count = event.ids.count()  # Not len(): a set may have more ids than len() can return.
    if count != len(event.batch):
        raise MalformedFrame(f"PlanMessages: {count} ids for {len(event.batch)} messages")


# --- operations ----------------------------------------------------------------------------------


def encode_operations(event: Operations) -> list[BytesLike]:
    """The body of an Operations frame, as chunks; large payloads are not copied. Raises `MalformedFrame`."""
    _check_positions(event.first, len(event.operations))
    chunks: list[BytesLike] = []
    operations = [grouped(operation) for operation in event.operations]
    small = bytearray(_OPERATIONS.pack(event.first, sum(map(len, operations))))
    for operation in operations:
        if not operation:
            raise MalformedFrame("Operations: an operation has at least one part")
        flags = 0
        for part in operation:
            head, batch = ENCODERS[type(part)](part)
            size = len(head) + (0 if batch is None else batch.nbytes)
            if size > LENGTH_MAX:
                raise MalformedFrame(f"{type(part).__name__}: {size} bytes are too many for one part")
            if not isinstance(part.queue, UUID):
                raise f.refuse(f"{type(part).__name__}.queue", "must be a UUID", part.queue)
            small += _PART.pack(part.PART, flags, 0, size, part.queue.bytes) + head
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


def decode_operations(body: bytes) -> Operations:
    """The event in the body of an Operations frame. Raises `MalformedFrame`."""
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
        if flags and not parts:
            raise MalformedFrame("Operations: the first part continues nothing")
        if parts and not flags:
            operations.append(tuple(parts))
            parts.clear()
        if kind == FanOut.PART:
            parts += decode_fan_out(body, at, size, queue, parts[-1] if parts else None)
        else:
            parts.append(DECODERS.get(kind, _unknown)(body, at, size, queue))
        at += size
    if at != end:
        raise MalformedFrame(f"Operations: {end - at} bytes after the last part")
    if parts:
        operations.append(tuple(parts))
    _check_positions(first, len(operations))
    return Operations(first=first, operations=tuple(operations))


def _check_positions(first: Position, count: int) -> None:
    if type(first) is int and count > 0 <= first <= _ORDINARY_POSITIONS:
        return
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
    if type(part.first) is int and 0 <= part.first <= _ORDINARY_IDS:
        return
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
    return f.pack_fields(_DECLARE_ROWS, part), None


def _decode_declare(body: bytes, at: int, size: int, queue: bytes) -> Declare:
    if size > f.LARGE_BYTES_MAX:
        raise MalformedFrame(f"Declare: {size} bytes, at most {f.LARGE_BYTES_MAX} are allowed")
    values = f.unpack_array("Declare", body[at : at + size])
    return Declare(queue=f.shared_uuid(queue), **f.unpack_fields("Declare", _DECLARE_ROWS, values))


def _encode_copy(part: Copy) -> tuple[bytes, Batch | None]:
    _check_copy(part)
    ids: bytes = f.IDS.to_wire("Copy.ids", part.ids)
    source = f.UUID_.to_wire("Copy.source", part.source)
    head = _COPY.pack(part.first, bool(part.replacement), part.props is not None, source, len(ids)) + ids
    if part.props is None:
        return head, None
    lens = b"".join([_SIZE.pack(len(props)) for props in part.props])
    return b"".join([head, lens, *part.props]), None


def _decode_copy(body: bytes, at: int, size: int, queue: bytes) -> Copy:
    end = at + size
    if size < _COPY.size:
        raise MalformedFrame(f"Copy: {size} bytes, at least {_COPY.size} are needed")
    first, replacement, with_props, source, ids_size = _COPY.unpack_from(body, at)
    if replacement > 1 or with_props > 1:
        raise MalformedFrame(f"Copy: flags must be 0 or 1, not {replacement} and {with_props}")
    at += _COPY.size
    if ids_size > end - at:
        raise MalformedFrame(f"Copy.ids: {ids_size} bytes, {end - at} are left")
    ids = f.IDS.from_wire("Copy.ids", body[at : at + ids_size])
    at += ids_size
    part = Copy(
        queue=f.shared_uuid(queue),
        first=first,
        source=f.shared_uuid(source),
        ids=ids,
        replacement=bool(replacement),
        props=_decode_props(body, at, end, ids.count()) if with_props else None,
    )
    if not with_props and at != end:
        raise MalformedFrame(f"Copy: {end - at} bytes after the ids")
    _check_copy(part)
    return part


def _decode_props(body: bytes, at: int, end: int, count: int) -> tuple[bytes, ...]:
    """As many props as there are ids: their sizes, then their bytes, to the end exactly."""
    if count > (end - at) // _SIZE.size:
        raise MalformedFrame(f"Copy.props: {count} sizes do not fit in {end - at} bytes")
    start = at + count * _SIZE.size
    props = []
    for index in range(count):
        stop = start + _SIZE.unpack_from(body, at + index * _SIZE.size)[0]
        if stop > end:
            raise MalformedFrame(f"Copy.props: {stop - end} bytes too many")
        props.append(body[start:stop])
        start = stop
    if start != end:
        raise MalformedFrame(f"Copy.props: {end - start} bytes after the last")
    return tuple(props)


def _check_copy(part: Copy) -> None:
    count = part.ids.count()
    if not count:
        raise MalformedFrame("Copy.ids: there is no id")
    f.MESSAGE_ID.to_wire("Copy.first", part.first)
    f.MESSAGE_ID.to_wire("Copy.last", part.first + count - 1)
    if part.props is not None and len(part.props) != count:
        raise MalformedFrame(f"Copy.props: {len(part.props)} for {count} messages")


def _encode_drop(part: Drop) -> tuple[bytes, Batch | None]:
    return b"", None


def _decode_drop(body: bytes, at: int, size: int, queue: bytes) -> Drop:
    if size:
        raise MalformedFrame(f"Drop: must be empty, not {size} bytes")
    return Drop(queue=f.shared_uuid(queue))


def _unknown(body: bytes, at: int, size: int, queue: bytes) -> Part:
    raise MalformedFrame(f"Operations: part kind {body[at - _PART.size]} is unknown")


ENCODERS: Final[Mapping[type[Part | FanOut], Callable[[Any], tuple[bytes, Batch | None]]]] = {
    Enqueue: _encode_enqueue,
    Dequeue: _encode_dequeue,
    SkipIds: _encode_skip,
    Declare: _encode_declare,
    Copy: _encode_copy,
    Drop: _encode_drop,
    FanOut: encode_fan_out,
}
DECODERS: Final[Mapping[int, Callable[[bytes, int, int, bytes], Part]]] = {
    Enqueue.PART: _decode_enqueue,
    Dequeue.PART: _decode_dequeue,
    SkipIds.PART: _decode_skip,
    Declare.PART: _decode_declare,
    Copy.PART: _decode_copy,
    Drop.PART: _decode_drop,
}
