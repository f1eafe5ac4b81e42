"""A queue with an index of its messages, kept as they come and go: a promotion has nothing to build.

What is in an index belongs to the type of the queue: messages by priority, by key, by the time at which they expire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from qpidha.core.lineage import Lineage
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.stored import Outline
from qpidha.seq import SequenceSet
from qpidha.types import MessageId, QueueId, QueueSpec
from qpidha.wire.batch import Batch


class QueueIndex(Protocol):
    """An index of what one queue holds on one node. It is a pure function of the messages and never raises."""

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        """The queue holds these messages now: the n-th of the batch has the n-th of the ids.

        A message that replaces another one (rule U1) is inserted first, with the order key of the old one, and then the
        old one is removed.
        """

    def removed(self, places: SequenceSet, data_nbytes: int) -> None:
        """Messages are gone: these places are empty now, and the data is so many bytes less.

        The place of a message that was replaced is not among them: the one that replaces it is there.
        """

    def check(self, ids: SequenceSet, batch: Batch) -> None:
        """Raise `InvariantError` if these messages, some of those that the queue holds, are not in the index."""


IndexFactory: TypeAlias = Callable[[QueueSpec], QueueIndex]
"""Makes the index, still empty, of a queue with this specification."""
QueueTypes: TypeAlias = Mapping[str, IndexFactory]
"""By kind of queue: how its index is made. A queue of another kind has none."""


class IndexedQueue(ReplicatedQueue):
    """A `ReplicatedQueue` with an index. The cost of a change is that of the index, for each message.

    Invariants (`check` verifies all):
      - the index has exactly the messages that are held, between two operations
    """

    __slots__ = ("index",)

    def __init__(
        self, queue: QueueId, spec: QueueSpec, lineage: Lineage, next: MessageId, index: QueueIndex
    ) -> None:
        super().__init__(queue, spec, lineage, next)
        self.index = index

    def insert(self, ids: SequenceSet, batch: Batch) -> None:
        """See `ReplicatedQueue.insert`."""
        super().insert(ids, batch)
        self.index.inserted(ids, batch)

    def looks_at(self, outline: Outline) -> bool:
        """See `ReplicatedQueue.looks_at`: always."""
        return True

    def adopt(self, ids: SequenceSet, left: SequenceSet, outline: Outline, batch: Batch | None) -> None:
        """See `ReplicatedQueue.adopt`."""
        assert batch is not None, "it looks at all"
        super().adopt(ids, left, outline, batch)
        self.index.inserted(left, batch)

    def remove(self, ids: SequenceSet) -> SequenceSet:
        """See `ReplicatedQueue.remove`."""
        held = ids & self.held
        nbytes, empty = self.data_nbytes_of(held), self._places_of(held)
        gone = super().remove(ids)
        if self.places is not None:
            empty -= self.places.taken
        if gone:
            self.index.removed(empty, nbytes)
        return gone

    def _places_of(self, ids: SequenceSet) -> SequenceSet:
        return ids if self.places is None else self.places.of_all(ids)

    def check(self) -> None:
        """See `ReplicatedQueue.check`; and the invariants of the class. O(messages)."""
        super().check()
        for ids, batch in self.select(self.held):
            self.index.check(ids, batch)
