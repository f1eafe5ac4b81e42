"""Publishes and commits that their producers may repeat: made once in each history (rules EO1–EO9).

A repetition is an answer about what is there already. As long as the first publish is pending in this term, its own
completion answers both. Afterwards the repetition is safe when everything up to the present position is (EO4): the entry
may have come from a generation that only this node has, and the message may have been accepted meanwhile.

What is remembered of a term are the operations with sequences that are pending, in the order of their positions.

Invariants (`check`):
  - the operations of one producer ascend by sequence and by position
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import attrgetter
from typing import Protocol

from qpidha.checks import instance_of
from qpidha.core.calls import BATCH
from qpidha.core.keyed import ConfigurationQueue
from qpidha.core.primary.completion import Guards
from qpidha.core.producers import NAME, NUMBER, ProducerEntry, check_sequence
from qpidha.core.steps import Committed, Forget, Publish, Register, Step, UseSequence
from qpidha.errors import ensure
from qpidha.seq import SequenceSet
from qpidha.types import Entry, Generation, Level, MessageId, Position, ProducerSequence, QueueId, level_of
from qpidha.wire.batch import Batch

_first = attrgetter("first")


BATCHES = instance_of(list, tuple, what="a batch, or a list of batches that is not empty")


class Making(Protocol):
    """What makes operations: the primary."""

    generation: Generation
    configuration: ConfigurationQueue
    position: Position

    def make(self, steps: Sequence[Step], *, committed: bool = False) -> Committed:
        """One operation of these steps."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A registration, as one operation."""

    epoch: Entry
    position: Position


@dataclass(frozen=True, slots=True)
class Published:
    """A publish with a sequence."""

    position: Position
    """It is complete when everything up to here is, if ``queue`` is None."""
    queue: QueueId | None
    """It is complete when the publishes of this queue are, up to the last of ``ids``."""
    ids: SequenceSet
    """Of its messages that were stored now; or all were stored before, and these are known still."""
    repeated: int = 0
    """How many of its messages, the first ones, have sequences that were used already. They were not stored now."""


@dataclass(frozen=True, slots=True)
class Pending:
    """An operation with sequences that is not complete, as far as is known."""

    epoch: Entry
    first: int
    last: int
    committed: Committed
    queue: QueueId | None = None
    """Of a publish that is not part of a commit."""
    ids: SequenceSet = field(default_factory=SequenceSet)
    """The same: of its messages, in the order of their sequences."""

    def part(self, number: int, count: int) -> SequenceSet:
        """The ids of those of its messages that have these sequences."""
        ids = self.ids
        low, high = max(number, self.first), min(number + count - 1, self.last)
        return ids.slice(ids.first + low - self.first, ids.first + high - self.first)


class Producers:
    """The producers of one term of a primary. O(what is published) for each call."""

    def __init__(self, primary: Making, guards: Guards, local: Guards) -> None:
        """``local``: of the queues whose messages are not replicated."""
        self._primary = primary
        self._guards = guards
        self._local = local
        self._pending: dict[Entry, deque[Pending]] = {}
        """By epoch, those that are in ``_order``, too."""
        self._order: deque[Pending] = deque()
        self._safe: Position = 0

    # --- registrations ---------------------------------------------------------------------------

    def register(self, name: str) -> Registered:
        """Give this producer a new epoch, which begins with sequence 1. An epoch that it had is over (EO6)."""
        made = self._primary.make([Register(name)])
        return Registered((self._primary.generation, made.made[0].ids.first), made.position)

    def forget(self, name: str) -> Position:
        """Forget a producer: what it repeats is refused from now on, never stored again (EO6)."""
        return self._primary.make([Forget(name)]).position

    def get(self, name: str) -> ProducerEntry | None:
        """Epoch and last sequence of a producer; None: it is not registered."""
        NAME("producer", name)
        return self._primary.configuration.producers.get(name)

    # --- publishes and commits -------------------------------------------------------------------

    def commit(self, steps: Sequence[Step], sequence: ProducerSequence) -> Committed:
        """Make one operation of these steps, once (EO1). Without steps, the sequence is given up (EO8).

        The sequence is looked up before anything else (EO9): a repetition is answered whatever it names.

        Raises:
            UnknownProducer, SequenceGap: See `ProducerEntries.known`.
            CallerError: What `Primary.commit` raises.
        """
        known = self.answer(sequence)
        if known is not None:
            return known
        made = self._primary.make((*steps, UseSequence(sequence)), committed=True)
        made = replace(made, made=made.made[:-1])
        self._add(Pending(sequence.epoch, sequence.number, sequence.number, made))
        return made

    def answer(self, sequence: ProducerSequence) -> Committed | None:
        """The answer to a commit that is a repetition; None if it is the next one. Raises as `commit`."""
        check_sequence(sequence)
        if not self._primary.configuration.producers.known(sequence):
            return None
        first = self._find(sequence.epoch, sequence.number)
        if first is None or first.queue is not None:
            return Committed(self._primary.position, (), repeated=True)
        return replace(first.committed, repeated=True)

    def publish(
        self, queue: QueueId, batches: Batch | Sequence[Batch], sequence: ProducerSequence
    ) -> Published:
        """Publish the messages of a batch, or of several, once: they have this sequence and the following ones.

        Those at the front that this history has are left out (EO5): a repeated batch may be cut in another way.

        Raises:
            UnknownProducer, SequenceGap: See `ProducerEntries.known`.
            CallerError: What `Primary.enqueue` raises, if anything is left.
        """
        given = (batches,) if isinstance(batches, Batch) else batches
        BATCHES("batches", given)
        for batch in given:
            BATCH("batch", batch)
        count = sum(map(len, given))
        known = self._known(sequence, count)
        if known == count:
            return self._answer(sequence, count)
        if known:
            given = (Batch.join(given).cut(known, count),)
        first = replace(sequence, number=sequence.number + known) if known else sequence
        steps: list[Step] = [Publish((queue,), batch) for batch in given]
        steps.append(UseSequence(first, count - known))
        made = self._primary.make(steps, committed=True)
        ids = SequenceSet.from_range(made.made[0].ids.first, made.made[-2].ids.last)
        self._add(Pending(first.epoch, first.number, sequence.number + count - 1, made, queue, ids))
        return Published(made.position, queue, ids, known)

    def repetition(self, sequence: ProducerSequence, count: int = 1) -> Published | int:
        """The answer to a publish that is a repetition as a whole; or how many of its first messages are known.

        Raises what `publish` raises.
        """
        known = self._known(sequence, count)
        return self._answer(sequence, count) if known == count else known

    def _known(self, sequence: ProducerSequence, count: int) -> int:
        check_sequence(sequence)
        NUMBER("the last sequence number", sequence.number + count - 1)
        return self._primary.configuration.producers.known(sequence, count)

    def _answer(self, sequence: ProducerSequence, count: int) -> Published:
        first = self._find(sequence.epoch, sequence.number + count - 1)
        if first is None:
            return Published(self._primary.position, None, SequenceSet(), count)
        if first.queue is None:
            return Published(first.committed.position, None, SequenceSet(), count)
        return Published(first.committed.position, first.queue, first.part(sequence.number, count), count)

    # --- what is pending -------------------------------------------------------------------------

    def _add(self, pending: Pending) -> None:
        self._order.append(pending)
        self._pending.setdefault(pending.epoch, deque()).append(pending)

    def _find(self, epoch: Entry, number: int) -> Pending | None:
        """The operation with this sequence, if it is pending."""
        of_producer = self._pending.get(epoch)
        index = bisect_right(of_producer, number, key=_first) if of_producer else 0
        if not of_producer or index == 0 or number > of_producer[index - 1].last:
            return None
        return None if self._is_complete(of_producer[index - 1]) else of_producer[index - 1]

    def _is_complete(self, pending: Pending) -> bool:
        if pending.queue is None:
            return pending.committed.position <= self._safe
        last: MessageId = pending.committed.made[0].ids.last
        replicated = level_of(pending.queue) is Level.MESSAGES
        return (self._guards if replicated else self._local).is_complete(pending.queue, last)

    def completed(self, safe: Position) -> None:
        """Everything up to here is complete: forget what was pending. O(1) for each operation."""
        self._safe = safe
        order = self._order
        while order and order[0].committed.position <= safe and self._is_complete(order[0]):
            epoch = order.popleft().epoch
            of_producer = self._pending[epoch]
            of_producer.popleft()
            if not of_producer:
                del self._pending[epoch]

    def check(self) -> None:
        """Raise `InvariantError` if an invariant does not hold. For tests."""
        for pending in self._pending.values():
            ensure(
                all(
                    a.last < b.first and a.committed.position < b.committed.position
                    for a, b in pairwise(pending)
                ),
                "pending sequences out of order",
            )
        ensure(sum(map(len, self._pending.values())) == len(self._order), "pending sequences of producers")
