"""The fields of control events: what each may hold, and how it looks in a msgpack array.

A *shape* turns a value into what msgpack carries and back, and refuses the same things in both
directions with the same words, so that nothing can be sent that the other end must refuse. Shapes know
no event; `qpidha.wire.codec` lists which event has which.

Nothing on the wire names a class, and only a part of msgpack is allowed: no maps, no extension types, no
floats, arrays of at most `ARRAY_MAX`. Long values (lineages, id sets) travel as ``bin``: msgpack reserves
memory for an announced array before it reads the elements, so a few bytes could claim a lot (Z1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from struct import Struct
from sys import intern
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import msgpack

from qpidha.errors import MalformedFrame, SequenceError
from qpidha.seq import SequenceSet
from qpidha.types import (
    GENERATION_MAX,
    MESSAGE_ID_MAX,
    NODE_ID_BYTES_MAX,
    QUEUE_NAME_BYTES_MAX,
    Entry,
    QueueSpec,
    Settle,
    uuid_of,
)
from qpidha.wire.events import Limits
from qpidha.wire.groups import DIGEST_BYTES, GROUPS_MAX, KEY_BYTES

IDS_RUNS_MAX = 65_536
LINEAGE_ENTRIES_MAX = 65_536
REASON_BYTES_MAX = 1_024
QUEUE_KIND_BYTES_MAX = 255
ARRAY_MAX = 16
CONTROL_BYTES_MAX = 4 * 1024
"""Largest body of a control event without long fields. A longer one is refused before msgpack reads it."""
LARGE_BYTES_MAX = 3 * 1024 * 1024
"""Largest body with a lineage or an id set: room for one of each at its own limit."""
SHOWN_MAX = 64
"""Characters of a refused value that an error message shows."""


class Shape(NamedTuple):
    """How one field travels. Both functions take the field's name, for the error, and the value.

    Both raise `MalformedFrame`; the codec turns it into `LocalProtocolError` when it was encoding.
    """

    to_wire: Callable[[str, Any], Any]
    from_wire: Callable[[str, Any], Any]


Table: TypeAlias = tuple[tuple[str, Shape], ...]
"""The fields of one event, in the order in which they travel."""


class Row(NamedTuple):
    """One field of an event, with the functions that encode and decode it."""

    field: str
    where: str
    """The name of the field in error messages."""
    to_wire: Callable[[str, Any], Any]
    from_wire: Callable[[str, Any], Any]


Rows: TypeAlias = tuple[Row, ...]


def rows(name: str, table: Table) -> Rows:
    """The rows for the table of an event class with this name. Made once for each class."""
    return tuple(Row(field, f"{name}.{field}", shape.to_wire, shape.from_wire) for field, shape in table)


# --- errors --------------------------------------------------------------------------------------


def show(value: object) -> str:
    """A value for an error message: always short, and without recursion into nested values from a peer."""
    if isinstance(value, (str, bytes)):
        return repr(value[:SHOWN_MAX])[:SHOWN_MAX]
    if value is None or (isinstance(value, (int, float)) and value.__sizeof__() <= SHOWN_MAX):
        return repr(value)[:SHOWN_MAX]
    return type(value).__name__


def refuse(where: str, rule: str, value: object) -> MalformedFrame:
    """The error for a field that breaks a rule. It shows the value, shortened."""
    return MalformedFrame(f"{where}: {rule}, not {show(value)}")


# --- msgpack -------------------------------------------------------------------------------------


def pack_fields(table: Rows, event: object) -> bytes:
    """The fields of an event as one msgpack array."""
    values = [to_wire(where, getattr(event, field)) for field, where, to_wire, _ in table]
    packed: bytes = msgpack.packb(values, use_bin_type=True)
    return packed


def unpack_fields(name: str, table: Rows, values: tuple[Any, ...]) -> dict[str, Any]:
    """The same fields, checked, by name."""
    if len(values) != len(table):
        raise MalformedFrame(f"{name}: must have {len(table)} fields, not {len(values)}")
    return {row[0]: row[3](row[1], value) for row, value in zip(table, values, strict=True)}


def unpack_array(where: str, body: bytes) -> tuple[Any, ...]:
    """Decode bytes that are exactly one msgpack array. Its elements are not checked yet: `unpack_fields` does that."""
    try:
        value = msgpack.unpackb(
            body,
            raw=False,
            use_list=False,  # Tuples: the empty one costs nothing, however often a peer sends it.
            strict_map_key=True,
            ext_hook=_no_extension,
            max_str_len=QUEUE_NAME_BYTES_MAX,
            max_bin_len=len(body),
            max_array_len=ARRAY_MAX,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:  # Every error of msgpack is one of these.
        raise MalformedFrame(f"{where}: not msgpack within the limits: {str(error)[:SHOWN_MAX]}") from None
    if type(value) is not tuple:
        raise refuse(where, "must be an array", value)
    return value


def _no_extension(code: int, _data: bytes) -> object:
    raise ValueError(f"extension type {code}")


# --- shapes --------------------------------------------------------------------------------------


def integer(low: int, high: int) -> Shape:
    """The shape of an integer from ``low`` to ``high``, both included. That of a subclass is sent as a plain one."""

    def check(where: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:  # A bool is not an integer here.
            raise refuse(where, f"must be an integer from {low} to {high}", value)
        return value

    def to_wire(where: str, value: Any) -> int:
        return check(where, int(value) if isinstance(value, int) and type(value) is not bool else value)

    return Shape(to_wire, check)


def _flag(where: str, value: Any) -> bool:
    if type(value) is not bool:
        raise refuse(where, "must be true or false", value)
    return value


def text(bytes_min: int, bytes_max: int) -> Shape:
    """The shape of a text with a length from ``bytes_min`` to ``bytes_max`` bytes of UTF-8."""

    def check(where: str, value: Any) -> str:
        if type(value) is str:
            try:
                if bytes_min <= len(value.encode()) <= bytes_max:
                    return value
            except UnicodeEncodeError:
                pass
        raise refuse(where, f"must be {bytes_min} to {bytes_max} bytes of UTF-8", value)

    return Shape(check, check)


def optional(shape: Shape) -> Shape:
    """A shape that is also None."""
    return Shape(
        lambda where, value: None if value is None else shape.to_wire(where, value),
        lambda where, wire: None if wire is None else shape.from_wire(where, wire),
    )


def _reason_to_wire(_where: str, value: Any) -> str:
    # Only people read it, and the link is about to close: a long reason is cut, not refused.
    return str(value).encode("utf-8", "replace")[:REASON_BYTES_MAX].decode("utf-8", "ignore")


def _uuid_to_wire(where: str, value: Any) -> bytes:
    if not isinstance(value, UUID):
        raise refuse(where, "must be a UUID", value)
    return value.bytes


def _uuid_from_wire(where: str, wire: Any) -> UUID:
    if type(wire) is not bytes or len(wire) != 16:
        raise refuse(where, "must be a UUID of 16 bytes", wire)
    return shared_uuid(wire)


@lru_cache(maxsize=1024)
def shared_uuid(raw: bytes) -> UUID:
    """The UUID of these 16 bytes. The same few queues come again and again, and building one is slow."""
    return uuid_of(int.from_bytes(raw, "big"))


def _ids_to_wire(where: str, value: Any) -> bytes:
    if not isinstance(value, SequenceSet):
        raise refuse(where, "must be a SequenceSet", value)
    if value.run_count > IDS_RUNS_MAX:
        raise MalformedFrame(f"{where}: must have at most {IDS_RUNS_MAX} runs, not {value.run_count}")
    return value.encode()


def _ids_from_wire(where: str, wire: Any) -> SequenceSet:
    if type(wire) is not bytes:
        raise refuse(where, "must be an encoded SequenceSet", wire)
    try:
        return SequenceSet.decode(wire, max_runs=IDS_RUNS_MAX)
    except SequenceError as error:
        raise MalformedFrame(f"{where}: {error}") from None


def _key(where: str, value: Any) -> bytes:
    if type(value) is not bytes or len(value) != KEY_BYTES:
        raise refuse(where, f"must be {KEY_BYTES} bytes", value)
    return value


def _digests_to_wire(where: str, value: Any) -> bytes:
    if type(value) is not tuple or any(type(one) is not bytes or len(one) != DIGEST_BYTES for one in value):
        raise refuse(where, f"must be a tuple of {DIGEST_BYTES} bytes each", value)
    if not 0 < len(value) <= GROUPS_MAX:
        raise MalformedFrame(f"{where}: must be 1 to {GROUPS_MAX} digests, not {len(value)}")
    return b"".join(value)


def _digests_from_wire(where: str, wire: Any) -> tuple[bytes, ...]:
    if type(wire) is not bytes or len(wire) % DIGEST_BYTES or not 0 < len(wire) <= GROUPS_MAX * DIGEST_BYTES:
        raise refuse(where, f"must be 1 to {GROUPS_MAX} digests of {DIGEST_BYTES} bytes", wire)
    return tuple(wire[at : at + DIGEST_BYTES] for at in range(0, len(wire), DIGEST_BYTES))


_ENTRY = Struct("<QQ")


def _check_lineage(where: str, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    if len(entries) > LINEAGE_ENTRIES_MAX:
        raise MalformedFrame(f"{where}: must have at most {LINEAGE_ENTRIES_MAX} entries, not {len(entries)}")
    generation_before, first_before = 0, 0
    for generation, first in entries:
        if not generation_before < generation <= GENERATION_MAX:
            raise refuse(
                where, f"generations must ascend from 1 to 2**63 - 1 ({generation_before} before)", generation
            )
        if not first_before <= first <= NEXT_ID_MAX:
            raise refuse(where, f"first ids must not descend ({first_before} before)", first)
        generation_before, first_before = generation, first
    return entries


def _lineage_to_wire(where: str, value: Any) -> bytes:
    try:
        return b"".join([_ENTRY.pack(*entry) for entry in _check_lineage(where, tuple(value))])
    except (TypeError, ValueError):
        raise refuse(where, "must be pairs of integers", value) from None


def _lineage_from_wire(where: str, wire: Any) -> tuple[Entry, ...]:
    if type(wire) is not bytes or len(wire) % _ENTRY.size or len(wire) > LINEAGE_ENTRIES_MAX * _ENTRY.size:
        raise refuse(where, f"must be at most {LINEAGE_ENTRIES_MAX} entries of {_ENTRY.size} bytes", wire)
    short = len(wire) <= LINEAGE_ENTRIES_SHARED * _ENTRY.size
    return _shared_lineage(where, wire) if short else _lineage(where, wire)


def _lineage(where: str, wire: bytes) -> tuple[Entry, ...]:
    return _check_lineage(where, tuple(_ENTRY.iter_unpack(wire)))


LINEAGE_ENTRIES_SHARED = 4
_shared_lineage = lru_cache(maxsize=1024)(_lineage)
"""Most queues have one of the same few short lineages."""


def _spec_to_wire(where: str, value: Any) -> list[Any]:
    if not isinstance(value, QueueSpec):
        raise refuse(where, "must be a QueueSpec", value)
    if not isinstance(value.settle, Settle):
        raise refuse(f"{where}.settle", "must be a Settle", value.settle)
    return [
        QUEUE_NAME.to_wire(f"{where}.name", value.name),
        int(value.settle),
        QUEUE_KIND.to_wire(f"{where}.kind", value.kind),
    ]


def _spec_from_wire(where: str, wire: Any) -> QueueSpec:
    if type(wire) is not tuple or len(wire) != 3:
        raise refuse(where, "must be an array of name, settle and kind", wire)
    settle = SETTLE.from_wire(f"{where}.settle", wire[1])
    return QueueSpec(
        name=QUEUE_NAME.from_wire(f"{where}.name", wire[0]),
        settle=Settle(settle),
        kind=intern(QUEUE_KIND.from_wire(f"{where}.kind", wire[2])),  # The same few for all queues.
    )


def _limits_to_wire(where: str, value: Any) -> list[Any]:
    if not isinstance(value, Limits):
        raise refuse(where, "must be Limits", value)
    return [LIMIT.to_wire(f"{where}.{name}", getattr(value, name)) for name in LIMIT_NAMES]


def _limits_from_wire(where: str, wire: Any) -> Limits:
    if type(wire) is not tuple or len(wire) != len(LIMIT_NAMES):
        raise refuse(where, f"must be an array of {len(LIMIT_NAMES)} limits", wire)
    found = zip(LIMIT_NAMES, wire, strict=True)
    return Limits(**{name: LIMIT.from_wire(f"{where}.{name}", value) for name, value in found})


NEXT_ID_MAX = MESSAGE_ID_MAX + 1
U16 = integer(0, 2**16 - 1)
U32 = integer(0, 2**32 - 1)
U64 = integer(0, 2**64 - 1)
GENERATION = integer(0, GENERATION_MAX)
POSITION = integer(0, 2**63 - 1)
COUNT = integer(0, 2**63 - 1)
MESSAGE_ID = integer(0, MESSAGE_ID_MAX)
NEXT_ID = integer(0, NEXT_ID_MAX)
FLAG = Shape(_flag, _flag)
NODE = text(1, NODE_ID_BYTES_MAX)
QUEUE_NAME = text(1, QUEUE_NAME_BYTES_MAX)
QUEUE_KIND = text(0, QUEUE_KIND_BYTES_MAX)
SETTLE = integer(min(Settle), max(Settle))
REASON = Shape(_reason_to_wire, text(0, REASON_BYTES_MAX).from_wire)
UUID_ = Shape(_uuid_to_wire, _uuid_from_wire)
IDS = Shape(_ids_to_wire, _ids_from_wire)
LINEAGE = Shape(_lineage_to_wire, _lineage_from_wire)
SPEC = Shape(_spec_to_wire, _spec_from_wire)
KEY = Shape(_key, _key)
DIGESTS = Shape(_digests_to_wire, _digests_from_wire)
LIMIT = integer(1, 2**63 - 1)
LIMIT_NAMES = tuple(field.name for field in dataclass_fields(Limits))
LIMITS = Shape(_limits_to_wire, _limits_from_wire)
