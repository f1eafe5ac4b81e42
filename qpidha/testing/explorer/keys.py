"""Canonical forms of objects: equal bytes, equal behaviour from here on.

The explorer must know whether a node was in a state before. Pickles differ with which equal values happen to be
the same object. Here immutable values are encoded by value; a mutable object is encoded where it is first met, and
named by a number wherever it is met again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

from sortedcontainers import SortedDict

from qpidha.core.backup.applying import Flow
from qpidha.core.primary.described import Resync
from qpidha.core.primary.pace import Pace
from qpidha.journal import StoreStatus
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import Member, QueueSpec, Record, Versioned
from qpidha.wire.batch import Batch

Out: TypeAlias = list[str]
Seen: TypeAlias = dict[int, int]
Encode: TypeAlias = Callable[[Any, Out, Seen], None]


def canonical(value: object) -> bytes:
    """Return the canonical form of an object and all that it refers to.

    Raises:
        TypeError: No encoder is known for a type among them, for example one of another package.
    """
    return _text(value).encode()


def _text(value: object) -> str:
    out: Out = []
    _encode(value, out, {})
    return " ".join(out)


def _encode(value: object, out: Out, seen: Seen) -> None:
    of = type(value)
    encode = ENCODERS.get(of)
    if encode is None:
        encode = ENCODERS[of] = _encoder_of(of)
    encode(value, out, seen)


def _all(opening: str, parts: Iterable[object], out: Out, seen: Seen) -> None:
    out.append(opening)
    for part in parts:
        _encode(part, out, seen)
    out.append(".")


def _by_repr(value: object, out: Out, _: Seen) -> None:
    out.append(repr(value))


def _set(value: Iterable[object], out: Out, _: Seen) -> None:
    out.extend(("{", *sorted(map(_text, value)), "."))


def _dict(value: dict[object, object], out: Out, seen: Seen) -> None:
    """In its own order, for that decides in which order things are done."""
    _all("<", (part for pair in value.items() for part in pair), out, seen)


def _once(encode: Encode) -> Encode:
    """For mutable objects: encoded where first met, then only named."""

    def once(value: object, out: Out, seen: Seen) -> None:
        number = seen.get(id(value))
        if number is None:
            seen[id(value)] = len(seen)
            encode(value, out, seen)
        else:
            out.append(f"@{number}")

    return once


def _remembered(encode: Encode) -> Encode:
    """For immutable values that are hashed faster than they are encoded."""
    texts: dict[object, str] = {}

    def remembered(value: object, out: Out, seen: Seen) -> None:
        text = texts.get(value)
        if text is None:
            parts: Out = []
            encode(value, parts, {})
            text = texts[value] = " ".join(parts)
        out.append(text)

    return remembered


def _encoder_of(of: type) -> Encode:
    """Without `ReplicatedQueue.fills`: only a search that goes on compares it, and nothing is searched here."""
    if issubclass(of, Enum):
        return lambda value, out, _: out.append(value.name)
    if issubclass(of, tuple):
        return ENCODERS[tuple]
    slots = [name for base in of.__mro__ for name in getattr(base, "__slots__", ()) if name != "fills"]
    has_dict = bool(of.__dictoffset__)
    if has_dict and (slots or of.__module__.split(".")[0] != "qpidha"):
        raise TypeError(f"no canonical form of {of.__name__}")

    def attributes(value: Any, out: Out, seen: Seen) -> None:
        out.append(of.__name__)
        for name in value.__dict__ if has_dict else slots:
            out.append(name)
            _encode(getattr(value, name), out, seen)
        out.append(".")

    parameters = getattr(of, "__dataclass_params__", None)
    if parameters is not None and parameters.frozen:
        return _remembered(attributes) if of in OFTEN else attributes
    return _once(attributes)


def _decides_nothing(value: object, out: Out, seen: Seen) -> None:
    """For what is the same in all nodes, statistics, or off: the settings of the explorer slow no publishers."""


OFTEN = frozenset({Member, QueueSpec, Record, StoreStatus, Versioned})
ENCODERS: dict[type, Encode] = {
    **dict.fromkeys((type(None), bool, int, float, str, bytes), _by_repr),
    **dict.fromkeys((set, frozenset), _set),
    **dict.fromkeys((dict, Counter, SortedDict), _once(_dict)),
    **dict.fromkeys((list, deque), _once(lambda value, out, seen: _all("[", value, out, seen))),
    **dict.fromkeys((Settings, Flow, Resync, Pace), _decides_nothing),
    tuple: lambda value, out, seen: _all("(", value, out, seen),
    UUID: lambda value, out, _: out.append(value.hex),
    Batch: lambda value, out, _: out.append(bytes(value.raw).hex()),
    SequenceSet: lambda value, out, _: out.append(repr(list(value.runs()))),
}
