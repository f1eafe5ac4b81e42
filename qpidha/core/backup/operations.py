"""What a backup checks before it applies an operation: it is applied whole or not at all (rules O2, O3, U5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue, Operation, PlanQueue, SkipIds

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


@dataclass(slots=True)
class Outcome:
    """One queue after the parts that were checked so far."""

    next: MessageId
    added: SequenceSet = field(default_factory=SequenceSet)
    removed: SequenceSet = field(default_factory=SequenceSet)
    held: SequenceSet = field(default_factory=SequenceSet)
    """What it held before the operation."""


def check_operation(queues: Queues, operation: Operation, generation: Generation) -> None:
    """Raises `RemoteProtocolError` if not every part can be applied. Nothing is changed. O(parts)."""
    if len(operation) == 1 and isinstance(part := operation[0], (Enqueue, Dequeue)):
        _check_single(queues, part)
        return
    outcomes: dict[QueueId, Outcome | None] = {}
    declared: list[QueueId] = []
    _check_objects(queues, operation)
    for part in operation:
        if isinstance(part, Declare):
            if part.queue in queues or part.queue in outcomes:
                raise RemoteProtocolError(f"queue {part.queue} is declared twice")
            check_lineage(part, generation)
            outcomes[part.queue] = Outcome(part.next)
            declared.append(part.queue)
            continue
        outcome = _outcome(queues, outcomes, part.queue)
        match part:
            case Enqueue():
                _check_first(part.first, outcome)
                _add(outcome, part.first, len(part.batch))
            case Copy():
                _check_source(part, _outcome(queues, outcomes, part.source))
                _check_first(part.first, outcome)
                _add(outcome, part.first, len(part.ids))
            case SkipIds():
                if part.first != outcome.next:
                    raise RemoteProtocolError(f"skipped from {part.first}, but next is {outcome.next}")
                outcome.next = part.last + 1
            case Dequeue():
                outcome.removed |= part.ids
                outcome.next = max(outcome.next, part.ids.last + 1) if part.ids else outcome.next
            case Drop():  # pragma: no branch - mypy knows that there is no other part
                outcomes[part.queue] = None
    for queue in declared:
        _check_birth(queue, generation)
    check_keys_of(queues, operation)


def _check_objects(queues: Queues, operation: Operation) -> None:
    """The configuration gets sound objects, and is not declared, dropped or copied to: only a plan brings it (Q1)."""
    for part in operation:
        if isinstance(part, Declare):
            if part.spec.kind == CONFIGURATION:
                raise RemoteProtocolError("an operation declares a configuration")
        elif isinstance(queues.get(part.queue), ConfigurationQueue):
            if isinstance(part, (Copy, Drop)):
                raise RemoteProtocolError("an operation drops the configuration, or copies messages to it")
            if isinstance(part, Enqueue):
                check_objects(part.batch)


def _check_single(queues: Queues, part: Enqueue | Dequeue) -> None:
    """The same for the operations of most publishes and accepts."""
    queue = queues.get(part.queue)
    if queue is None:
        raise RemoteProtocolError(f"operation on unknown queue {part.queue}")
    if isinstance(part, Enqueue) and part.first != queue.next:
        raise RemoteProtocolError(f"id {part.first} was given out, but next is {queue.next}")
    if isinstance(part, Enqueue) and isinstance(queue, KeyedQueue):
        if isinstance(queue, ConfigurationQueue):
            check_objects(part.batch)
        check_keys_of(queues, (part,))


def _outcome(queues: Queues, outcomes: dict[QueueId, Outcome | None], queue: QueueId) -> Outcome:
    if queue in outcomes:
        found = outcomes[queue]
    elif queue in queues:
        found = outcomes[queue] = Outcome(queues[queue].next, held=queues[queue].held)
    else:
        found = None
    if found is None:
        raise RemoteProtocolError(f"operation on unknown queue {queue}")
    return found


def _check_first(first: MessageId, outcome: Outcome) -> None:
    if first != outcome.next:
        raise RemoteProtocolError(f"id {first} was given out, but next is {outcome.next}")


def _add(outcome: Outcome, first: MessageId, count: int) -> None:
    outcome.added.add(first, first + count - 1)
    outcome.next = first + count


def _check_source(part: Copy, source: Outcome) -> None:
    """The sources must be there: this backup equals the primary at this position (C4, C6)."""
    there = (part.ids - source.added) <= source.held and part.ids.isdisjoint(source.removed)
    if not there:
        raise RemoteProtocolError(f"a copy of messages of queue {part.source} that are not there")


def _check_birth(queue: QueueId, generation: Generation) -> None:
    """A queue that tells its birth was declared in the generation that declares it now (Q3)."""
    birth = birth_of(queue)
    if birth is not None and birth[0] != generation:
        raise RemoteProtocolError(f"queue {queue} is declared in generation {generation}, born in {birth[0]}")
