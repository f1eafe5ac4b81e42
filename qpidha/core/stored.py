"""One batch of messages as a queue holds it in memory (`qpidha.core.queue`)."""

from __future__ import annotations

from qpidha.seq import SequenceSet
from qpidha.types import MessageId
from qpidha.wire.batch import Batch


class Stored:
    """One stored batch: the n-th message has the n-th of ``ids``, some of which may be gone already."""

    __slots__ = ("batch", "ids", "last", "live")

    def __init__(self, ids: SequenceSet, batch: Batch) -> None:
        self.ids = ids
        self.batch = batch
        self.last: MessageId = ids.last
        self.live = len(batch)

    def one(self, id: MessageId) -> Batch:
        """The message with this id; the batch itself if it has no other. O(log runs)."""
        ids, batch = self.ids, self.batch
        if len(batch) == 1:
            return batch
        index = id - ids.first if ids.run_count == 1 else ids.count(ids.first, id) - 1
        return batch.cut(index, index + 1)

    def data_nbytes_of(self, wanted: SequenceSet) -> int:
        """The size of the data of the wanted ones among its messages. O(wanted), or O(1) for all of them."""
        if len(wanted) == len(self.batch):
            return self.batch.data_nbytes
        size, at = self.batch.size, self.ids.count
        return sum(
            size(index)
            for a, b in wanted.runs()
            for index in range(at(self.ids.first, a) - 1, at(self.ids.first, b))
        )

    def pick(self, wanted: SequenceSet) -> tuple[SequenceSet, Batch]:
        """The wanted ones among its messages; the batch itself, without a copy, if that is all of them."""
        if len(wanted) == len(self.batch):
            return self.ids, self.batch
        before = self.ids.count
        runs = [(before(self.ids.first, a) - 1, before(self.ids.first, b)) for a, b in wanted.runs()]
        return wanted, self.batch.gather(runs)
