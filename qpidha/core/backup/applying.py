"""How a backup applies the operations that it follows (C6, O3)."""

from __future__ import annotations

from dataclasses import dataclass

from qpidha.core.backup.operations import check_operation, copy_of
from qpidha.core.entering import enter_for
from qpidha.core.keyed import KeyedQueue
from qpidha.core.local import LocalQueues
from qpidha.core.outbox import Outbox
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.core.ready import Inserted, QueueAdded, QueueRemoved, Removed
from qpidha.journal import DropQueue, Insert, PutQueue, Remove, Skip
from qpidha.seq import SequenceSet
from qpidha.types import Generation, MessageId, QueueId
from qpidha.wire.batch import Batch
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue, Operation, Part, SkipIds


@dataclass(slots=True)
class Flow:
    """What this node received as a backup since it started, for status."""

    resyncs: int = 0
    resync_messages: int = 0
    resync_bytes: int = 0
    messages: int = 0
    bytes: int = 0


class Applier:
    """Applies operations of one primary to the queues of this node."""

    def __init__(
        self,
        queues: Queues,
        local: LocalQueues,
        objects: QueueId,
        outbox: Outbox,
        flow: Flow,
        generation: Generation,
    ) -> None:
        """``objects``: the configuration."""
        self._queues = queues
        self._local = local
        self._objects = objects
        self._out = outbox
        self._flow = flow
        self._generation = generation

    def apply(self, operation: Operation) -> None:
        """One operation. It is checked before it is applied, so it is applied whole or not at all (O3).

        Raises:
            RemoteProtocolError: It cannot be applied.
        """
        has_objects = check_operation(self._queues, operation, self._generation)
        touched = self._objects_touched(operation) if has_objects else None
        for part in operation:
            self._apply(part)
        if touched:
            self._follow_objects(touched)

    def _objects_touched(self, operation: Operation) -> list[bytes]:
        """The keys of the objects of queues that this operation puts or deletes, where that may concern one here."""
        wanted = self._objects.int  # Uuids are compared in Python, and this is asked of every part.
        parts = [part for part in operation if part.queue.int == wanted]
        objects = self._queues.get(self._objects) if parts else None
        if not isinstance(objects, KeyedQueue):
            return []
        keys = list[bytes]()
        for part in parts:
            if isinstance(part, Enqueue):
                objects_put = ((part.batch.props(i), part.batch.data(i)) for i in range(len(part.batch)))
                keys += [key for key, content in objects_put if self._local.concerned_by(key, content)]
            elif isinstance(part, Dequeue) and len(self._local):
                keys += objects.keys_of(part.ids)
        return keys

    def _follow_objects(self, keys: list[bytes]) -> None:
        """The queues of level configuration are those of the objects, in the same transaction (Q2)."""
        objects = self._queues[self._objects]
        assert isinstance(objects, KeyedQueue)  # Else no keys of it were touched.
        for change, notice in self._local.follow(objects, keys, self._generation):
            self._out.persist(change)
            if notice is not None:
                self._out.notify(notice)

    def _apply(self, part: Part) -> None:
        if isinstance(part, Declare):
            self._declare(part)
            return
        q = self._queues[part.queue]
        if (entry := enter_for(q, part, self._generation)) is not None:
            self._out.persist(entry)
        match part:
            case Enqueue():
                batch, flow = part.batch, self._flow
                flow.messages += len(batch)
                flow.bytes += batch.nbytes
                self._insert(q, part.first, batch)
            case Copy():
                self._flow.messages += len(part.ids)
                self._insert(q, part.first, copy_of(self._queues, part))
            case Dequeue():
                if gone := q.remove(part.ids):
                    self._out.notify(Removed(part.queue, gone))
                self._out.persist(Remove(part.queue, part.ids))
            case SkipIds():
                q.skip(part.last)
                self._out.persist(Skip(part.queue, q.next))
            case Drop():  # pragma: no branch - mypy knows that there is no other part
                del self._queues[part.queue]
                self._out.persist(DropQueue(part.queue))
                self._out.notify(QueueRemoved(part.queue))

    def _insert(self, q: ReplicatedQueue, first: MessageId, batch: Batch) -> None:
        ids = SequenceSet.from_range(first, first + len(batch) - 1)
        q.insert(ids, batch)
        self._out.persist(Insert(q.queue, ids, batch))
        self._out.notify(Inserted(q.queue, ids, batch))

    def _declare(self, part: Declare) -> None:
        self._queues[part.queue] = self._queues.make(part.queue, part.spec, part.lineage, part.next)
        self._out.persist(PutQueue(part.queue, part.spec, part.lineage, part.next))
        self._out.notify(QueueAdded(part.queue, part.spec))
