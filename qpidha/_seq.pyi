"""Sets of 64-bit ids. Import from `qpidha.seq`."""

from collections.abc import Iterable, Iterator
from typing import ClassVar, SupportsIndex, final

from typing_extensions import Buffer

__all__ = ["SequenceSet"]

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
