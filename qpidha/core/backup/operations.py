"""What a backup checks before it applies an operation: it is applied whole or not at all (rules O2, O3, U5)."""

from __future__ import annotations

from collections.abc import Mapping

from qpidha.core.backup.keys import check_keys_of
from qpidha.core.births import birth_of
from qpidha.core.configuration import check_objects
from qpidha.core.copies import copied
from qpidha.core.keyed import CONFIGURATION, ConfigurationQueue, KeyedQueue
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import RemoteProtocolError
from qpidha.seq import SequenceSet
from qpidha.types import Generation, Level, MessageId, QueueId, level_of
from qpidha.wire.batch import Batch
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue, Operation, Part, PlanQueue, SkipIds

Queues = Mapping[QueueId, ReplicatedQueue]


def check_lineage(queue: PlanQueue | Declare, generation: Generation) -> None:
    """Raises `RemoteProtocolError`: no store may hold a lineage beyond its next id or its generation (N1).

    Nor may a peer name a queue whose messages are not replicated: that would be this node's own (LV1).
    """
    if level_of(queue.queue) is not Level.MESSAGES:
        raise RemoteProtocolError(f"queue {queue.queue}, whose messages are not replicated")
    last, first = queue.lineage[-1] if queue.lineage else (0, 0)
    if first > queue.next or last > generation:
        raise RemoteProtocolError(f"a lineage up to ({last}, {first}), but next is {queue.next}")


def copy_of(queues: Queues, part: Copy) -> Batch:
    """The messages that this part makes of what its source holds now."""
    return copied(
        queues[part.source],
        part.ids,
        replacement=part.replacement,
        in_place=part.replacement and part.source == part.queue,
        props=part.props,
    )


NONE = SequenceSet()
"""Never changed."""


class Outcome:
    """One queue after the parts that were checked so far."""

    __slots__ = ("added", "next", "queue", "removed")

    def __init__(self, queue: ReplicatedQueue | None, next: MessageId) -> None:
        """``queue``: as it is before the operation; None: the operation declares it."""
        self.queue = queue
        self.next = next
        self.added = NONE
        """If the operation has copies. So is ``removed``."""
        self.removed = NONE


def check_operation(queues: Queues, operation: Operation, generation: Generation) -> bool:
    """Check that every part can be applied. Nothing is changed. O(parts).

    Returns whether parts are about the objects of the configuration. Raises `RemoteProtocolError`.
    """
    if len(operation) == 1 and isinstance(part := operation[0], (Enqueue, Dequeue)):
        return _check_single(queues, part)
    outcomes: dict[QueueId, Outcome | None] = {}
    declared: list[QueueId] = []
    has_copies = Copy in map(type, operation)
    keyed = objects = False
    for part in operation:
        if isinstance(part, Declare):
            _check_declaration(queues, outcomes, part, generation)
            outcomes[part.queue] = Outcome(None, part.next)
            declared.append(part.queue)
            continue
        outcome = outcomes.get(part.queue) or _outcome(queues, outcomes, part.queue)
        if isinstance(outcome.queue, KeyedQueue):
            keyed = True
            if isinstance(outcome.queue, ConfigurationQueue):
                objects = True
                _check_objects(part)
        if isinstance(part, Drop):
            outcomes[part.queue] = None
            continue
        if isinstance(part, Copy):
            _check_source(part, _outcome(queues, outcomes, part.source))
        _check_ids(part, outcome, has_copies)
    for queue in declared:
        _check_birth(queue, generation)
    if keyed or declared:
        check_keys_of(queues, operation)
    return objects


def _check_ids(part: Enqueue | Copy | SkipIds | Dequeue, outcome: Outcome, has_copies: bool) -> None:
    """The part gives out the next ids, or skips them, or drops messages; then the queue is as ``outcome`` says."""
    match part:
        case Enqueue():
            _check_first(part.first, outcome)
            _add(outcome, len(part.batch), has_copies)
        case Dequeue():
            if part.ids:
                outcome.next = max(outcome.next, part.ids.last + 1)
            if has_copies:
                outcome.removed = outcome.removed | part.ids
        case Copy():
            _check_first(part.first, outcome)
            _add(outcome, len(part.ids), has_copies)
        case SkipIds():  # pragma: no branch - mypy knows that there is no other part
            if part.first != outcome.next:
                raise RemoteProtocolError(f"skipped from {part.first}, but next is {outcome.next}")
            outcome.next = part.last + 1


def _check_declaration(
    queues: Queues, outcomes: Mapping[QueueId, Outcome | None], part: Declare, generation: Generation
) -> None:
    if part.spec.kind == CONFIGURATION:  # Only a plan brings it (Q1).
        raise RemoteProtocolError("an operation declares a configuration")
    if part.queue in queues or part.queue in outcomes:
        raise RemoteProtocolError(f"queue {part.queue} is declared twice")
    check_lineage(part, generation)


def _check_objects(part: Part) -> None:
    """The configuration gets sound objects, and is not dropped or copied to (Q1)."""
    if isinstance(part, (Copy, Drop)):
        raise RemoteProtocolError("an operation drops the configuration, or copies messages to it")
    if isinstance(part, Enqueue):
        check_objects(part.batch)


def _check_single(queues: Queues, part: Enqueue | Dequeue) -> bool:
    """The same for the operations of most publishes and accepts."""
    queue = queues.get(part.queue)
    if queue is None:
        raise RemoteProtocolError(f"operation on unknown queue {part.queue}")
    if isinstance(part, Enqueue) and part.first != queue.next:
        raise RemoteProtocolError(f"id {part.first} was given out, but next is {queue.next}")
    if not isinstance(queue, KeyedQueue):
        return False
    objects = isinstance(queue, ConfigurationQueue)
    if isinstance(part, Enqueue):
        if objects:
            check_objects(part.batch)
        check_keys_of(queues, (part,))
    return objects


def _outcome(queues: Queues, outcomes: dict[QueueId, Outcome | None], queue: QueueId) -> Outcome:
    if queue in outcomes:
        found = outcomes[queue]
    elif queue in queues:
        found = outcomes[queue] = Outcome(queues[queue], queues[queue].next)
    else:
        found = None
    if found is None:
        raise RemoteProtocolError(f"operation on unknown queue {queue}")
    return found


def _check_first(first: MessageId, outcome: Outcome) -> None:
    if first != outcome.next:
        raise RemoteProtocolError(f"id {first} was given out, but next is {outcome.next}")


def _add(outcome: Outcome, count: int, has_copies: bool) -> None:
    first, outcome.next = outcome.next, outcome.next + count
    if has_copies:
        outcome.added = outcome.added | SequenceSet.from_range(first, first + count - 1)


def _check_source(part: Copy, source: Outcome) -> None:
    """The sources must be there: this backup equals the primary at this position (C4, C6)."""
    held = NONE if source.queue is None else source.queue.held
    there = (part.ids - source.added) <= held and part.ids.isdisjoint(source.removed)
    if not there:
        raise RemoteProtocolError(f"a copy of messages of queue {part.source} that are not there")


def _check_birth(queue: QueueId, generation: Generation) -> None:
    """A queue that tells its birth was declared in the generation that declares it now (Q3)."""
    birth = birth_of(queue)
    if birth is not None and birth[0] != generation:
        raise RemoteProtocolError(f"queue {queue} is declared in generation {generation}, born in {birth[0]}")
