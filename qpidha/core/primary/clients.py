"""What clients do on the primary of one generation: declare, publish, accept, move, commit. The base of `Primary`.

Of an operation, the parts about messages that are not replicated are not sent; an operation without other parts is made
here alone (`qpidha.core.primary.localwork`, LV2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from qpidha.checks import shown
from qpidha.core.calls import COUNT, check_given_out, check_ids, check_move, check_publish
from qpidha.core.chunks import split_ids
from qpidha.core.copies import published
from qpidha.core.entering import enter
from qpidha.core.keyed import ConfigurationQueue, KeyedQueue
from qpidha.core.outbox import Outbox
from qpidha.core.primary.actions import apply
from qpidha.core.primary.admission import Admission
from qpidha.core.primary.completion import Guards
from qpidha.core.primary.draft import Drafting
from qpidha.core.primary.localwork import LocalWork
from qpidha.core.primary.replacements import Replacements
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.core.steps import Committed, DeclareQueue, DeleteQueue, Move, Step
from qpidha.errors import ArgumentError, UnknownQueue
from qpidha.journal import Insert, Remove, Skip
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import Generation, Level, Position, QueueId, QueueSpec, level_of
from qpidha.wire.batch import Batch
from qpidha.wire.events import Enqueue, Part, SkipIds


class ClientCalls(ABC):
    """Base of `Primary`: what clients may ask for, and what is pending for them."""

    def __init__(
        self,
        generation: Generation,
        queues: Queues,
        configuration: ConfigurationQueue,
        local: LocalWork,
        admission: Admission,
        outbox: Outbox,
    ) -> None:
        self.generation = generation
        self.configuration = configuration
        """The queue that holds the cluster's objects (Q1)."""
        self.queues = queues
        self.local = local
        """What is done here alone, in queues whose messages are not replicated."""
        self.settings: Settings = admission.settings
        self.position: Position = 1
        """The newest operation; the first is the activation (P3)."""
        self._admission = admission
        self._guards = Guards()
        self.replaced = Replacements(self.settings)
        """What became of ids that clients may still name (U2)."""
        self._out = outbox

    def guards_of(self, queue: QueueId) -> Guards:
        """The guards with the pending publishes of this queue."""
        return self._guards if level_of(queue) is Level.MESSAGES else self.local.guards

    @abstractmethod
    def operate(self, *parts: Part, nbytes: int = 64) -> Position:
        """One operation: its parts are applied in one transaction on every backup (O3)."""

    @abstractmethod
    def operate_accept(self, queue: QueueId, ids: SequenceSet) -> None:
        """One operation: these messages are accepted. Until it is sent, accepts that come next may join it."""

    @abstractmethod
    def join_accept(self, queue: QueueId, ids: SequenceSet) -> bool:
        """Add these messages to the newest operation, if that is an accept of the same queue which was not sent yet."""

    def declare(
        self, spec: QueueSpec, arguments: bytes = b"", level: Level = Level.MESSAGES
    ) -> tuple[QueueId, Position]:
        """A new queue, of this generation from its first id on, and its object in the configuration (Q2).

        Returns its uuid, which tells its birth (Q3), and the position. Raises `CallerError`.
        """
        made = self.make((DeclareQueue(spec, arguments, level),))
        return made.declared(0), made.position

    def delete(self, queue: QueueId, move_to: QueueId | None = None) -> Position:
        """Delete a queue with its object and all that is in it, or move that to another queue first (Q2).

        What is pending in it completes at its own position (Q6). Raises `UnknownQueue` or `BackupTooOld`.
        """
        return self.make((DeleteQueue(queue, move_to),)).position

    def commit(self, steps: Sequence[Step]) -> Committed:
        """Make one operation of these steps, and apply it here (TX1, TX5). O(what the steps name).

        Raises `CallerError` if a step is not possible, `MessagesGone` if a message is not held (TX9). Nothing was stored.
        """
        return self.make(steps, committed=True)

    def make(self, steps: Sequence[Step], *, committed: bool = False) -> Committed:
        """One operation of these steps. ``committed``: they have one outcome, of which an accept is a part (TX6, TX7)."""
        queues, local, known = self.queues, self.local, self.replaced
        draft = Drafting(queues, self.configuration, self.generation, self._admission, local, known)
        made, sent = draft.steps(steps), draft.sent
        if sent:
            position = self.operate(*sent, nbytes=draft.sent_bytes)
        else:
            position = local.cover(draft.named) if draft.is_local else self.position
        if not draft.actions:
            return Committed(position, made, local=draft.is_local)
        committed = committed or draft.crosses
        apply(draft.actions, position, queues, self._guards, self._out, local, known, committed=committed)
        if not sent:
            local.made()
        return Committed(position, made, local=not sent)

    def enqueue(self, queue: QueueId, batch: Batch) -> tuple[Position, SequenceSet]:
        """Publish a batch: the ids are given at once, it completes later (O1). It has no origins or places (O3, U1)."""
        held = self._queue(queue)
        check_publish(batch, self.settings)
        check_ids(held.next, len(batch))
        batch = published(batch)
        if held.local:
            return self.local.publish(held, batch)
        if (entry := enter(held, self.generation)) is not None:
            self._out.persist(entry)
        ids = held.append(batch)
        position = self.operate(Enqueue(queue=queue, first=ids.first, batch=batch), nbytes=64 + batch.nbytes)
        self._out.persist(Insert(queue, ids, batch))
        self._guards.published(queue, held.spec.settle, ids.first, ids.last, position)
        return position, ids

    def dequeue(self, queue: QueueId, ids: SequenceSet) -> tuple[Position, SequenceSet]:
        """Accept, expire or drop messages; returns those that were held. Ids already consumed are fine.

        A replaced id means its successor; raises `MessagesGone` for what was moved away (U2). Ids with too many runs for
        one operation become several operations: each accept is independent of the others. Those that follow one another
        between two `ready` become one.
        """
        held = self._queue(queue)
        check_given_out(ids, held.next, held.spec.name)
        gone = held.remove(self.replaced.accepted(held, ids))
        if held.local:
            return self.local.accept(held, gone)
        for part in split_ids(gone, self.settings.ids_runs_per_chunk_max):
            if not self.join_accept(queue, part):
                ids = part.copy()  # More accepts may join these.
                self._out.persist(Remove(queue, ids))
                self.operate_accept(queue, ids)
            self._guards.dequeued(queue, part, self.position)
        return self.position, gone

    def skip(self, queue: QueueId, count: int) -> Position:
        """Skip the next ``count`` ids. Replicated like any operation (O2)."""
        held = self._queue(queue)
        first = held.next
        COUNT("count", count)
        check_ids(first, count)
        if (entry := enter(held, self.generation)) is not None:
            self._out.persist(entry)
        held.skip(first + count - 1)
        if held.local:
            return self.local.skip(held)
        self._out.persist(Skip(queue, held.next))
        return self.operate(SkipIds(queue=queue, first=first, last=held.next - 1))

    def move(self, source: QueueId, ids: SequenceSet, target: QueueId) -> tuple[Position, SequenceSet]:
        """Move messages to the end of another queue, as one operation: COPY first, then DEQ (O3, U5, X2).

        Returns the position, and the ids in the target. A message keeps the identity of its publish (U4), unless its
        own or the other queue is not replicated: then it is accepted, and published anew (LV3).
        """
        check_move(source, ids, target)
        move = self.make([Move(source, ids, target, gone_ignored=True)])
        return move.position, move.made[0].ids

    def _queue(self, queue: QueueId) -> ReplicatedQueue:
        try:
            found = self.queues.get(queue)
            if found is None:  # Not "or": a queue without messages is false.
                found = self.local.queues[queue]
        except (KeyError, TypeError, ValueError):  # What is no UUID may have no hash.
            raise UnknownQueue(f"no queue {shown(queue)}") from None
        if isinstance(found, KeyedQueue):
            raise ArgumentError(f"{found.spec.name!r} has keys, no messages: use a commit")
        return found
