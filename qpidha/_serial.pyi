"""Serial arithmetic (RFC 1982) and the id tracker. Import from `qpidha.seq`."""

from typing import SupportsIndex, TypeAlias, final

from qpidha._seq import SequenceSet

__all__ = [
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
        """Record that an id, or a closed range, came from elsewhere. Returns how many of them are new."""

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
