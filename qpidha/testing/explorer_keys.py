"""One string of bytes for everything that decides what an object will do: equal bytes, equal behaviour.

The explorer must know whether a node has been in a state before. Pickles do not tell: they depend on which
equal values happen to be the same object. Here values count by what they are, and only what can be changed
keeps its identity: met again, it is named by the number of its first visit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import Any
from uuid import UUID

from sortedcontainers import SortedDict

from qpidha.core.replicator import Flow
from qpidha.core.subscription import Resync
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.wire.batch import Batch

NEVER_DECIDES = (Settings, Flow, Resync)
"""The same everywhere, or counted for people only."""


def canonical(value: object) -> bytes:
    """See the module."""
    out: list[bytes] = []
    _encode(value, out, {})
    return b" ".join(out)


def _encode(value: Any, out: list[bytes], seen: dict[int, int]) -> None:
    match value:
        case None | bool() | float() | int() | str() | bytes() if not isinstance(value, Enum):
            out.append(repr(value).encode())
        case UUID():
            out.append(value.hex.encode())
        case Enum():
            out.append(value.name.encode())
        case Batch():
            out.append(bytes(value.raw).hex().encode())
        case SequenceSet():
            out.append(repr(list(value.runs())).encode())
        case set() | frozenset():
            _several(b"{", sorted(map(canonical, value)), out)
        case tuple():
            _all(b"(", value, out, seen)
        case _ if isinstance(value, NEVER_DECIDES):
            pass
        case _ if is_frozen(value):
            _object(value, out, seen)
        case _:
            _changeable(value, out, seen)


def is_frozen(value: object) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def _changeable(value: Any, out: list[bytes], seen: dict[int, int]) -> None:
    if id(value) in seen:
        out.append(b"@%d" % seen[id(value)])
        return
    seen[id(value)] = len(seen)
    match value:
        case list() | deque():
            _all(b"[", value, out, seen)
        case dict() | SortedDict():  # The order of a dict decides in which order things are done.
            _all(b"<", (part for pair in value.items() for part in pair), out, seen)
        case _:
            _object(value, out, seen)


def _object(value: object, out: list[bytes], seen: dict[int, int]) -> None:
    out.append(type(value).__name__.encode())
    _all(b"=", (part for pair in _attributes(value) for part in pair), out, seen)


def _attributes(value: object) -> list[tuple[str, object]]:
    names = [name for of in type(value).__mro__ for name in getattr(of, "__slots__", ())]
    names += list(getattr(value, "__dict__", ()))
    if not names and not is_frozen(value):
        raise TypeError(f"no canonical form of {type(value).__name__}")
    return [(name, getattr(value, name)) for name in sorted(names)]


def _all(opening: bytes, parts: Iterable[object], out: list[bytes], seen: dict[int, int]) -> None:
    out.append(opening)
    for part in parts:
        _encode(part, out, seen)
    out.append(b".")


def _several(opening: bytes, parts: list[bytes], out: list[bytes]) -> None:
    out += [opening, *parts, b"."]
