"""The changes that a commit makes, and how they are made: on the queues, in the store, for those who wait (TX1).

All actions of a commit happen at one position, before any of it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from qpidha.core.entering import enter
from qpidha.core.keyed import CONFIGURATION, OBJECTS, KeyedQueue
from qpidha.core.outbox import Outbox
from qpidha.core.primary.completion import Guards
from qpidha.core.primary.localwork import LocalWork
from qpidha.core.primary.replacements import Replacements
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import QueueAdded, QueueRemoved
from qpidha.journal import DropQueue, Insert, PutQueue, Remove
from qpidha.seq import SequenceSet
from qpidha.types import MessageId, Position, QueueId
from qpidha.wire.batch import Batch
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue

NONE: Final = SequenceSet()
"""Never changed."""


class Draft:
    """One queue as the steps drafted so far leave it."""

    __slots__ = ("dropped", "is_keyed", "keys", "next", "queue", "removed")

    def __init__(self, queue: ReplicatedQueue, next: MessageId) -> None:
        self.queue = queue
        self.next = next
        self.removed = NONE
        self.is_keyed = isinstance(queue, KeyedQueue)
        """It is a table or the configuration."""
        self.keys: dict[bytes, MessageId | None] = {}
        """Of a keyed queue: the keys that were put or erased."""
        self.dropped = False

    @property
    def holds_objects(self) -> bool:
        """It is the configuration, or holds this node's own objects."""
        return self.queue.spec.kind in (CONFIGURATION, OBJECTS)

    @property
    def left(self) -> SequenceSet:
        """What was held before the commit, and is held still. O(runs of the queue)."""
        return self.queue.held - self.removed

    def left_of(self, ids: SequenceSet) -> SequenceSet:
        """Those of these messages. O(runs of ``ids``), in the first step about the queue."""
        held = ids & self.queue.held
        return held - self.removed if self.removed else held

    def has(self, id: MessageId) -> bool:
        """Whether it has this one."""
        return id in self.queue.held and id not in self.removed

    def id_of(self, key: bytes) -> MessageId | None:
        """The message that has this key now."""
        if key in self.keys:
            return self.keys[key]
        assert isinstance(self.queue, KeyedQueue)
        return self.queue.id_of(key)


@dataclass(slots=True)
class Insertion:
    """Messages get ids."""

    draft: Draft
    ids: SequenceSet
    batch: Batch
    part: Enqueue | Copy


@dataclass(slots=True)
class Removal:
    """Messages go: accepted (``target`` None), or replaced by those that the insertion before has made."""

    draft: Draft
    part: Dequeue
    target: Draft | None = None
    across: bool = False
    """Accepted here, and published anew in a queue of another level: they live on there (LV3)."""


@dataclass(frozen=True, slots=True)
class Creation:
    """A queue begins."""

    draft: Draft
    part: Declare


@dataclass(frozen=True, slots=True)
class Deletion:
    """A queue ends."""

    draft: Draft
    part: Drop


Action: TypeAlias = Insertion | Removal | Creation | Deletion


def part_bytes(part: Enqueue | Copy | Dequeue | Declare | Drop) -> int:
    """About how many bytes of a frame this part takes."""
    match part:
        case Enqueue():
            return 64 + part.batch.nbytes
        case Copy():
            props = 0 if part.props is None else sum(4 + len(p) for p in part.props)
            return 96 + 16 * part.ids.run_count + props
        case Dequeue():
            return 64 + 16 * part.ids.run_count
        case Declare():
            return 128 + len(part.spec.name.encode()) + len(part.spec.kind.encode())
        case Drop():  # pragma: no branch - mypy knows that there is no other part
            return 64


def apply(
    actions: Iterable[Action],
    position: Position,
    queues: dict[QueueId, ReplicatedQueue],
    guards: Guards,
    out: Outbox,
    local: LocalWork,
    replacements: Replacements,
    *,
    committed: bool,
) -> None:
    """Make these changes, in order, as the operation at this position. ``committed``: of several steps (TX6, TX7)."""
    for action in actions:
        is_local = action.draft.queue.local
        pending = local.guards if is_local else guards
        match action:
            case Insertion():
                if (entry := enter(action.draft.queue, local.generation)) is not None:
                    out.persist(entry)
                _insert(action, position, pending, out, committed)
            case Removal():
                _follow(action, replacements)
                _remove(action, position, pending, out, committed)
            case Creation(draft=draft, part=part):
                if is_local:
                    local.created(draft.queue, position)
                else:
                    queues[part.queue] = draft.queue
                out.persist(PutQueue(part.queue, part.spec, part.lineage, part.next))
                out.notify(QueueAdded(part.queue, part.spec))
            case Deletion(part=dropped):  # pragma: no branch - mypy knows that there is no other action
                if is_local:
                    local.dropped(dropped.queue)
                else:
                    del queues[dropped.queue]
                replacements.dropped(dropped.queue)
                out.persist(DropQueue(dropped.queue))
                out.notify(QueueRemoved(dropped.queue))


def _insert(action: Insertion, position: Position, guards: Guards, out: Outbox, committed: bool) -> None:
    queue, ids = action.draft.queue, action.ids
    queue.insert(ids, action.batch)
    out.persist(Insert(queue.queue, ids, action.batch))
    if not action.draft.is_keyed:
        settle = queue.spec.settle
        guards.published(queue.queue, settle, ids.first, ids.last, position, committed=committed)


def _follow(action: Removal, replacements: Replacements) -> None:
    """Remember what becomes of the ids (U2)."""
    if action.target is action.draft:
        replacements.updated(action.draft.queue, action.part.ids)
    elif action.target is not None:
        to = action.target.queue  # Its newest messages are those that the insertion before has made.
        replacements.moved(action.draft.queue, action.part.ids, to=(to.queue, to.next - len(action.part.ids)))
    elif action.across:
        replacements.moved(action.draft.queue, action.part.ids)


def _remove(action: Removal, position: Position, guards: Guards, out: Outbox, committed: bool) -> None:
    queue, ids = action.draft.queue, action.part.ids
    queue.remove(ids)
    out.persist(Remove(queue.queue, ids))
    if action.target is not None:
        guards.moved(queue.queue, ids, action.target.queue.queue)
    elif not action.draft.is_keyed:
        guards.dequeued(queue.queue, ids, position, committed=committed)
