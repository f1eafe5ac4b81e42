"""What can happen in a run, as a chart shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from qpidha.types import Generation, NodeId, Record

RECORD: Final = "(record)"
"""The line of the cluster manager, among those of the nodes."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the walk or scenario, or a comment."""

    kind: str
    """``client``, ``repair``, ``look``, ``fault`` or ``comment``."""
    text: str


@dataclass(eq=False, slots=True)
class Arrow:
    """A frame, or a compare-and-set. Times are virtual seconds."""

    source: str
    target: str
    kind: str
    """``op``, ``ack``, ``sync``, ``hand`` (shake), ``fence`` or ``cas``."""
    text: str
    """In full, as in a trace."""
    label: str
    """What stands beside the arrow."""
    sent_at: float
    waits: bool = False
    """It was held back."""
    arrived_at: float | None = None
    fate: str = "under way"
    """Or ``arrived``, ``lost``, or ``refused`` (a compare-and-set whose expected version is not the current one)."""
    times: int = 1
    """How often it happened, if repetitions are left out (see `qpidha.testing.picture.fold`)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame or a compare-and-set is sent."""

    arrow: Arrow


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame or a compare-and-set arrives, or is refused."""

    arrow: Arrow


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark beside the line of a node: what clients do, what is rewound, what the node reports."""

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
class NodeSeen:
    """The state of a node from now on."""

    node: NodeId
    role: str
    """A `Role`, or ``down`` or ``paused``."""
    generation: Generation
    member: bool
    """Whether the record counts it as a member, with the disk that it has."""


@dataclass(frozen=True, slots=True)
class RecordSeen:
    """The record of the cluster manager from now on."""

    version: int
    record: Record


What: TypeAlias = Step | Sent | Arrived | Mark | NodeSeen | RecordSeen


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened, and when, in virtual seconds."""

    time: float
    what: What


def span(values: Sequence[str]) -> str:
    """Return ``v1 v2``, or ``v1 … v9 (9)`` for more than four values."""
    return " ".join(values) if len(values) <= 4 else f"{values[0]} … {values[-1]} ({len(values)})"
