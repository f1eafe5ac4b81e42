"""What a primary does alone, in queues whose messages are not replicated (LV2, LV5).

Such an operation has no position and is never sent. Its answer waits for this node's disk, and until the declaration of
the queue is complete: then no other history can undo the declaration, and with it what was stored.

    cover     the position of that declaration; of the activation, if the queue was there before; 0 for level none
    stored    counts the operations made here alone. What is not above it, and whose cover is safe, is complete
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from qpidha.core.births import OWN_OBJECTS
from qpidha.core.entering import enter
from qpidha.core.local import LocalQueues
from qpidha.core.outbox import Outbox
from qpidha.core.primary.completion import Guards
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import Safe, Stored
from qpidha.journal import Insert, Remove, Skip
from qpidha.seq import SequenceSet
from qpidha.types import Generation, Level, NodeId, Position, QueueId, level_of
from qpidha.wire.batch import Batch

ACTIVATION: Position = 1


class LocalWork:
    """The local queues of one primary, and what is pending in them."""

    def __init__(self, queues: LocalQueues, node: NodeId, generation: Generation, out: Outbox) -> None:
        self.queues = queues
        self.guards = Guards()
        self.stored = 0
        """The number of operations that were made here alone in this generation."""
        self.declared = 0
        """The number of queues of level none that were declared in this generation."""
        self._told = 0
        self._covers: dict[QueueId, Position] = {}
        """Of the queues of level configuration whose declaration may be incomplete."""
        self._covering: deque[tuple[Position, QueueId]] = deque()
        self._nodes = frozenset({node})
        self.generation = generation
        """Of the primary."""
        self._out = out

    def cover(self, queues: Iterable[QueueId]) -> Position:
        """The position that has to be safe before an operation on these queues is complete (LV5)."""
        return max(map(self._cover, queues), default=0)

    def _cover(self, queue: QueueId) -> Position:
        return 0 if level_of(queue) is Level.NONE else self._covers.get(queue, ACTIVATION)

    # --- queues ----------------------------------------------------------------------------------

    def created(self, queue: ReplicatedQueue, position: Position) -> None:
        """A queue was declared, by the operation at this position if it has an object."""
        self.queues.add(queue)
        if queue.queue == OWN_OBJECTS:
            return
        if level_of(queue.queue) is Level.NONE:
            self.declared += 1
        else:
            self._covers[queue.queue] = position
            self._covering.append((position, queue.queue))

    def dropped(self, queue: QueueId) -> None:
        """A queue was deleted. What is pending in it completes as without the deletion (Q6)."""
        self.queues.drop(queue)

    # --- messages --------------------------------------------------------------------------------

    def made(self) -> None:
        """An operation was made here alone: its changes are in the next `Ready`."""
        self.stored += 1

    def publish(self, queue: ReplicatedQueue, batch: Batch) -> tuple[Position, SequenceSet]:
        """Hold a batch. Returns the cover, and the ids."""
        if (entry := enter(queue, self.generation)) is not None:
            self._out.persist(entry)
        ids, cover = queue.append(batch), self._cover(queue.queue)
        self._out.persist(Insert(queue.queue, ids, batch))
        self.guards.published(queue.queue, queue.spec.settle, ids.first, ids.last, cover)
        self.made()
        return cover, ids

    def accept(self, queue: ReplicatedQueue, gone: SequenceSet) -> tuple[Position, SequenceSet]:
        """Messages were removed from the queue. Returns the cover, and the ids."""
        cover = self._cover(queue.queue)
        if gone:
            self._out.persist(Remove(queue.queue, gone))
            self.guards.dequeued(queue.queue, gone, cover)
            self.made()
        return cover, gone

    def skip(self, queue: ReplicatedQueue) -> Position:
        """Ids of the queue were skipped. Returns the cover."""
        self._out.persist(Skip(queue.queue, queue.next))
        self.made()
        return self._cover(queue.queue)

    # --- completion ------------------------------------------------------------------------------

    def complete(self, safe: Position) -> None:
        """Complete what was made: it is in the same `Ready`, so it is durable here before this is told."""
        while self._covering and self._covering[0][0] <= safe:
            del self._covers[self._covering.popleft()[1]]
        if self.stored > self._told:
            self._told = self.stored
            self._out.complete(Stored(self.stored, self.generation, self._nodes))
        for queue, upto, consumed in self.guards.advance(safe):
            self._out.complete(Safe(queue, upto, self.generation, self._nodes, consumed))

    def check(self, safe: Position) -> None:
        """Raise `InvariantError` if an invariant does not hold. For tests."""
        if self.stored == self._told:  # Else the next `Ready` completes what was made.
            self.guards.check(safe)
        for queue in self.queues:
            queue.check()
