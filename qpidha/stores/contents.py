"""What a store holds, as an index in memory, and what one commit changed in it.

Both stores apply changes with this code, so that a change means the same in both. `MemoryStore` consists
of it; `SqliteStore` also writes the `Delta` of each commit to the database. A message that is added and
removed in the same commit is not in the delta and is never written to the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from qpidha.errors import InvariantError, ensure
from qpidha.journal import (
    Adopt,
    Audit,
    Change,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    QueueImage,
    Release,
    Remove,
    Skip,
    Stage,
    StoreImage,
    StoreState,
    StoreStatus,
    Unstage,
)
from qpidha.seq import SequenceSet
from qpidha.stores.queue import Aside, Queue
from qpidha.stores.row import NONE_LEFT, Row
from qpidha.types import Generation, QueueId


class Shelved:
    """One quarantined batch (rule W1), of which some messages may have been released already."""

    __slots__ = ("change", "row")

    def __init__(self, row: Row, change: Quarantine) -> None:
        self.row = row
        self.change = change
        """With the ids and the batch as they came; what is left of them is the row's business."""

    def image(self) -> Quarantine:
        """The batch as a value, with the live messages only."""
        c = self.change
        return Quarantine(c.queue, c.name, c.generation, self.row.live, self.row.live_batch(), c.fate)


@dataclass(slots=True)
class Delta:
    """The net effect of one commit: messages that it both added and removed are left out."""

    status: bool = False
    """Cluster, generation or primary may have changed."""
    queues: dict[int, Queue] = field(default_factory=dict)
    """Queues whose row must be written, by key."""
    dropped: list[Queue] = field(default_factory=list)
    inserted: dict[int, tuple[Queue, Row]] = field(default_factory=dict)
    shrunk: dict[int, tuple[Queue | None, Row]] = field(default_factory=dict)
    """Lost some of their messages; None: in quarantine."""
    gone: list[tuple[Queue | None, Row]] = field(default_factory=list)
    shelved: dict[int, Shelved] = field(default_factory=dict)
    staged: dict[int, tuple[Aside, Row]] = field(default_factory=dict)
    """Set aside."""
    adopted: dict[int, tuple[Queue, Row]] = field(default_factory=dict)
    """Were set aside by an earlier commit, and are content now."""
    forgotten: list[int] = field(default_factory=list)
    """The keys of those that were set aside by an earlier commit, and are gone."""
    audit: list[Audit] = field(default_factory=list)

    @property
    def payload_bytes(self) -> int:
        """The bytes of messages that it adds to queues, or sets aside. O(rows added)."""
        rows = chain(self.inserted.values(), self.staged.values())
        return sum(row.batch.nbytes for _, row in rows if row.batch is not None)

    def forget_payload(self) -> None:
        """The disk has it now."""
        for queue, row in self.inserted.values():
            row.batch = None
            queue.rows.pack()
        for queue, _ in self.adopted.values():
            queue.rows.pack()
        for aside, row in self.staged.values():
            row.batch = None
            aside.rows.pack()
        for shelved in self.shelved.values():
            shelved.row.batch = None


class Contents:
    """Everything one store holds. Not thread-safe; after an exception it must not be used again."""

    __slots__ = (
        "next_queue_key",
        "next_row_key",
        "queues",
        "queues_digest",
        "shelf",
        "shelf_digest",
        "staged",
        "status",
    )

    def __init__(self, status: StoreStatus) -> None:
        self.status = status
        self.queues: dict[QueueId, Queue] = {}
        self.shelf: dict[tuple[QueueId, Generation], list[Shelved]] = {}
        self.staged: dict[QueueId, Aside] = {}
        """In no image."""
        self.queues_digest = 0
        """Sum of the `Queue.crc` of all queues, modulo 2**32."""
        self.shelf_digest = 0
        """As `Queue.digest`, for all quarantined rows."""
        self.next_row_key = 1
        self.next_queue_key = 1

    @property
    def blank(self) -> bool:
        """True if nothing was ever stored for a cluster."""
        return self.status.cluster is None and not self.queues and not self.shelf

    def left(self) -> StoreState:
        """How the store was left: as its mark says, or empty if nothing was ever stored."""
        if self.blank and self.status.state is not StoreState.DAMAGED:
            return StoreState.EMPTY
        return self.status.state

    def shelved(self) -> Iterator[Shelved]:
        """All quarantined batches."""
        for items in self.shelf.values():
            yield from items

    def image(self, queues: Sequence[QueueImage] | None = None) -> StoreImage:
        """Everything as a value, with the state it was left in. Batches are shared unless a part of them is gone.

        Args:
            queues: The queues, if the rows do not have their messages.
        """
        if queues is None:
            queues = [q.image() for q in self.queues.values()]
        return StoreImage(
            self.status.with_(state=self.left()), queues, [item.image() for item in self.shelved()]
        )

    # --- changes -----------------------------------------------------------------------------------

    def apply(self, changes: Sequence[Change]) -> Delta:
        """Apply all changes, in order, and say what they changed together.

        Raises:
            InvariantError: A change names an unknown queue, or inserts ids that are held.
        """
        delta = Delta()
        for change in changes:
            match change:
                case Insert():
                    self._insert(change, delta)
                case Stage() | Adopt() | Unstage():
                    self._set_aside(change, delta)
                case Remove(queue=queue, ids=ids):
                    self._remove(queue, ids, delta)
                case Skip(queue=queue, next=next):
                    self._touch(queue, delta).raise_next(next)
                case PutStatus():
                    self.status = self.status.with_(
                        cluster=change.cluster, generation=change.generation, primary=change.primary
                    )
                    delta.status = True
                case PutQueue():
                    self._put_queue(change, delta)
                case DropQueue(queue=queue):
                    self._drop_queue(queue, delta)
                case Quarantine():
                    self._quarantine(change, delta)
                case Release():
                    self._release(change, delta)
                case Audit():
                    delta.audit.append(change)
        return delta

    def _touch(self, queue: QueueId, delta: Delta) -> Queue:
        found = self.queues.get(queue)
        if found is None:
            raise InvariantError("a change names a queue that the store knows")
        delta.queues[found.key] = found
        return found

    def _row_key(self) -> int:
        key = self.next_row_key
        self.next_row_key = key + 1
        return key

    def _queue_key(self) -> int:
        key = self.next_queue_key
        self.next_queue_key = key + 1
        return key

    def _insert(self, change: Insert, delta: Delta) -> None:
        queue, ids = self._touch(change.queue, delta), change.ids
        ensure(len(ids) == len(change.batch), "an insert has one id per message")
        key = self.next_row_key
        self.next_row_key = key + 1
        row = Row(key, ids, change.batch)
        queue.add(row)
        if (next := ids.last + 1) > queue.next:
            queue.next = next
        delta.inserted[key] = (queue, row)

    def _set_aside(self, change: Stage | Adopt | Unstage, delta: Delta) -> None:
        match change:
            case Stage():
                self._stage(change, delta)
            case Adopt(queue=queue, ids=ids):
                self._adopt(queue, ids, delta)
            case Unstage():  # pragma: no branch - mypy knows that there is no other one
                self._unstage(delta)

    def _stage(self, change: Stage, delta: Delta) -> None:
        ensure(len(change.ids) == len(change.batch), "what is set aside has one id per message")
        aside = self.staged.get(change.queue)
        if aside is None:
            known = self.queues.get(change.queue)
            aside = self.staged[change.queue] = Aside(self._queue_key() if known is None else known.key)
        row = Row(self._row_key(), change.ids, change.batch)
        aside.rows.add(row)
        delta.staged[row.key] = (aside, row)

    def _adopt(self, name: QueueId, ids: SequenceSet, delta: Delta) -> None:
        queue, aside, adopted = self._touch(name, delta), self.staged.pop(name, None), 0
        rows = [] if aside is None else sorted(aside.rows, key=lambda row: row.first)
        for row in rows:
            all_of_it = row.live
            kept = all_of_it & ids.slice(row.first, row.last)
            if not kept:
                self._forget(row, delta)
                continue
            new = delta.staged.pop(row.key, None) is not None
            (delta.inserted if new else delta.adopted)[row.key] = (queue, row)
            if len(kept) < len(all_of_it):
                row.live = kept
                delta.shrunk[row.key] = (queue, row)
            queue.add(row)
            adopted += len(kept)
        ensure(adopted == len(ids), "what is adopted was set aside")
        if ids:
            queue.next = max(queue.next, ids.last + 1)

    def _unstage(self, delta: Delta) -> None:
        for aside in self.staged.values():
            for row in aside.rows:
                self._forget(row, delta)
        self.staged.clear()

    def _forget(self, row: Row, delta: Delta) -> None:
        """It was set aside, and is gone."""
        if delta.staged.pop(row.key, None) is None:
            delta.forgotten.append(row.key)

    def _remove(self, name: QueueId, ids: SequenceSet, delta: Delta) -> None:
        queue = self._touch(name, delta)
        if not ids:
            return
        for row in queue.rows.take(ids):
            self._shrunk(queue, row, delta)
        queue.raise_next(ids.last + 1)

    def _shrunk(self, queue: Queue | None, row: Row, delta: Delta) -> None:
        """Record that this row lost messages, or all of them."""
        if row.is_live:
            delta.shrunk[row.key] = (queue, row)
            return
        delta.shrunk.pop(row.key, None)
        if delta.inserted.pop(row.key, None) is None and delta.shelved.pop(row.key, None) is None:
            delta.gone.append((queue, row))

    def _put_queue(self, change: PutQueue, delta: Delta) -> None:
        queue = self.queues.get(change.queue)
        if queue is None:
            aside = self.staged.get(change.queue)
            key = self._queue_key() if aside is None else aside.key
            queue = Queue(key, change.queue, change.spec, change.lineage, change.next)
            self.queues[change.queue] = queue
        else:
            queue.spec, queue.lineage, queue.next = change.spec, change.lineage, change.next
        delta.queues[queue.key] = queue

    def _drop_queue(self, name: QueueId, delta: Delta) -> None:
        queue = self.queues.pop(name, None)
        if queue is None:
            return
        for row in queue.rows:
            row.live = NONE_LEFT
            self._shrunk(queue, row, delta)
        delta.queues.pop(queue.key, None)
        delta.dropped.append(queue)

    def _quarantine(self, change: Quarantine, delta: Delta) -> None:
        ensure(len(change.ids) == len(change.batch), "a quarantine has one id per message")
        shelved = Shelved(Row(self._row_key(), change.ids, change.batch), change)
        self.shelf.setdefault((change.queue, change.generation), []).append(shelved)
        delta.shelved[shelved.row.key] = shelved

    def _release(self, change: Release, delta: Delta) -> None:
        place = (change.queue, change.generation)
        for shelved in self.shelf.get(place, ()):
            if shelved.row.take(change.ids):
                self._shrunk(None, shelved.row, delta)
        if left := [shelved for shelved in self.shelf.get(place, ()) if shelved.row.is_live]:
            self.shelf[place] = left
        else:
            self.shelf.pop(place, None)
