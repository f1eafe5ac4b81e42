"""The draft of a commit: each step is checked against the queues as the steps before it leave them (rules TX1, TX4).

Nothing is changed here, so a commit that raises has stored nothing. The actions that come out are made by
`qpidha.core.primary.actions`, all at one position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qpidha.core.births import ID_MAX, born, own_id
from qpidha.core.calls import check_given_out, check_ids, check_publish
from qpidha.core.chunks import operation_bytes_max, publish_bytes_max, split_batch, split_for_copy, split_ids
from qpidha.core.configuration import QUEUE, QueueObject, object_key
from qpidha.core.copies import copied, published, republished
from qpidha.core.places import ascending, in_order
from qpidha.core.primary.actions import Creation, Deletion, Draft, Insertion, Removal
from qpidha.core.primary.drafted import Drafted
from qpidha.core.primary.entries import advanced, free_key, registration
from qpidha.core.primary.replacements import messages_gone
from qpidha.core.producers import TAG_BYTES, tagged
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.steps import (
    STEPS,
    Accept,
    DeclareQueue,
    DeleteQueue,
    Erase,
    Forget,
    Made,
    Move,
    Publish,
    Put,
    Register,
    Step,
    Update,
    UseSequence,
    check_step,
)
from qpidha.errors import ArgumentError, CallerError
from qpidha.seq import SequenceSet
from qpidha.types import Level, MessageId, QueueId, level_of
from qpidha.wire.batch import Batch
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue

NONE = SequenceSet()


class Drafting(Drafted):
    """The draft of one commit. O(what the steps name); nothing is changed."""

    def steps(self, steps: Sequence[Step]) -> tuple[Made, ...]:
        """Draft all steps in order. Returns what each will have made.

        Raises:
            CallerError: A step is not possible. `UnknownQueue`, `ArgumentError` and others say why.
        """
        STEPS("steps", steps)
        uses: list[UseSequence] = []
        for step in steps:
            check_step(step)
            if type(step) is UseSequence:
                uses.append(step)
        if len(uses) > 1:
            raise ArgumentError("a commit has one sequence")
        if uses:
            self._use, self._number = uses[0], uses[0].sequence.number
        made = tuple(self._step(number, step) for number, step in enumerate(steps))
        most = self._settings.transaction_bytes_max
        if self.nbytes > most and (self._use is None or self._use.count == 0):
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
                self._put(self._object_entry(step.queue, step.key), step.key, step.value)
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

    # --- messages --------------------------------------------------------------------------------

    def _insert(
        self, draft: Draft, batch: Batch, copy_of: tuple[Draft, SequenceSet] | None = None
    ) -> SequenceSet:
        """Give this batch the next ids of a queue. Backups get it as a copy of messages that they have, if they can."""
        first, count = draft.next, len(batch)
        check_publish(batch, self._settings)
        check_ids(first, count)
        ids = SequenceSet.from_range(first, first + count - 1)
        draft.next = first + count
        queue = draft.queue.queue
        part: Enqueue | Copy = Enqueue(queue=queue, first=first, batch=batch)
        if copy_of is not None and not copy_of[0].queue.local and self._admission.backups_can_copy:
            source, sources = copy_of
            part = Copy(queue=queue, first=first, source=source.queue.queue, ids=sources, replacement=False)
        self._add(Insertion(draft, ids, batch, part), part)
        return ids

    def _remove(
        self, draft: Draft, ids: SequenceSet, target: Draft | None = None, *, across: bool = False
    ) -> None:
        if draft.removed:
            draft.removed |= ids
        else:
            draft.removed = ids.copy()
        for portion in split_ids(ids, self._settings.ids_runs_per_chunk_max):
            part = Dequeue(queue=draft.queue.queue, ids=portion)
            self._add(Removal(draft, part, target, across), part)

    def _publish(self, step: Publish) -> SequenceSet:
        refs = step.queues
        if not refs:
            raise ArgumentError("queues: a publish names at least one")
        first_queue = self._plain(refs[0])
        others = [self._plain(ref) for ref in refs[1:]] if len(refs) > 1 else ()
        batch, tag, use = published(step.batch), 0, self._use
        if use is not None:
            batch, tag = tagged(batch, use.sequence.epoch, self._number, in_commit=use.count == 0), TAG_BYTES
            self._number += len(batch) if use.count else 0
        most = publish_bytes_max(self._settings) + tag
        if batch.nbytes <= most:
            return self._publish_piece(first_queue, others, batch)
        given = SequenceSet()
        for piece in split_batch(batch, most):
            given |= self._publish_piece(first_queue, others, piece)
        return given

    def _publish_piece(self, first_queue: Draft, others: Sequence[Draft], piece: Batch) -> SequenceSet:
        ids = self._insert(first_queue, piece)
        for other in others:
            self._insert(other, piece, (first_queue, ids))
        return ids

    def _held(self, draft: Draft, ids: SequenceSet, gone_ignored: bool = False) -> SequenceSet:
        """These messages, if all are held; or those of them that are (TX9). A replaced id means its successor (U2).

        Raises:
            ArgumentError: An earlier step of the commit has accepted, moved or updated one of them.
            MessagesGone: One of them is not held any more.
        """
        held = draft.left_of(ids)
        if held == ids:
            return held
        check_given_out(ids, draft.queue.next, draft.queue.spec.name)
        successors = self._replacements.successors(draft.queue, ids)
        follow = {id: now for id, now in successors.items() if draft.has(now)}
        if not gone_ignored and (gone := ids - held - SequenceSet(follow)):
            taken = SequenceSet(id for id in gone if successors.get(id, id) in draft.removed)
            raise named_before(draft, taken) if taken else messages_gone(draft.queue, gone)
        return held | SequenceSet(follow.values())

    def _accept(self, draft: Draft, ids: SequenceSet) -> SequenceSet:
        gone = self._held(draft, ids)
        self._remove(draft, gone)
        return gone

    def _move(self, source: Draft, ids: SequenceSet, target: Draft) -> SequenceSet:
        if source is target:
            raise ArgumentError("target must be another queue than the messages are in")
        given, across = SequenceSet(), source.queue.local or target.queue.local
        self.crosses = self.crosses or across
        for part in in_order(source.queue.places, ids):
            for portion in self._portions(source.queue, part):
                if across:
                    given |= self._insert(target, republished(source.queue, portion))
                    self._remove(source, portion, across=True)
                else:
                    given |= self._replace(source, portion, target, None)
        return given

    def _update(self, draft: Draft, step: Update) -> SequenceSet:
        if len(step.props) != len(step.ids):
            raise ArgumentError(f"props: {len(step.props)} for {len(step.ids)} messages")
        given, at = SequenceSet(), 0
        longest = max(map(len, step.props), default=0)
        for part in self._named(draft, step.ids):
            for portion in self._portions(draft.queue, part, longest):
                given |= self._replace(draft, portion, draft, step.props[at : at + len(portion)])
                at += len(portion)
        return given

    def _named(self, draft: Draft, ids: SequenceSet) -> list[SequenceSet]:
        """The messages that these ids name, in the order of these ids, also if some were replaced. Cut where ids fall."""
        held = self._held(draft, ids)
        if held == ids:
            return [ids]
        successors = self._replacements.successors(draft.queue, ids)
        if len(held) != len(ids):
            raise ArgumentError("ids name a message twice: by an id that was replaced, and by another one")
        return ascending(successors.get(id, id) for id in ids)

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
        key = object_key(QUEUE, step.spec.name)
        if self._is_taken(key, step.spec.name):
            raise CallerError(f"queue {step.spec.name!r} exists already")
        self._admission.check_declaration(step.spec, step.level, more=len(self._declared))
        if step.level is Level.NONE:
            self._owned += 1
            queue = own_id(self._generation, self._local.declared + self._owned)
            self._own[step.spec.name] = queue
        else:
            queue = self._declare_object(step, key)
        lineage = ((self._generation, 1),)
        made = self._drafts[queue] = Draft(self._queues.make(queue, step.spec, lineage, 1), 1)
        part = Declare(queue=queue, spec=step.spec, lineage=lineage, next=1)
        self._add(Creation(made, part), part)
        return queue

    def _is_taken(self, key: bytes, name: str) -> bool:
        """A queue has this name: one of the configuration, or one of this node alone."""
        if (self._own[name] if name in self._own else self._local.queues.named(name, Level.NONE)) is not None:
            return True
        objects = self._drafts.get(self._configuration.queue)
        return (self._configuration if objects is None else objects).id_of(key) is not None

    def _declare_object(self, step: DeclareQueue, key: bytes) -> QueueId:
        objects = self._keyed(self._configuration.queue)
        if objects.next > ID_MAX:
            raise CallerError("the configuration has no ids left")
        queue = born(self._generation, objects.next, step.level)
        value = QueueObject(queue=queue, spec=step.spec, level=step.level, arguments=step.arguments)
        self._put(objects, key, value.encode())
        return queue

    def _delete(self, draft: Draft, step: DeleteQueue) -> None:
        queue, name = draft.queue.queue, draft.queue.spec.name
        if draft.holds_objects:
            raise ArgumentError("the configuration cannot be deleted")
        if not draft.queue.local:
            self._admission.check_deletion()
        if step.move_to is not None:
            self._empty(self._plain(step.queue), self._plain(step.move_to))
        if level_of(queue) is Level.NONE:
            self._own[name] = None
        else:
            self._erase(self._keyed(self._configuration.queue), object_key(QUEUE, name))
        draft.dropped = True
        part = Drop(queue=queue)
        self._add(Deletion(draft, part), part)

    def _empty(self, draft: Draft, target: Draft) -> None:
        if draft.next != draft.queue.next:  # They have no content yet that could be copied.
            name = draft.queue.spec.name
            raise ArgumentError(f"the same commit has put messages into {name!r}: they cannot be moved")
        self._move(draft, draft.left, target)


def named_before(draft: Draft, ids: SequenceSet) -> ArgumentError:
    """The error of a step that names messages which an earlier step of its commit has removed or replaced.

    It is the caller's fault, and not that of another client: `MessagesGone` would say that somebody else was faster. The
    successor of an updated message has no id that could be named before the commit.
    """
    return ArgumentError(
        f"messages {ids!r} of {draft.queue.spec.name!r} are accepted, moved or updated by an earlier call"
        " of the same commit: name each message in one call"
    )
