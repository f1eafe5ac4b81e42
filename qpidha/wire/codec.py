"""Events to frames and back. The layouts are specified in ``docs/wire.md``.

    encode    Frame -> chunks for one vectored write; payloads are not copied
    decode    RawFrame -> Frame; payloads are windows of the frame's body

Control events are msgpack arrays in field order (`CONTROL`). `PlanMessages` and `Operations` carry the
payloads and have fixed layouts. Whatever a peer sends, `decode` raises no other error than `RemoteProtocolError`
(Z2); `encode` raises `LocalProtocolError` for what no peer would accept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

import msgpack

from qpidha.errors import LocalProtocolError, MalformedFrame
from qpidha.types import BytesLike
from qpidha.wire import fields as f
from qpidha.wire import payload, version
from qpidha.wire.events import (
    Acknowledged,
    Established,
    Event,
    Fenced,
    Frame,
    Hello,
    Operations,
    Ping,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    Refused,
    Resubscribe,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from qpidha.wire.framing import HEADER, LENGTH_MAX, LENGTH_MIN, RawFrame
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups, SubscribeRest

__all__ = ["CONTROL", "KINDS", "decode", "encode"]

KINDS: Final[Mapping[int, type[Event]]] = {event.KIND: event for event in get_args(Event)}
"""The closed set of frames. A number that is not here is refused."""

CONTROL: Final[Mapping[type[Event], f.Table]] = {
    Hello: (
        ("version_min", f.U16),
        ("version_max", f.U16),
        ("cluster", f.optional(f.UUID_)),
        ("node", f.NODE),
        ("boot", f.UUID_),
        ("wanted", f.NODE),
        ("limits", f.LIMITS),
    ),
    Welcome: (
        ("version", f.U16),
        ("cluster", f.UUID_),
        ("node", f.NODE),
        ("boot", f.UUID_),
        ("limits", f.LIMITS),
    ),
    Refused: (("code", f.U16), ("reason", f.REASON)),
    Fenced: (("generation", f.GENERATION),),
    Ping: (),
    Subscribe: (("epoch", f.UUID_), ("stored_generation", f.GENERATION), ("queues", f.U32)),
    SubscribeGroups: (
        ("epoch", f.UUID_),
        ("stored_generation", f.GENERATION),
        ("key", f.KEY),
        ("digests", f.DIGESTS),
    ),
    GroupsDiffer: (("groups", f.IDS),),
    SubscribeRest: (("queues", f.U32),),
    SubscribeQueue: (("queue", f.UUID_), ("lineage", f.LINEAGE), ("next", f.NEXT_ID), ("held", f.IDS)),
    PlanQueue: (
        ("queue", f.UUID_),
        ("spec", f.SPEC),
        ("lineage", f.LINEAGE),
        ("next", f.NEXT_ID),
        ("held", f.COUNT),
    ),
    PlanDrop: (("queue", f.UUID_), ("ids", f.IDS), ("staged", f.FLAG)),
    PlanWithdraw: (("queue", f.UUID_),),
    PlanEnd: (("position", f.POSITION), ("queues", f.U32)),
    Progress: (("chunks", f.COUNT),),
    Resubscribe: (),
    Acknowledged: (("position", f.POSITION),),
    Established: (),
}
"""The fields of each control event, in the order in which they travel."""

_ROWS: Final = {kind: f.rows(kind.__name__, table) for kind, table in CONTROL.items()}

_VERSION_AT: Final[Mapping[type[Event], int]] = {Hello: 1, Welcome: 0}
"""Index of the version, the field that decides how many fields there are."""

USUAL: Final = 2**62
"""Generations and sessions up to here need no further check."""

LARGE: Final = frozenset({SubscribeGroups, GroupsDiffer, SubscribeQueue, PlanQueue, PlanDrop})
"""Events with a lineage, digests or an id set, and so with the larger limit on the body."""


def encode(frame: Frame) -> list[BytesLike]:
    """The frame as chunks whose concatenation goes on the wire. Payloads are not copied.

    The body of an `Operations` is kept in the event, so sending it to another session costs a header.

    Raises:
        LocalProtocolError: The frame could never be decoded: a field out of range, too large, empty.
    """
    event, generation, session = frame.event, frame.generation, frame.session
    try:
        if not (
            type(generation) is type(session) is int and 0 <= generation <= USUAL and 0 <= session <= USUAL
        ):
            f.GENERATION.to_wire("generation", generation)
            f.U64.to_wire("session", session)
        body = event.chunks if isinstance(event, Operations) and event.chunks else _encode_body(event)
    except MalformedFrame as error:
        raise LocalProtocolError(f"cannot be sent: {error}") from None
    single = len(body) == 1
    length = LENGTH_MIN + (len(body[0]) if single else sum(map(len, body)))
    if length > LENGTH_MAX:
        raise LocalProtocolError(f"cannot be sent: {type(event).__name__} of {length} bytes")
    header = HEADER.pack(length, event.KIND, 0, 0, generation, session)
    if single:
        return [header + body[0]] if length < payload.COALESCE_BYTES else [header, body[0]]
    return [header, *body]


def _encode_body(event: Event) -> list[BytesLike]:
    if isinstance(event, Operations):  # Of which no body is kept yet.
        event.chunks.extend(payload.encode_operations(event))
        return event.chunks
    if isinstance(event, PlanMessages):
        return [payload.encode_plan(event), event.batch.chunk]
    if type(event) is Acknowledged and type(event.position) is int and 0 <= event.position <= USUAL:
        return [msgpack.packb((event.position,))]
    return [_encode_control(event)]


def decode(raw: RawFrame) -> Frame:
    """The event in a frame.

    Raises:
        RemoteProtocolError: Anything is wrong with it. The link must be closed.
    """
    kind, generation, session, body = raw
    event = KINDS.get(kind)
    if event is None:
        raise MalformedFrame(f"frame: kind {kind} is unknown")
    if generation > USUAL:
        f.GENERATION.from_wire("generation", generation)
    if event is Operations:
        return Frame(generation, session, payload.decode_operations(body))
    if event is Acknowledged and (position := _usual_position(body)) is not None:
        return Frame(generation, session, Acknowledged(position=position))
    if event is PlanMessages:
        return Frame(generation, session, payload.decode_plan(body))
    return Frame(generation, session, _decode_control(event, body))


# --- control -------------------------------------------------------------------------------------


def _encode_control(event: Event) -> bytes:
    kind = type(event)
    rows = _ROWS[kind]
    if isinstance(event, (Hello, Welcome)):
        rows = _rows_of(kind, event.version_max if isinstance(event, Hello) else event.version)
        if len(rows) < len(_ROWS[kind]) and event.limits is not None:
            raise MalformedFrame(f"{kind.__name__}.limits: only since version {version.LIMITS_SINCE}")
    body = f.pack_fields(rows, event)
    if len(body) > _body_max(kind):
        raise MalformedFrame(f"{kind.__name__}: {len(body)} bytes, at most {_body_max(kind)} are allowed")
    return body


def _decode_control(kind: type[Event], body: bytes) -> Event:
    name, rows = kind.__name__, _ROWS[kind]
    if len(body) > _body_max(kind):
        raise MalformedFrame(f"{name}: {len(body)} bytes, at most {_body_max(kind)} are allowed")
    values = f.unpack_array(name, body)
    at = _VERSION_AT.get(kind)
    if at is not None and at < len(values):
        said: int = f.U16.from_wire(f"{name}.{rows[at].field}", values[at])
        rows = _rows_of(kind, said)
        if kind is Hello and said > version.PROTOCOL_MAX:
            values = values[: len(rows)]  # Version rule V2: a sender of a later version may append fields.
    return kind(**f.unpack_fields(name, rows, values))


_INTEGERS: Final = {3: 0xCC, 4: 0xCD, 6: 0xCE}
"""The type of an unsigned integer of msgpack, by the size of an array with nothing else in it."""


def _usual_position(body: bytes) -> int | None:
    """The position in the body of an Acknowledged below 2**32; None: it has another form, and may be wrong.

    A backup acknowledges every message that comes alone, and msgpack takes as long as the rest of decoding it.
    """
    size = len(body)
    if size == 2 and body[0] == 0x91 and body[1] < 0x80:
        return body[1]
    if size > 2 and body[0] == 0x91 and _INTEGERS.get(size) == body[1]:
        return int.from_bytes(body[2:], "big")
    return None


def _rows_of(kind: type[Event], said: int) -> f.Rows:
    """The fields of a Hello or Welcome that names this version."""
    rows = _ROWS[kind]
    return rows if said >= version.LIMITS_SINCE else rows[:-1]


def _body_max(kind: type[Event]) -> int:
    return f.LARGE_BYTES_MAX if kind in LARGE else f.CONTROL_BYTES_MAX
