"""What a primary knows of one queue of a backup that catches up, and what the catch-up cost (C4)."""

from __future__ import annotations

from dataclasses import dataclass

from qpidha.core.queue import ReplicatedQueue
from qpidha.core.resync import History
from qpidha.seq import SequenceSet
from qpidha.types import MessageId


@dataclass(slots=True)
class Described:
    """One queue as the backup described it, and how far the copy has come."""

    history: History
    keep: SequenceSet | None = None
    """What the backup was to keep when it was planned first (`plan_resync`), some of which may be gone here by now. None:
    not planned yet. Nothing is ever added to it: ids of the common history are not given out again."""
    staged: SequenceSet | None = None
    cursor: MessageId = 0
    """Every message we hold with a lower id is kept or staged."""
    told: bool = False
    """The plan says something of it already."""


def wanted_bytes(queue: ReplicatedQueue, described: Described | None) -> int:
    """About how many bytes the backup still lacks of this queue, by the average size of its messages. O(log runs).

    None: the backup has not described it. Before it was planned, every message that the backup holds counts as kept.
    """
    wanted = held = queue.held.count()
    if described is None:
        pass
    elif described.keep is None:
        wanted -= described.history.held.count()
    else:
        wanted = queue.held.count(described.cursor) - described.keep.count(described.cursor)
    return queue.bytes * max(0, wanted) // max(1, held)


@dataclass(slots=True)
class Resync:
    """What one catch-up cost, for status and audit."""

    began: float = 0.0
    """When the backup subscribed, in the time of ``now``."""
    messages: int = 0
    bytes: int = 0
    dropped: int = 0
