"""Says what became of a message, from the state of one node. Changes nothing.

    held here           pending or safe on the primary; held on a backup
    not held            accepted and not safe yet; moved or updated; gone
    another generation  rewound: a failover gave the id to another message, or to none yet
    in quarantine       with its fate

Where a message went is known as long as its copy is held, because the copy carries the origin. Of a message that was
accepted nothing is left but that its id was given out, so the words for it name all that may have happened.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TypeAlias
from uuid import UUID

from qpidha.checks import instance_of, integer, optional
from qpidha.core.explanation import Explanation, Kept, Place, Verdict
from qpidha.core.keyed import KeyedQueue
from qpidha.core.lineage import generation_of
from qpidha.core.origins import find_copy
from qpidha.core.primary.primary import ACTIVATION, Primary
from qpidha.core.primary.waiting import too_few, waits_for
from qpidha.core.producers import RawOrigin, epoch_of, is_tag
from qpidha.core.quarantine import as_origin, judged
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.replica import Replica
from qpidha.core.resync import had
from qpidha.errors import ArgumentError
from qpidha.seq import SequenceSet
from qpidha.types import (
    GENERATION_MAX,
    MESSAGE_ID_MAX,
    Fate,
    Generation,
    Level,
    MessageId,
    NodeId,
    Origin,
    Position,
    ProducerSequence,
    QueueId,
    level_of,
)

Answer: TypeAlias = Generator[None, None, Explanation]
"""Ends with the answer. It may stop before: then other work can be done, and the state may change."""

QUEUE_REF = instance_of(UUID, str, what="a queue's uuid or its name")
ID = integer(0, MESSAGE_ID_MAX)
GENERATION = optional(integer(0, GENERATION_MAX))


def explain(
    replica: Replica, queue: QueueId | str, id: MessageId, generation: Generation | None = None
) -> Answer:
    """Say what became of a message, as this node knows it at the moment in which the generator ends.

    O(log messages + pending publishes of the queue + operations that are not safe + batches in quarantine). Only for a
    message that is not held it searches all queues for its copy, with stops (`qpidha.core.origins`).

    Args:
        queue: Its name, or its uuid: a queue that was deleted is known by its uuid only.
        generation: The one that gave the id out; None: the newest that did. A failover can undo a publish and give its
            id to another message; the receipt of a publish names the generation.

    Raises:
        ArgumentError: Not a queue, an id or a generation; or a table, which has keys instead of messages.
    """
    QUEUE_REF("queue", queue)
    ID("id", id)
    GENERATION("generation", generation)
    inquiry = _Inquiry(replica, queue, id, generation)
    inquiry.look()
    return inquiry.run()


def primary_of(replica: Replica) -> NodeId | None:
    """The primary, as far as this node knows; None: none is known."""
    record = replica.record
    return None if record is None or record.primary is None else record.primary[0]


def find_queue(replica: Replica, name: str) -> QueueId | None:
    """The queue of this name: as the configuration says or, of a store without one, as it was declared. O(queues)."""
    found = replica.find(name)
    if found is not None:
        return found
    return next((q.queue for q in replica.queues.values() if q.spec.name == name), None)


def queue_ref(replica: Replica, text: object) -> object:
    """A queue as it was written by hand: its name or, if no queue has this name and it is one, its uuid."""
    if not isinstance(text, str) or find_queue(replica, text) is not None:
        return text
    try:
        return UUID(text)
    except ValueError:
        return text


def conclude(answer: Answer) -> Explanation:
    """The answer at once, without other work in between."""
    while True:
        try:
            next(answer)
        except StopIteration as end:
            found: Explanation = end.value
            return found


class _Inquiry:
    """One question about one message."""

    def __init__(
        self, replica: Replica, asked: QueueId | str, id: MessageId, generation: Generation | None
    ) -> None:
        self._replica = replica
        self._asked = asked
        self._id = id
        self._generation = generation
        self._queue: QueueId | None = None
        self._held: ReplicatedQueue | None = None

    def look(self) -> None:
        """Find the queue. Raises `ArgumentError` if it is a table."""
        asked, replica = self._asked, self._replica
        self._queue = find_queue(replica, asked) if isinstance(asked, str) else asked
        self._held = None if self._queue is None else replica.queue(self._queue)
        if isinstance(self._held, KeyedQueue):
            raise ArgumentError(f"{self._held.spec.name!r} has keys, no messages")

    def run(self) -> Answer:
        """The answer."""
        while True:
            before = self._history()
            answer = yield from self._answer()
            self.look()
            if self._history() == before:
                return answer
            # The role or the history changed while other work was done: ask anew.

    def _history(self) -> object:
        queue = self._held
        generation = self._replica.generation
        return self._replica.primary, generation, queue, None if queue is None else queue.lineage

    def _answer(self) -> Answer:
        queue, id, asked = self._held, self._id, self._generation
        known = "" if isinstance(self._asked, UUID) else self._asked
        answer = Explanation(
            node=self._replica.node,
            verdict=Verdict.NO_QUEUE,
            queue=self._queue,
            queue_name=known if queue is None else queue.spec.name,
            id=id,
            as_primary=self._replica.primary is not None,
            primary=primary_of(self._replica),
            local=queue is not None and queue.local,
            kept=self._kept(),
        )
        if queue is None:
            return (yield from self._without_queue(answer))
        given_by = generation_of(queue.lineage, id) if id < queue.next else 0
        if id >= queue.next or asked not in (None, given_by):
            return (yield from self._of_other_history(answer, queue))
        answer = replace(answer, generation=given_by)
        if id in queue.held:
            return self._here(answer, queue)
        if self._replica.follower.flipping:
            return replace(answer, verdict=Verdict.NOT_HERE)  # It may be among the messages that come now.
        return (yield from self._not_held(answer, queue))

    # --- this history gave the id out ------------------------------------------------------------

    def _here(self, answer: Explanation, queue: ReplicatedQueue) -> Explanation:
        _, batch = next(queue.select(SequenceSet.from_range(self._id, self._id)))
        primary = self._replica.primary
        answer = self._with_origin(answer, batch.origin(0))
        if primary is None:
            return replace(answer, verdict=Verdict.HELD)
        if position := self._pending(primary, queue.queue, self._id):
            answer = replace(answer, verdict=Verdict.PENDING, publish_pending=True)
            return self._waiting(answer, primary, position)
        return replace(answer, verdict=Verdict.SAFE)

    def _not_held(self, answer: Explanation, queue: ReplicatedQueue) -> Answer:
        primary, id = self._replica.primary, self._id
        if primary is not None:
            guards = primary.guards_of(queue.queue)
            pending = guards.pending(queue.queue, id, primary.safe)
            answer = replace(answer, publish_pending=pending is not None)
            settled = min(primary.safe, primary.deadlines.newest)
            if (at := guards.recent.accepted_at(queue.queue, id, settled)) is not None:
                return self._waiting(replace(answer, verdict=Verdict.ACCEPTING), primary, at)
        successor = self._successor(queue)
        if successor is not None:
            place: Place | None = Place(queue=queue.queue, queue_name=queue.spec.name, id=successor)
        else:
            place = yield from find_copy(self._replica.queues, (queue.queue, answer.generation or None, id))
            place = place or self._moved(queue.queue)
        if place is None:
            return replace(answer, verdict=Verdict.GONE if answer.generation else Verdict.FORGOTTEN)
        moved = Verdict.REPLACED if place.queue == queue.queue else Verdict.MOVED
        answer = replace(answer, verdict=moved, place=place)
        primary = self._replica.primary
        position = 0 if primary is None else self._pending(primary, place.queue, place.id)
        return self._waiting(answer, primary, position) if primary is not None and position else answer

    def _moved(self, queue: QueueId) -> Place | None:
        """Where moves took a message whose copy does not tell its old id: it has its producer's sequence (EO7).

        Known by the primary that moved it, in its term.
        """
        primary = self._replica.primary
        at = None if primary is None else primary.replaced.destination(queue, self._id)
        while primary is not None and at is not None:
            target, id = at
            held = self._replica.queues.get(target)
            if held is None:
                return None
            now = id if id in held.held else primary.replaced.successors(held, SequenceSet([id])).get(id)
            if now is not None:
                return Place(queue=target, queue_name=held.spec.name, id=now)
            at = primary.replaced.destination(target, id)
        return None

    def _successor(self, queue: ReplicatedQueue) -> MessageId | None:
        """The id that updates gave the message, as far as the queue knows it (U2); None: it knows none."""
        primary, id = self._replica.primary, self._id
        if primary is not None:
            return primary.replaced.successors(queue, SequenceSet([id])).get(id)
        return None if queue.places is None else queue.places.holder(id)

    def _pending(self, primary: Primary, queue: QueueId, id: MessageId) -> Position:
        """The operation that makes this message safe; 0: it is. The activation does it for those of older generations.

        Where no backup is waited for, an operation is complete before the disk of this node has answered.
        """
        found = primary.guards_of(queue).pending(queue, id, primary.safe)
        if found is not None:
            return found.position
        recent, durable = primary.guards_of(queue).recent, primary.deadlines.newest
        if primary.safe > durable and recent.just_completed(queue, id):
            return primary.safe
        declared = level_of(queue) is not Level.NONE
        return ACTIVATION if declared and min(primary.safe, durable) < ACTIVATION else 0

    def _waiting(self, answer: Explanation, primary: Primary, position: Position) -> Explanation:
        return replace(
            answer,
            position=position,
            waits_for=waits_for(primary, answer.node, position),
            too_few=too_few(primary),
        )

    # --- it did not ------------------------------------------------------------------------------

    def _of_other_history(self, answer: Explanation, queue: ReplicatedQueue) -> Answer:
        if queue.local:
            own = level_of(queue.queue) is Level.NONE
            return replace(answer, verdict=Verdict.NOT_GIVEN if own else Verdict.NOT_REPLICATED)
        if (kept := self._wanted(answer)) is not None:
            return (yield from self._quarantined(answer, kept))
        nothing = Verdict.NOT_GIVEN if answer.as_primary else Verdict.NOT_HERE
        asked, id = self._generation, self._id
        if asked is None:
            return replace(answer, verdict=nothing)
        answer = replace(answer, generation=asked)
        if had(queue.lineage, queue.next, asked, id) is None:
            place = yield from find_copy(self._replica.queues, (queue.queue, asked, id))
            return replace(answer, verdict=Verdict.FORGOTTEN if place is None else Verdict.MOVED, place=place)
        # The generation is not in the lineage before it gives out an id there (P3).
        newest = max(generation_of(queue.lineage, MESSAGE_ID_MAX), self._replica.generation)
        still_to_come = id >= queue.next and asked >= newest
        return replace(answer, verdict=nothing if still_to_come else Verdict.REWOUND)

    def _without_queue(self, answer: Explanation) -> Answer:
        if (kept := self._wanted(answer)) is not None:
            return (yield from self._quarantined(answer, kept))
        queue = self._queue
        if queue is None:
            return answer
        place = yield from find_copy(self._replica.queues, (queue, self._generation, self._id))
        if place is not None:
            return replace(answer, verdict=Verdict.MOVED, place=place)
        deleted = self._replica.state.histories.deleted(queue)
        return replace(answer, verdict=Verdict.DELETED if deleted else Verdict.NO_QUEUE)

    def _with_origin(self, answer: Explanation, origin: RawOrigin | None) -> Explanation:
        """With what the message carries: the identity of its publish, or its producer's sequence (EO7)."""
        if origin is None or not is_tag(origin):
            return replace(answer, published_as=as_origin(origin))
        epoch = epoch_of(origin)
        found = self._replica.state.histories.producer(epoch)
        sequence = None if found is None else ProducerSequence(found[0], epoch, origin[2])
        return replace(answer, sequence=sequence)

    # --- quarantine ------------------------------------------------------------------------------

    def _kept(self) -> tuple[Kept, ...]:
        """What is in quarantine here under the asked queue and id."""
        replica = self._replica
        histories = replica.state.histories
        followed = replica.primary or replica.follower
        found = []
        for batch, index in replica.quarantined.with_id(self._queue or self._asked, self._id):
            message = judged(batch.change, index, self._id, histories)
            found.append(
                Kept(
                    queue=message.queue,
                    queue_name=message.queue_name,
                    generation=message.generation,
                    id=message.id,
                    fate=message.fate,
                    decided=followed.established,
                    offered=batch.offered,
                    origin=None if is_tag(batch.change.batch.origin(index)) else message.origin,
                    sequence=message.sequence,
                )
            )
        return tuple(found)

    def _wanted(self, answer: Explanation) -> Kept | None:
        """The message in quarantine that was asked for: of the asked generation, or of the newest."""
        asked = self._generation
        found = [kept for kept in answer.kept if asked in (None, kept.generation)]
        return max(found, key=lambda kept: kept.generation, default=None)

    def _quarantined(self, answer: Explanation, kept: Kept) -> Answer:
        place, origin = None, kept.origin
        if kept.fate is Fate.UNDONE_MOVE and origin is not None:
            place = yield from find_copy(self._replica.queues, _identity(origin))
        return replace(
            answer,
            verdict=Verdict.QUARANTINED,
            queue=kept.queue,
            queue_name=kept.queue_name,
            generation=kept.generation,
            published_as=origin,
            sequence=kept.sequence,
            place=place,
        )


def _identity(origin: Origin) -> tuple[QueueId, Generation, MessageId]:
    return origin.queue, origin.generation, origin.id
