"""What clients wait for from one primary of a simulated cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from qpidha.testing.invariants.commits import Commit
from qpidha.types import MessageId, Position, QueueId


@dataclass(slots=True)
class Serving:
    """What clients wait for from one primary, in one generation of one boot."""

    publishes: dict[QueueId, list[tuple[MessageId, str]]] = field(default_factory=dict)
    settles: list[tuple[Position, tuple[str, ...]]] = field(default_factory=list)
    deletions: list[tuple[Position, tuple[str, ...]]] = field(default_factory=list)
    """Deleted queues, with what was in them."""
    commits: list[tuple[Position, Commit]] = field(default_factory=list)
    told: list[tuple[Position, Callable[[], None]]] = field(default_factory=list)
    """What else is checked when everything up to a position is complete."""
    delivered: set[tuple[QueueId, MessageId]] = field(default_factory=set)
    """Places of messages."""
