"""The messages of one queue by place, as the queue types look at them and have them leave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic

from qpidha.queues.content import DeliveryContent, DeliveryNode, DeliveryTransaction, OpT
from qpidha.seq import SequenceSet
from qpidha.types import MessageId
from qpidha.wire.batch import Batch


class Messages(Generic[OpT]):
    """Reads messages by their places, and lets them leave: dropped, or moved to the queue for dead letters."""

    def __init__(
        self, node: DeliveryNode[OpT], queue: DeliveryContent[OpT], dead_letters: str | None
    ) -> None:
        self._node = node
        self.queue = queue
        self._dead_letters = dead_letters

    # --- reading ---------------------------------------------------------------------------------

    def first(self, places: SequenceSet, bytes_max: int) -> tuple[SequenceSet, Batch]:
        """The first messages at these places, which are held: ids and batch, at least one. They are of one piece."""
        piece = self.queue.select(places)
        assert piece is not None, "the index has only places that are held"
        ids, batch = piece
        if len(batch) > 1 and batch.data_nbytes > bytes_max:
            count = fitting(batch, bytes_max)
            ids, batch = ids.take(count), batch.cut(0, count)
        return ids, batch

    def each(self, places: SequenceSet) -> Iterator[tuple[MessageId, MessageId, Batch, int]]:
        """(place, id, batch, index in it) of the messages at these places, which are held."""
        left = places.copy()
        while left:
            ids, batch = self.first(left, ANY_SIZE)
            found = self.queue.places(ids)
            left -= found
            for index, (place, id) in enumerate(zip(found, ids, strict=True)):
                yield place, id, batch, index

    def ids_at(self, places: SequenceSet) -> SequenceSet:
        """The present ids of the messages at these places, which are held."""
        return SequenceSet([id for _, id, _, _ in self.each(places)])

    def size_at(self, place: MessageId) -> int:
        """The size of the data of the message at this place."""
        _, batch = self.first(SequenceSet([place]), ANY_SIZE)
        return batch.data_nbytes

    # --- leaving ---------------------------------------------------------------------------------

    def transaction(self) -> DeliveryTransaction[OpT]:
        """Begin a transaction."""
        return self._node.transaction()

    def leave(self, transaction: DeliveryTransaction[OpT], dropped: SequenceSet, dead: SequenceSet) -> None:
        """Have the messages at these places leave with a transaction.

        Args:
            dropped: They are dropped.
            dead: They move to the queue for dead letters; without one they are dropped.

        Raises:
            UnknownQueue: The queue for dead letters does not exist.
        """
        if self._dead_letters is None:
            dropped, dead = dropped | dead, SequenceSet()
        if dropped:
            transaction.dequeue(self.queue, self.ids_at(dropped))
        if dead:
            assert self._dead_letters is not None
            transaction.move(self.queue, self.ids_at(dead), self._node.queue(self._dead_letters))

    def drop(self, places: SequenceSet) -> OpT:
        """Drop the messages at these places: by a commit, so that no pending publish completes with it (OV2)."""
        transaction = self._node.transaction()
        transaction.dequeue(self.queue, self.ids_at(places))
        return transaction.commit()

    def bury(self, places: SequenceSet) -> OpT:
        """Move the messages at these places to the queue for dead letters; without one they are dropped.

        Raises:
            UnknownQueue: The queue for dead letters does not exist.
        """
        if self._dead_letters is None:
            return self.drop(places)
        return self.queue.move(self.ids_at(places), self._node.queue(self._dead_letters))


ANY_SIZE = 2**63 - 1


def fitting(batch: Batch, bytes_max: int) -> int:
    """How many messages from the first on have at most so many bytes of data together; at least one."""
    count, left = 1, bytes_max - batch.size(0)
    while count < len(batch) and batch.size(count) <= left:
        left -= batch.size(count)
        count += 1
    return count
