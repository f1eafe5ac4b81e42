"""Sequence numbers: serial arithmetic, sets of 64-bit ids, the id tracker. Import from `qpidha.seq`."""

from collections.abc import Iterable, Iterator
from typing import ClassVar, SupportsIndex, TypeAlias, final

from typing_extensions import Buffer

__all__ = [
    "SequenceSet",
    "SequenceTracker",
    "serial_add",
    "serial_compare",
    "serial_distance",
    "serial_le",
    "serial_lt",
    "serial_unwrap",
    "serial_wrap",
]

_TrackerState: TypeAlias = tuple[int, int, int, int, int, bytes]

def serial_add(a: SupportsIndex, n: SupportsIndex) -> int:
    """The serial number `n` (0 .. 2**31 - 1) after `a`, modulo 2**32."""

def serial_lt(a: SupportsIndex, b: SupportsIndex) -> bool:
    """Whether `a` comes before `b`. SequenceOrderError if they are exactly 2**31 apart."""

def serial_le(a: SupportsIndex, b: SupportsIndex) -> bool:
    """Whether `a` comes before `b` or is `b`."""

def serial_compare(a: SupportsIndex, b: SupportsIndex) -> int:
    """-1, 0 or 1: `a` comes before `b`, is `b`, comes after `b`."""

def serial_distance(a: SupportsIndex, b: SupportsIndex) -> int:
    """How many steps lead from `a` to `b`; negative when `b` comes first."""

def serial_wrap(id: SupportsIndex) -> int:
    """The 32 bits of an id that travel on the wire."""

def serial_unwrap(wire: SupportsIndex, reference: SupportsIndex) -> int:
    """The id nearest to the id `reference` whose low 32 bits are `wire`."""

def _set_block_capacity(n: int) -> int:
    """For tests: blocks hold at most `n` runs (4 or more) from now on. Returns the number until now."""

def _set_allocation_limit(n: int | None) -> None:
    """For tests: let `n` more allocations of this module succeed, then fail all. None: no limit."""

@final
class SequenceSet:
    """A set of sequence ids (0 .. 2**64 - 2), kept as disjoint ascending runs."""

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(
        self, items: SequenceSet | Iterable[SupportsIndex | tuple[SupportsIndex, SupportsIndex]] = (), /
    ) -> None: ...
    @classmethod
    def from_range(cls, first: SupportsIndex, last: SupportsIndex) -> SequenceSet:
        """The set of all ids from `first` to `last`, both included."""

    def add(self, first: SupportsIndex, last: SupportsIndex | None = None) -> None:
        """Add one id, or the closed range `first` .. `last`."""

    def discard(self, first: SupportsIndex, last: SupportsIndex | None = None) -> None:
        """Remove one id, or all ids of the closed range `first` .. `last`. Absent ids are fine."""

    def clear(self) -> None:
        """Remove all ids and give the memory back."""

    def copy(self) -> SequenceSet:
        """An independent set with the same ids."""

    def __contains__(self, id: SupportsIndex, /) -> bool: ...
    def __len__(self) -> int:
        """How many ids there are. OverflowError if ``len()`` cannot tell: use `count`."""

    def __bool__(self) -> bool: ...
    def __iter__(self) -> Iterator[int]:
        """The ids, ascending. RuntimeError if the set changes meanwhile."""

    def runs(self) -> Iterator[tuple[int, int]]:
        """The runs ``(first, last)``, ascending. RuntimeError if the set changes meanwhile."""

    @property
    def run_count(self) -> int:
        """How many runs there are."""

    @property
    def first(self) -> int:
        """The lowest id. IndexError if the set is empty."""

    @property
    def last(self) -> int:
        """The highest id. IndexError if the set is empty."""

    def count(self, first: SupportsIndex | None = None, last: SupportsIndex | None = None) -> int:
        """How many ids are in the closed range; None is an open bound."""

    def ceiling(self, id: SupportsIndex) -> int | None:
        """The least member at `id` or above it, or None."""

    def floor(self, id: SupportsIndex) -> int | None:
        """The greatest member at `id` or below it, or None."""

    def slice(self, first: SupportsIndex, last: SupportsIndex) -> SequenceSet:
        """The members in the closed range, as a new set."""

    def take(self, n: SupportsIndex) -> SequenceSet:
        """The `n` lowest ids, or all if there are fewer, as a new set."""

    def __or__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __and__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __sub__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __xor__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __ror__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __rand__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __rsub__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __rxor__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __ior__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __iand__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __isub__(self, other: SequenceSet, /) -> SequenceSet: ...
    def __ixor__(self, other: SequenceSet, /) -> SequenceSet: ...
    def isdisjoint(self, other: SequenceSet, /) -> bool:
        """Whether no id is in both sets."""

    def issubset(self, other: SequenceSet, /) -> bool:
        """Whether every id of this set is in `other`."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __le__(self, other: SequenceSet, /) -> bool: ...
    def __lt__(self, other: SequenceSet, /) -> bool: ...
    def __ge__(self, other: SequenceSet, /) -> bool: ...
    def __gt__(self, other: SequenceSet, /) -> bool: ...
    def encode(self) -> bytes:
        """The set as bytes; equal sets give equal bytes. No limit on the number of runs."""

    def encode_chunks(self, max_runs: int) -> list[bytes]:
        """The set cut into sets of at most `max_runs` runs, each encoded, lowest first. Never empty."""

    @classmethod
    def decode(cls, buffer: Buffer, *, max_runs: SupportsIndex | None = None) -> SequenceSet:
        """The set that `buffer` encodes, all of it. SequenceDecodeError for anything else."""

    def __sizeof__(self) -> int: ...
    def __reduce__(self) -> tuple[object, tuple[bytes]]: ...
    def check(self) -> None:
        """Raise InvariantError if an invariant does not hold. For tests."""

@final
class SequenceTracker:
    """Gives out ids and follows the ids seen, for one queue in one generation."""

    def __init__(self, next_id: SupportsIndex = 1, *, span_limit: int = 2147418112) -> None: ...
    def allocate(self, count: SupportsIndex = 1, lowest_live: SupportsIndex | None = None) -> int:
        """Give out `count` ids in a row and return the first. SequenceSpanError if the live span is full."""

    def retain(self, lowest_live: SupportsIndex, /) -> None:
        """Say that no id below `lowest_live` is alive any more, so that the span can move on."""

    @property
    def next_id(self) -> int:
        """The id that `allocate` gives out next. Above every id seen."""

    @property
    def lowest_live(self) -> int:
        """No id below this one is alive. It is `next_id` if nothing is alive."""

    @property
    def span(self) -> int:
        """How many ids the live ones span: ``next_id - lowest_live``."""

    @property
    def span_limit(self) -> int:
        """What `allocate` keeps `span` below."""

    @property
    def room(self) -> int:
        """How many ids `allocate` can give out now."""

    def receive(self, first: SupportsIndex, last: SupportsIndex | None = None) -> int:
        """Note that an id, or a closed range, came from elsewhere. Returns how many of them are new."""

    def advance(self, next_id: SupportsIndex, /) -> None:
        """Move `next_id` up to at least this, without seeing the ids between, which are gaps."""

    def rewind(self, to_id: SupportsIndex, /) -> SequenceSet:
        """Forget every id at `to_id` and above. Returns those of them that were seen."""

    def __contains__(self, id: SupportsIndex, /) -> bool:
        """Whether the id was seen."""

    @property
    def base(self) -> int:
        """Where following began. All ids below are taken as seen."""

    @property
    def watermark(self) -> int:
        """The highest id such that all from `base` up to it were seen; ``base - 1`` if none."""

    @property
    def missing(self) -> int:
        """How many ids from `base` to ``next_id - 1`` were not seen."""

    @property
    def duplicates(self) -> int:
        """How many ids `receive` was told that had been seen before, modulo 2**64."""

    def gaps(self) -> SequenceSet:
        """The ids from `base` to ``next_id - 1`` that were not seen."""

    @staticmethod
    def wrap(id: SupportsIndex, /) -> int:
        """The low 32 bits of an id, its form on the wire."""

    def unwrap(self, wire: SupportsIndex, reference: SupportsIndex | None = None) -> int:
        """The id nearest to `reference` (normally `next_id`) whose low 32 bits are `wire`."""

    def state(self) -> _TrackerState:
        """All that must survive a restart, as a tuple of int and bytes."""

    @classmethod
    def resume(cls, state: _TrackerState, *, span_limit: int = 2147418112) -> SequenceTracker:
        """A tracker that goes on from a stored `state`. SequenceDecodeError if it is not one."""

    def check(self) -> None:
        """Raise InvariantError if an invariant does not hold. For tests."""
