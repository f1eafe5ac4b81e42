"""Values for fuzzing the public calls: valid ones by parameter name, and values that no parameter accepts."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

from qpidha import Batch, SequenceSet, Settings, Settle, journal, types
from qpidha.errors import QpidhaError
from qpidha.journal import PutQueue, PutStatus
from qpidha.transports import MemoryNetwork
from qpidha.types import Fate, Member, QueueSpec, Record, Role

CLUSTER = UUID(int=0xC1)


class CallersOwnError(Exception):
    """An error raised by the caller's own object; it may propagate."""


class Hostile:
    """An object that raises in every operation."""

    def _raise(self, *_: object, **__: object) -> Any:
        raise CallersOwnError

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __repr__ = __index__ = __int__ = __float__ = _raise
    __len__ = __iter__ = __getitem__ = __bool__ = __str__ = __fspath__ = __call__ = __contains__ = _raise
    __hash__ = object.__hash__


class Named(str, Enum):
    """Equal to a text, with another hash."""

    A = "a"


class Elastic(int):
    """An int with arbitrary results of comparisons."""

    def __lt__(self, other: object) -> bool:
        return True

    __le__ = __gt__ = __ge__ = __lt__


def released() -> memoryview:
    view = memoryview(b"gone")
    view.release()
    return view


def failing() -> Iterator[int]:
    yield 1
    raise CallersOwnError


def record() -> Record:
    member = Member("a", UUID(int=1))
    return Record(cluster=CLUSTER, generation=1, primary=("a", UUID(int=2)), members=frozenset({member}))


async def coroutine(*_: object) -> None:
    """A coroutine function, passed where a plain function may be expected."""


JUNK: list[Callable[[], Any]] = [
    lambda: None, lambda: True, lambda: False, lambda: 0, lambda: 1, lambda: 2, lambda: 7, lambda: -1, lambda: 255,
    lambda: 2**31 - 1, lambda: 2**31, lambda: 2**32, lambda: 2**63 - 1, lambda: 2**63, lambda: 2**64 - 2,
    lambda: 2**64 - 1, lambda: 2**64, lambda: -(2**63), lambda: 10**400, lambda: 10**5000, lambda: Elastic(-5),
    lambda: 0.0, lambda: -0.0, lambda: 0.5, lambda: 1e300, lambda: math.nan, lambda: math.inf, lambda: -math.inf,
    lambda: Decimal("NaN"), lambda: Fraction(1, 3), lambda: 1j,
    lambda: "", lambda: "q", lambda: "a", lambda: "5", lambda: "host:1", lambda: "\ud800", lambda: "a\0b",
    lambda: "x" * 70_000, lambda: "../..", lambda: "verify", lambda: "immediate",
    lambda: b"", lambda: b"x", lambda: bytes(300), lambda: bytearray(b"y"), lambda: memoryview(b"zz"), released,
    lambda: memoryview(bytes(8)).cast("Q"), lambda: memoryview(b"abcd")[::2],
    lambda: (), list, dict, set, lambda: [1], lambda: (1, 2), lambda: [b"x"], lambda: [None],
    lambda: ("h", 1), lambda: ("0.0.0.0", 0), lambda: ("h", "1"), lambda: (1, "h"), lambda: {"a": 1}, failing,
    lambda: range(0), lambda: range(1, 3), lambda: range(5, 0, -2), lambda: range(2**80),
    SequenceSet, lambda: SequenceSet([1, 5]), lambda: SequenceSet([(0, 2**64 - 2)]),
    lambda: Batch.pack([b"1", b"2"]), lambda: UUID(int=9), lambda: Settle.IMMEDIATE, lambda: Fate.REWOUND,
    lambda: Role.ACTIVE, Settings, record, lambda: QueueSpec(name="q"), lambda: Path("no such path"),
    object, lambda: object, lambda: Hostile, Hostile, lambda: len, lambda: coroutine, CallersOwnError,
    lambda: QpidhaError("x"), lambda: ..., lambda: NotImplemented, MemoryNetwork,
]  # fmt: skip
ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "-1": lambda: -1,
    "0.5": lambda: 0.5,
    "2**64": lambda: 2**64,
    "an int that compares as it likes": lambda: Elastic(-5),
    "NaN": lambda: math.nan,
    "text that cannot be encoded": lambda: "\ud800",
    "text of a subclass": lambda: Named.A,
    "long text": lambda: "x" * 70_000,
    "bytes": lambda: b"x",
    "a released view": released,
    "an iterator that fails": failing,
    "a uuid": lambda: UUID(int=9),
    "an object": object,
    "an object that raises in every operation": Hostile,
}
"""By name: of each kind that a call may forget one."""
RECORDS = [
    kind
    for module in (types, journal)
    for kind in vars(module).values()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
]
"""Types of the library, which a caller may construct with any values."""

RIGHT: dict[str, list[Callable[[], Any]]] = {
    "data": [lambda: b"x", lambda: bytearray(b"y"), lambda: [b"x", b"y"]],
    "props": [lambda: b"p", lambda: None, lambda: [b"p", b"q"]],
    "batch": [lambda: Batch.pack([b"1", b"2"]), lambda: [b"1"], lambda: (b"1", b"2")],
    "batches": [lambda: [Batch.pack([b"1"]), Batch.pack([b"2"])]],
    "ids": [lambda: 1, lambda: range(1, 3), lambda: SequenceSet([1]), lambda: [1, 2], lambda: {2}],
    "name": [lambda: "q", lambda: "other", lambda: "new"],
    "key": [lambda: b"k", lambda: b"l"],
    "value": [lambda: b"v", lambda: memoryview(b"w")],
    "settle": [lambda: Settle.REPLICATED, lambda: Settle.IMMEDIATE],
    "kind": [lambda: "fifo", lambda: ""],
    "id": [lambda: 1, lambda: 2, lambda: "n"],
    "first_id": [lambda: 0, lambda: 1],
    "messages_max": [lambda: 0, lambda: 10],
    "bytes_max": [lambda: 0, lambda: 1000],
    "callback": [lambda: lambda *_: None],
    "timeout_s": [lambda: 0.01, lambda: 0],
    "ttl_s": [lambda: 1.0],
    "node": [lambda: "a", lambda: "b"],
    "info": [lambda: b"info"],
    "new": [record],
    "expected": [lambda: 1, lambda: 0],
    "queue": [lambda: UUID(int=5)],
    "spec": [lambda: QueueSpec(name="q")],
    "changes": [list, lambda: [PutStatus(CLUSTER, 1, True)], lambda: [PutQueue(UUID(int=5), QueueSpec(name="q"), (), 1)]],
    "clean": [lambda: True, lambda: False],
    "refuse_dirty": [lambda: False],
    "lines_max": [lambda: 3],
    "address": [lambda: ("127.0.0.1", 0), lambda: ("a", 1)],
    "on_link": [lambda: lambda link: None],
    "first": [lambda: 1, lambda: 5],
    "last": [lambda: 7, lambda: None],
    "found_as": [lambda: CLUSTER],
    "found": [lambda: None],
    "peer": [lambda: ("h", 1)],
    "count": [lambda: 1, lambda: 3],
    "endpoints": [lambda: ["127.0.0.1:1"], lambda: ["127.0.0.1:1", "localhost:2"]],
    "prefix": [lambda: "/qpidha/door", lambda: "/x"],
    "place": [lambda: "etcd://127.0.0.1:1/x", lambda: "zookeeper://127.0.0.1:1/x", lambda: "postgresql://127.0.0.1:1/x"],
}  # fmt: skip
"""Valid values by parameter name: without them, only the first check of each call would be reached."""


def junk(draw: random.Random, depth: int = 0) -> Any:
    """Return an arbitrary value, or a type of the library constructed with arbitrary values."""
    kind = draw.random()
    if kind < 0.1 and depth < 2:
        made = draw.choice(RECORDS)
        fields = {f.name: argument(draw, f.name, depth + 1) for f in dataclasses.fields(made) if f.init}
        return made(**fields)
    if kind < 0.15 and depth < 2:
        return [junk(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind < 0.18 and depth < 2:
        return tuple(junk(draw, depth + 1) for _ in range(draw.randrange(4)))
    return draw.choice(JUNK)()


def argument(draw: random.Random, name: str, depth: int = 0) -> Any:
    """Return a value for a parameter of this name: mostly a valid one."""
    if name in RIGHT and draw.random() < 0.6:
        return draw.choice(RIGHT[name])()
    return junk(draw, depth)
