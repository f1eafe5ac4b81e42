"""Collects the messages that are published in one turn of the event loop, so that they become one operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final, Protocol

from qpidha.checks import instance_of
from qpidha.core.producers import TAG_BYTES
from qpidha.core.replica import Replica
from qpidha.errors import ArgumentError
from qpidha.node.ledger import Outcome
from qpidha.seq import SequenceSet
from qpidha.types import ProducerSequence, QueueId
from qpidha.wire.batch import Batch

SMALL_BATCH_BYTES = 16 * 1024
"""Smaller batches of one turn are joined: copying them costs less than a separate operation on every node."""

MESSAGE_OVERHEAD_BYTES = 16
"""Bytes that a message counts in addition to its own, so that many empty messages fill a frame as well."""
MESSAGES = instance_of(list, tuple, what="a Batch, a list or a tuple of bytes")


def as_batch(batch: list[bytes] | tuple[bytes, ...]) -> Batch:
    """Several messages in one block. Raises `ArgumentError`."""
    MESSAGES("batch", batch)
    if not batch:
        raise ArgumentError("batch must have at least one message, not none")
    try:
        return Batch.pack(batch)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"batch: {error}") from None


class Waiting:
    """Single messages and small batches published in one turn: one operation for all of them."""

    __slots__ = ("_batches", "_data", "_props", "bytes", "messages", "outcome", "scheduled")

    def __init__(self, *, scheduled: bool = False) -> None:
        self._batches: list[Batch] = []
        self._data: list[bytes] = []
        self._props: list[bytes] = []
        self.messages = 0
        self.bytes = 0
        self.outcome = Outcome()
        self.scheduled = scheduled
        """The node will flush at the end of this turn."""

    def add(self, data: bytes, props: bytes) -> None:
        """Add one message to the batch."""
        self._data.append(data)
        self._props.append(props)
        self.messages += 1
        self.bytes += len(data) + len(props) + MESSAGE_OVERHEAD_BYTES

    def add_batch(self, batch: Batch) -> None:
        """Add the messages of a batch."""
        self._close_singles()
        self._batches.append(batch)
        self.messages += len(batch)
        self.bytes += batch.nbytes

    def _close_singles(self) -> None:
        if self._data:
            self._batches.append(Batch.pack(self._data, self._props if any(self._props) else None))
            self._data, self._props = [], []

    def joined(self) -> Batch:
        """Everything, in order, as one batch. There is at least one message."""
        self._close_singles()
        return self._batches[0] if len(self._batches) == 1 else Batch.join(self._batches)

    def publish(self, replica: Replica, queue: QueueId) -> SequenceSet:
        """Make one operation of everything. Returns the ids."""
        return replica.enqueue(queue, self.joined(), taken=True)[1]


class Collecting(Protocol):
    """What collects publishes: a queue."""

    _waiting: Waiting

    def _flush(self) -> None:
        """Publish what was collected."""


class Run(Waiting):
    """The messages of one producer, with consecutive sequences (EO1).

    Other messages that are added to the queue in this turn publish the run first. So ids are given out in the order of
    the calls, and a publish without a producer does not have to look for a run.
    """

    __slots__ = ("_published", "first", "queue")

    def __init__(self, queue: Collecting, first: ProducerSequence, published: Callable[[], None]) -> None:
        super().__init__(scheduled=True)
        self.queue = queue
        self.first = first
        """The sequence of the first message."""
        self._published = published
        """Called before the operation is made."""

    def append(self, data: bytes, props: bytes) -> None:
        """Add the next message of the producer."""
        super().add(data, props)
        self.bytes += TAG_BYTES

    def append_batch(self, batch: Batch) -> None:
        """Add the next messages of the producer."""
        super().add_batch(batch)
        self.bytes += TAG_BYTES * len(batch)

    def add(self, data: bytes, props: bytes) -> None:
        """Publish the run, and add a message without a producer to what the queue collects then."""
        self._next().add(data, props)
        self._stand_for_next()

    def add_batch(self, batch: Batch) -> None:
        """The same with a batch."""
        self._next().add_batch(batch)
        self._stand_for_next()

    def _next(self) -> Waiting:
        self.queue._flush()
        return self.queue._waiting

    def _stand_for_next(self) -> None:
        """The caller of `add` goes on with these."""
        self.bytes, self.outcome = self.queue._waiting.bytes, self.queue._waiting.outcome

    def publish(self, replica: Replica, queue: QueueId) -> SequenceSet:
        """Make one operation of everything, with the entry of the producer."""
        self._published()
        self._close_singles()
        return replica.publish(queue, list(joined_small(self._batches)), self.first, taken=True).ids


def joined_small(batches: list[Batch]) -> Iterator[Batch]:
    """The same messages: small batches that follow one another are joined, large ones stay as they are."""
    for small, part in groupby(batches, lambda batch: batch.nbytes < SMALL_BATCH_BYTES):
        group = list(part)
        if small and len(group) > 1:
            yield Batch.join(group)
        else:
            yield from group


IDLE: Final = Waiting()
"""Shared by all queues without publishes in this turn; must not be changed."""
