"""What a store is asked to make durable. One list of changes is one transaction (rules C5, N1, N2).

The core emits changes, a `MessageStore` applies them, and on the next start the store returns the result
of all of them as a `StoreImage`. Ids never carry a generation here: a queue's lineage says which
generation gave an id out, and lineage and content change in the same transaction (rule N1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias
from uuid import UUID

from qpidha.seq import SequenceSet
from qpidha.types import Entry, Fate, Generation, MessageId, NodeId, QueueId, QueueSpec
from qpidha.values import value
from qpidha.wire.batch import Batch


class StoreState(Enum):
    """How a store was left (architecture, "Store")."""

    EMPTY = "empty"
    """Never belonged to a cluster."""
    CLEAN = "clean"
    """Closed by an orderly stop, after everything was durable."""
    DIRTY = "dirty"
    """In use, or its process was killed. Serves only if the record lists it as a member."""
    DAMAGED = "damaged"
    """Failed verification. Never serves, never promoted, while another copy exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """Node, cluster and generation of a store. Changes in the same transaction as the data it describes."""

    node: NodeId
    epoch: UUID
    """One life of this store: random, new whenever it is created, emptied or quarantined (rule J3)."""
    cluster: UUID | None = None
    generation: Generation = 0
    """The highest generation seen; frames of a lower one are refused (rule C2)."""
    primary: bool = False
    """True while this node was the primary of ``generation``."""
    state: StoreState = StoreState.EMPTY
    stop: UUID | None = None
    """Random, new at each clean stop. Clean stores of one generation with different stops may conflict (H56)."""

    def with_(self, **changes: object) -> StoreStatus:
        """A copy with these fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class PutStatus:
    """Replace cluster, generation and primary flag, together with the data they describe (D4).

    ``state`` and ``stop`` change only when a store is opened or closed.
    """

    cluster: UUID
    generation: Generation
    primary: bool


@dataclass(frozen=True, slots=True)
class PutQueue:
    """Create a queue, or replace its lineage and next id. Content is not touched."""

    queue: QueueId
    spec: QueueSpec
    lineage: tuple[Entry, ...]
    next: MessageId


@dataclass(frozen=True, slots=True)
class DropQueue:
    """Forget a queue and everything in it. What must be kept was quarantined earlier in the same transaction."""

    queue: QueueId


@value
class Insert:
    """Add messages at their ids: the n-th of the batch has the n-th of the ids. Raises next above them.

    Ids are ascending, usually one run at the end of the queue; after a resync they may have holes and
    fall between messages that are there (rule C6).
    """

    queue: QueueId
    ids: SequenceSet
    batch: Batch


@dataclass(frozen=True, slots=True)
class Stage:
    """Keep messages aside that a plan has brought and that are not content yet (rule C5).

    Given only to a `qpidha.interfaces.StagingStore`. They are in no image: a store that is opened has none. Of one queue
    each id is set aside once. The queue need not be there yet, and may hold other messages with the same ids.
    """

    queue: QueueId
    ids: SequenceSet
    batch: Batch


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make these messages, all of them set aside, the content of their queue, as an `Insert` of them would.

    What else is set aside for the queue is forgotten.
    """

    queue: QueueId
    ids: SequenceSet


@dataclass(frozen=True, slots=True)
class Unstage:
    """Forget all messages that are set aside, of all queues."""


@value
class Remove:
    """Remove messages. Ids that the queue does not hold are allowed. Raises next above all of them (rule O2)."""

    queue: QueueId
    ids: SequenceSet


@dataclass(frozen=True, slots=True)
class Skip:
    """Raise next to at least this id: ids below it are given out (rules O2, N2)."""

    queue: QueueId
    next: MessageId


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Keep what a flip removes from a queue until its fate is settled (rule W1).

    The queue's name is kept too: the queue itself may be gone when the messages are handed over.
    """

    queue: QueueId
    name: str
    generation: Generation
    ids: SequenceSet
    batch: Batch
    fate: Fate


@dataclass(frozen=True, slots=True)
class Release:
    """These identities leave quarantine: handed over and taken, or found alive again (rule W2)."""

    queue: QueueId
    generation: Generation
    ids: SequenceSet


@dataclass(frozen=True, slots=True)
class Audit:
    """One line of the audit record: what was discarded, when it was handed over, under which generation."""

    event: str
    generation: Generation
    queue: str
    detail: str


Change: TypeAlias = (
    PutStatus
    | PutQueue
    | DropQueue
    | Insert
    | Stage
    | Adopt
    | Unstage
    | Remove
    | Skip
    | Quarantine
    | Release
    | Audit
)


@dataclass(slots=True)
class QueueImage:
    """One queue as the store holds it."""

    queue: QueueId
    spec: QueueSpec
    lineage: tuple[Entry, ...]
    next: MessageId
    held: Sequence[tuple[SequenceSet, Batch]] = ()
    """Live messages: disjoint id sets in ascending order of their first id, each with its batch."""


@dataclass(slots=True)
class StoreImage:
    """Everything a store holds, as loaded at the start."""

    status: StoreStatus
    queues: Sequence[QueueImage] = ()
    quarantine: Sequence[Quarantine] = ()
