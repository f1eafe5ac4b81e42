"""The record as text that operators can read, in a file or in an engine: JSON, with a format number and a checksum."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from qpidha.checks import NODE_ID, SECONDS, Rule, instance_of, integer
from qpidha.errors import ClusterError
from qpidha.types import GENERATION_MAX, Member, Record, Versioned

T = TypeVar("T")

FORMAT = 1
VERSION_MAX = 2**63 - 1


RECORD = instance_of(Record)
IDENTITY = instance_of(UUID)
GENERATION = integer(0, GENERATION_MAX)
VERSION = integer(0, VERSION_MAX)
NONCE = Rule("at most 255 bytes", lambda value: isinstance(value, bytes) and len(value) <= 255)


def check_record(new: Record) -> None:
    """Raises `ArgumentError` if this record could not be written, or not be read again."""
    RECORD("new", new)
    IDENTITY("new.cluster", new.cluster)
    GENERATION("new.generation", new.generation)
    if new.primary is not None:
        PRIMARY("new.primary", new.primary)
    MEMBERS("new.members", new.members)
    NONCE("new.nonce", new.nonce)


def _is_member(value: object) -> bool:
    return isinstance(value, Member) and NODE_ID.fits(value.node) and isinstance(value.epoch, UUID)


def _is_primary(value: object) -> bool:
    return (
        isinstance(value, tuple) and len(value) == 2 and NODE_ID.fits(value[0]) and isinstance(value[1], UUID)
    )


MEMBERS = Rule(
    "a frozenset of Member", lambda value: isinstance(value, frozenset) and all(map(_is_member, value))
)
PRIMARY = Rule("None or (node id, boot id)", _is_primary)


def check_session(node: object, info: object, ttl_s: object) -> None:
    """The arguments of `qpidha.interfaces.RecordStore.open_session`. Raises `ArgumentError`."""
    NODE_ID("node", node)
    INFO("info", info)
    SECONDS("ttl_s", ttl_s)


INFO_BYTES_MAX = 32 * 1024
"""The info that a session file, which stores it as text, can hold."""
INFO = Rule(
    f"at most {INFO_BYTES_MAX} bytes", lambda value: isinstance(value, bytes) and len(value) <= INFO_BYTES_MAX
)


def encode_record(found: Versioned) -> bytes:
    """The bytes of a record file."""
    return _framed({"version": found.version, **_content(found.record)})


def encode_value(record: Record) -> bytes:
    """The bytes of a record for an engine that counts versions itself."""
    return _framed(_content(record))


def _content(record: Record) -> dict[str, Any]:
    primary = record.primary
    return {
        "cluster": str(record.cluster),
        "generation": record.generation,
        "primary": None if primary is None else {"node": primary[0], "boot": str(primary[1])},
        "members": [{"node": m.node, "epoch": str(m.epoch)} for m in sorted(record.members)],
        "nonce": record.nonce.hex(),
    }


def _framed(content: dict[str, Any]) -> bytes:
    framed = {"format": FORMAT, "checksum": _checksum(content), "record": content}
    return (json.dumps(framed, indent=2) + "\n").encode()


def decode_record(data: bytes, name: str) -> Versioned:
    """The record in a file of this name.

    Raises:
        ClusterError: The file is damaged, was edited by hand, or has a newer format.
    """
    return _opened(
        data, name, lambda content: Versioned(_record(content), _number(content["version"], 1, VERSION_MAX))
    )


def decode_value(data: bytes, name: str) -> Record:
    """The record that `encode_value` wrote. ``name`` says where it was, for the same errors as of `decode_record`."""
    return _opened(data, name, _record)


def _opened(data: bytes, name: str, decode: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        framed = json.loads(data)
        if type(framed["format"]) is int and framed["format"] > FORMAT:
            raise ClusterError(f"{name} has format {framed['format']}, written by a newer version of qpidha")
        if framed["checksum"] != _checksum(framed["record"]):
            raise ValueError("its checksum is wrong")  # noqa: TRY301 - damaged like all that follows
        return decode(framed["record"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ClusterError(f"{name} is damaged: {reason}; restore it, do not remove it") from error


def _checksum(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(canonical.encode()):08x}"


def _record(content: Mapping[str, Any]) -> Record:
    primary = content["primary"]
    return Record(
        cluster=UUID(content["cluster"]),
        generation=_number(content["generation"], 0, GENERATION_MAX),
        primary=None if primary is None else (_name(primary["node"]), UUID(primary["boot"])),
        members=frozenset(Member(_name(m["node"]), UUID(m["epoch"])) for m in content["members"]),
        nonce=bytes.fromhex(content["nonce"]),
    )


def _number(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{value!r} is not a number from {low} to {high}")
    return value


def _name(value: object) -> str:
    if type(value) is not str or not value:
        raise ValueError(f"{value!r} is not a node id")
    return value
