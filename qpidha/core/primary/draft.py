"""The draft of a commit: each step is checked against the queues as the steps before it leave them (rules TX1, TX4).

Nothing is changed here, so a commit that raises has stored nothing. The actions that come out are made by
`qpidha.core.primary.actions`, all at one position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qpidha.checks import instance_of, shown
from qpidha.core.births import ID_MAX, born
from qpidha.core.calls import check_ids, check_publish
from qpidha.core.chunks import operation_bytes_max, publish_bytes_max, split_batch, split_for_copy, split_ids
from qpidha.core.configuration import QUEUE, QueueObject, is_object_key, object_key
from qpidha.core.copies import copied
from qpidha.core.keyed import ConfigurationQueue
from qpidha.core.primary.actions import Action, Creation, Deletion, Draft, Insertion, Removal
from qpidha.core.primary.admission import Admission
from qpidha.core.primary.entries import advanced, free_key, registration
from qpidha.core.producers import tagged
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.core.steps import (
    Accept,
    DeclareQueue,
    DeleteQueue,
    Erase,
    Forget,
    Made,
    Move,
    Publish,
    Put,
    QueueRef,
    Register,
    Step,
    Update,
    UseSequence,
    check_step,
)
from qpidha.errors import ArgumentError, CallerError, MessagesGone, UnknownQueue
from qpidha.seq import SequenceSet
from qpidha.types import Generation, Level, MessageId, QueueId
from qpidha.wire.batch import Batch
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue

NONE = SequenceSet()
STEPS = instance_of(list, tuple, what="a list or tuple of steps")


class Drafting:
    """The draft of one commit. O(what the steps name); nothing is changed."""

    def __init__(
        self,
        queues: Queues,
        configuration: ConfigurationQueue,
        generation: Generation,
        admission: Admission,
    ) -> None:
        self._queues = queues
        self._configuration = configuration
        self._generation = generation
        self._admission = admission
        self._settings = admission.settings
        self._drafts: dict[QueueId, Draft] = {}
        self._declared: dict[int, QueueId] = {}
        self._use: UseSequence | None = None
        self.actions: list[Action] = []
        self.nbytes = 0

    def steps(self, steps: Sequence[Step]) -> tuple[Made, ...]:
        """Draft all steps in order. Returns what each will have made.

        Raises:
            CallerError: A step is not possible. `UnknownQueue`, `ArgumentError` and others say why.
        """
        STEPS("steps", steps)
        for step in steps:
            check_step(step)
        uses = [step for step in steps if isinstance(step, UseSequence)]
        if len(uses) > 1:
            raise ArgumentError("a commit has one sequence")
        self._use = uses[0] if uses else None
        made = tuple(self._step(number, step) for number, step in enumerate(steps))
        most = self._settings.transaction_bytes_max
        if self.nbytes > most:
            raise ArgumentError(
                f"a commit must have at most {most} bytes (transaction_bytes_max), not {self.nbytes}"
            )
        return made

    def _step(self, number: int, step: Step) -> Made:
        match step:
            case Publish():
                return Made(self._publish(step))
            case Accept():
                return Made(self._accept(self._plain(step.queue), step.ids))
            case Move():
                source, target = self._plain(step.source), self._plain(step.target)
                return Made(self._move(source, self._held(source, step.ids, step.gone_ignored), target))
            case Update():
                return Made(self._update(self._plain(step.queue), step))
            case Put():
                self._put(self._entry(step.queue, step.key), step.key, step.value)
            case Erase():
                self._erase(self._entry(step.queue, step.key), step.key)
            case Register():
                objects = self._keyed(self._configuration.queue)
                entry = registration(objects, step.producer, self._generation, self._settings)
                id = self._put(objects, *entry)
                return Made(SequenceSet.from_range(id, id))
            case Forget():
                objects = self._keyed(self._configuration.queue)
                self._erase(objects, free_key(objects, step.producer))
            case UseSequence():
                objects = self._keyed(self._configuration.queue)
                self._put(objects, *advanced(objects, step))
            case DeclareQueue():
                self._declared[number] = queue = self._declare(step)
                return Made(NONE, queue)
            case DeleteQueue():  # pragma: no branch - mypy knows that there is no other step
                self._delete(self._draft(step.queue), step)
        return Made(NONE)

    # --- queues ----------------------------------------------------------------------------------

    def _draft(self, ref: QueueRef) -> Draft:
        try:  # What is no uuid may have no hash.
            id = self._declared[ref] if isinstance(ref, int) else ref
            draft = self._drafts.get(id)
            queue = self._queues[id] if draft is None else draft.queue
        except (KeyError, TypeError, ValueError):
            raise UnknownQueue(f"no queue {shown(ref)}") from None
        if draft is None:
            draft = self._drafts[queue.queue] = Draft(queue, queue.next)
        if draft.dropped:
            raise UnknownQueue(f"queue {draft.queue.spec.name!r} is deleted by the same commit")
        return draft

    def _plain(self, ref: QueueRef) -> Draft:
        draft = self._draft(ref)
        if draft.is_keyed:
            raise ArgumentError(f"{draft.queue.spec.name!r} is a table: it has keys, no messages")
        return draft

    def _keyed(self, ref: QueueRef) -> Draft:
        draft = self._draft(ref)
        if not draft.is_keyed:
            raise ArgumentError(f"queue {draft.queue.spec.name!r} has no keys: it is no table")
        return draft

    def _entry(self, ref: QueueRef, key: bytes) -> Draft:
        """A keyed queue, in which a client may change this key: not the object of a queue (Q2)."""
        draft = self._keyed(ref)
        if draft.queue is self._configuration and not is_object_key(key):
            raise ArgumentError("key must be `object_key` of a kind that is not 'queue'")
        return draft

    # --- messages --------------------------------------------------------------------------------

    def _insert(
        self, draft: Draft, batch: Batch, copy_of: tuple[Draft, SequenceSet] | None = None
    ) -> SequenceSet:
        """Give this batch the next ids of a queue. Backups get it as a copy of messages that they have, if they can."""
        check_publish(batch, self._settings)
        check_ids(draft.next, len(batch))
        first, last = draft.next, draft.next + len(batch) - 1
        ids = SequenceSet.from_range(first, last)
        draft.next = last + 1
        queue = draft.queue.queue
        part: Enqueue | Copy = Enqueue(queue=queue, first=first, batch=batch)
        if copy_of is not None and self._admission.backups_can_copy:
            source, sources = copy_of
            part = Copy(queue=queue, first=first, source=source.queue.queue, ids=sources, replacement=False)
        self._add(Insertion(draft, ids, batch, part), part)
        return ids

    def _add(self, action: Action, part: Enqueue | Copy | Dequeue | Declare | Drop) -> None:
        self.actions.append(action)
        self.nbytes += part_bytes(part)

    def _remove(self, draft: Draft, ids: SequenceSet, target: Draft | None = None) -> None:
        draft.removed |= ids
        for portion in split_ids(ids, self._settings.ids_runs_per_chunk_max):
            part = Dequeue(queue=draft.queue.queue, ids=portion)
            self._add(Removal(draft, part, target), part)

    def _publish(self, step: Publish) -> SequenceSet:
        if not step.queues:
            raise ArgumentError("queues: a publish names at least one")
        first_queue, *others = [self._plain(ref) for ref in step.queues]
        given, use = SequenceSet(), self._use
        if use is None:
            batch = step.batch.without_origins()
        else:
            batch = tagged(step.batch, use.sequence, in_commit=use.count == 0)
        for piece in split_batch(batch, publish_bytes_max(self._settings)):
            ids = self._insert(first_queue, piece)
            for other in others:
                self._insert(other, piece, (first_queue, ids))
            given |= ids
        return given

    def _held(self, draft: Draft, ids: SequenceSet, gone_ignored: bool = False) -> SequenceSet:
        """These ids, if all are held; or those of them that are (TX9)."""
        held, name = ids & draft.left, draft.queue.spec.name
        if held == ids or gone_ignored:
            return held
        if ids.last >= draft.queue.next:
            raise CallerError(f"ids up to {ids.last} of {name!r} were never given out")
        gone = ids - held
        raise MessagesGone(f"messages {gone!r} of {name!r} are not held any more", queue=name, ids=gone)

    def _accept(self, draft: Draft, ids: SequenceSet) -> SequenceSet:
        gone = self._held(draft, ids)
        self._remove(draft, gone)
        return gone

    def _move(self, source: Draft, ids: SequenceSet, target: Draft) -> SequenceSet:
        if source is target:
            raise ArgumentError("target must be another queue than the messages are in")
        given = SequenceSet()
        for portion in self._portions(source.queue, ids):
            given |= self._replace(source, portion, target, None)
        return given

    def _update(self, draft: Draft, step: Update) -> SequenceSet:
        if len(step.props) != len(step.ids):
            raise ArgumentError(f"props: {len(step.props)} for {len(step.ids)} messages")
        given, at = SequenceSet(), 0
        longest = max(map(len, step.props), default=0)
        for portion in self._portions(draft.queue, self._held(draft, step.ids), longest):
            given |= self._replace(draft, portion, draft, step.props[at : at + len(portion)])
            at += len(portion)
        return given

    def _portions(
        self, queue: ReplicatedQueue, ids: SequenceSet, props_bytes: int = 0
    ) -> Iterator[SequenceSet]:
        """These ids in portions whose copies a plan can carry. ``props_bytes``: of the longest new props."""
        settings = self._settings
        most = operation_bytes_max(settings)
        return split_for_copy(queue, ids, most, settings.ids_runs_per_chunk_max, props_bytes)

    def _replace(
        self, source: Draft, ids: SequenceSet, target: Draft, props: tuple[bytes, ...] | None
    ) -> SequenceSet:
        """COPY, then DEQ of the sources: the messages live on in ``target``, with the first one's identity (U1, U4)."""
        batch = copied(source.queue, ids, replacement=True, in_place=source is target, props=props)
        if batch.nbytes > (most := operation_bytes_max(self._settings)):
            raise ArgumentError(
                f"a message with its new props must have at most {most} bytes, not {batch.nbytes}"
            )
        check_ids(target.next, len(batch))
        first, last = target.next, target.next + len(batch) - 1
        target.next = last + 1
        new = SequenceSet.from_range(first, last)
        queue = target.queue.queue
        part: Enqueue | Copy = Enqueue(queue=queue, first=first, batch=batch)
        if self._admission.backups_can_copy:
            part = Copy(
                queue=queue, first=first, source=source.queue.queue, ids=ids, replacement=True, props=props
            )
        self._add(Insertion(target, new, batch, part), part)
        self._remove(source, ids, target)
        return new

    # --- keys ------------------------------------------------------------------------------------

    def _put(self, draft: Draft, key: bytes, value: bytes) -> MessageId:
        before = draft.id_of(key)
        ids = self._insert(draft, Batch.pack([value], props=[key]))
        draft.keys[key] = ids.first
        if before is not None:
            self._remove(draft, SequenceSet.from_range(before, before))
        return ids.first

    def _erase(self, draft: Draft, key: bytes) -> None:
        before = draft.id_of(key)
        if before is not None:
            draft.keys[key] = None
            self._remove(draft, SequenceSet.from_range(before, before))

    # --- configuration ---------------------------------------------------------------------------

    def _declare(self, step: DeclareQueue) -> QueueId:
        objects = self._keyed(self._configuration.queue)
        key = object_key(QUEUE, step.spec.name)
        if objects.id_of(key) is not None:
            raise CallerError(f"queue {step.spec.name!r} exists already")
        self._admission.check_declaration(step.spec, more=len(self._declared))
        if objects.next > ID_MAX:
            raise CallerError("the configuration has no ids left")
        queue = born(self._generation, objects.next)
        value = QueueObject(queue=queue, spec=step.spec, level=step.level, arguments=step.arguments)
        self._put(objects, key, value.encode())
        if step.level is Level.MESSAGES:
            lineage = ((self._generation, 1),)
            made = self._drafts[queue] = Draft(self._queues.make(queue, step.spec, lineage, 1), 1)
            part = Declare(queue=queue, spec=step.spec, lineage=lineage, next=1)
            self._add(Creation(made, part), part)
        return queue

    def _delete(self, draft: Draft, step: DeleteQueue) -> None:
        objects = self._keyed(self._configuration.queue)
        if draft is objects:
            raise ArgumentError("the configuration cannot be deleted")
        self._admission.check_deletion()
        if step.move_to is not None:
            self._empty(self._plain(step.queue), self._plain(step.move_to))
        self._erase(objects, object_key(QUEUE, draft.queue.spec.name))
        draft.dropped = True
        part = Drop(queue=draft.queue.queue)
        self._add(Deletion(draft, part), part)

    def _empty(self, draft: Draft, target: Draft) -> None:
        if draft.next != draft.queue.next:  # They have no content yet that could be copied.
            name = draft.queue.spec.name
            raise ArgumentError(f"the same commit has put messages into {name!r}: they cannot be moved")
        self._move(draft, draft.left, target)


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
