"""What can happen in a run, as a picture needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from qpidha.types import Generation, NodeId, Record

RECORD: Final = "(record)"
"""The line of the cluster manager, among those of the nodes."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the driver of the run did next, or wants to say."""

    kind: str
    """``client``, ``repair``, ``look``, ``fault`` or ``comment``."""
    text: str


@dataclass(eq=False, slots=True)
class Arrow:
    """A frame, or a compare-and-set."""

    source: str
    target: str
    kind: str
    """``op``, ``ack``, ``sync``, ``hand`` (shake), ``fence`` or ``cas``."""
    text: str
    """In full, as in a trace."""
    label: str
    left: float
    waits: bool = False
    """It could not pass at once."""
    landed: float | None = None
    fate: str = "under way"
    """Or ``arrived``, ``lost``, or ``refused`` (by the manager: the record is another by now)."""
    times: int = 1
    """How often this was tried, if the others are left out (see `qpidha.testing.picture.fold`)."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """A frame or a compare-and-set is sent."""

    arrow: Arrow


@dataclass(frozen=True, slots=True)
class Lands:
    """A frame or a compare-and-set arrives, or is refused."""

    arrow: Arrow


@dataclass(frozen=True, slots=True)
class Mark:
    """Something at a node that is no frame."""

    node: NodeId
    kind: str
    """``publish``, ``ok``, ``doubt``, ``consume``, ``rewind`` or ``note``."""
    word: str
    values: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the word and the values."""
        return f"{self.word} {span(self.values)}".strip()


@dataclass(frozen=True, slots=True)
class Look:
    """How a node looks from now on."""

    node: NodeId
    role: str
    """A `Role`, or ``down`` or ``paused``."""
    generation: Generation
    member: bool
    """In the in-sync set of the record."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the cluster manager keeps from now on."""

    version: int
    record: Record


What: TypeAlias = Step | Leaves | Lands | Mark | Look | Kept


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened, at a time in seconds since the run began."""

    time: float
    what: What


def span(values: Sequence[str]) -> str:
    """``v1 v2``, or ``v1 … v9 (9)`` for many."""
    return " ".join(values) if len(values) <= 4 else f"{values[0]} … {values[-1]} ({len(values)})"
