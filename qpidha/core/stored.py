"""One batch of a queue, in memory or only in the store: what is known of it either way."""

from __future__ import annotations

from qpidha.seq import SequenceSet
from qpidha.types import MessageId
from qpidha.wire.batch import Batch, sizes_of

SIZE_BYTES = 4
INDEX_BYTES = 480
"""Measured: of a batch that is not in memory, with one run of ids."""


class Outline:
    """What is known of a batch whose bytes only the store has: its sizes, and which columns it has."""

    __slots__ = ("_count", "_sizes", "columns", "data_nbytes", "nbytes", "staged")

    def __init__(self, batch: Batch) -> None:
        self._count = len(batch)
        self._sizes = sizes_of(batch)
        if self._sizes == self._sizes[:SIZE_BYTES] * self._count:
            self._sizes = b""  # All have the same size.
        self.columns = batch.columns
        self.data_nbytes = batch.data_nbytes
        self.nbytes = batch.nbytes
        self.staged = False
        """The store has it set aside until a flip is durable (`qpidha.core.bodies`)."""

    def __len__(self) -> int:
        return self._count

    @property
    def held_nbytes(self) -> int:
        """About how much memory is needed for what is known of the batch, its ids and the map of the queue included."""
        return INDEX_BYTES + len(self._sizes)

    def size(self, index: int) -> int:
        """The size of the data of one message."""
        if not self._sizes:
            return self.data_nbytes // self._count
        at = SIZE_BYTES * index
        return int.from_bytes(self._sizes[at : at + SIZE_BYTES], "little")


class Stored:
    """One stored batch: the n-th message has the n-th of ``ids``, some of which may be gone already."""

    __slots__ = ("batch", "ids", "last", "live")

    def __init__(self, ids: SequenceSet, batch: Batch | Outline) -> None:
        self.ids = ids
        self.batch: Batch | Outline = batch
        self.last: MessageId = ids.last
        self.live = len(batch)

    @property
    def body(self) -> Batch:
        """The batch, which is in memory."""
        batch = self.batch
        assert isinstance(batch, Batch), "a batch that is in the store is read before it is used"
        return batch

    @property
    def outline(self) -> Outline:
        """What is known of the batch, which is not in memory."""
        batch = self.batch
        assert isinstance(batch, Outline), "a batch in memory has no outline"
        return batch

    @property
    def absent(self) -> bool:
        """Only the store has its bytes."""
        return isinstance(self.batch, Outline)

    def one(self, id: MessageId) -> Batch:
        """The message with this id; the batch itself if it has no other. O(log runs)."""
        ids, batch = self.ids, self.body
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
        batch = self.body
        if len(wanted) == len(batch):
            return self.ids, batch
        before = self.ids.count
        runs = [(before(self.ids.first, a) - 1, before(self.ids.first, b)) for a, b in wanted.runs()]
        return wanted, batch.gather(runs)
