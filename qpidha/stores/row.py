"""One row: a batch of messages as a database has it, and which of them are still there. See `qpidha.stores.rows`."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from qpidha.seq import SequenceSet
from qpidha.types import MessageId
from qpidha.wire.batch import Batch

NONE_LEFT = SequenceSet()
"""The empty set, shared by all rows without live messages. Never changed, like every set in a row."""


class Remains:
    """What a row knows of its messages besides first and last id: some are gone, or its ids have holes."""

    __slots__ = ("dead_digest", "ids", "live")

    def __init__(self, ids: SequenceSet, live: SequenceSet) -> None:
        self.ids = ids
        self.live = live
        self.dead_digest: int | None = None


GONE = Remains(NONE_LEFT, NONE_LEFT)
"""Of all rows that went whole: nothing asks for their ids any more."""


class Row:
    """One stored batch: the n-th message has the n-th of ``ids``; ``live`` says which are still there.

    A row whose ids are one run, and all live, is *whole*: it needs no sets. It is also the slot of its ids (`RowIndex`),
    if no other row has ids among them.

    Invariant: ``live`` is a subset of ``ids``; both are replaced, never changed, since they are shared.
    """

    __slots__ = ("_remains", "batch", "digest", "first", "key", "last")

    def __init__(self, key: int, ids: SequenceSet, batch: Batch | None) -> None:
        self.key = key
        self.first: MessageId = ids.first
        """The lowest id of the row."""
        self.last: MessageId = ids.last
        """The highest id of the row."""
        self._remains = None if ids.run_count == 1 else Remains(ids, ids)
        self.batch = batch
        """None once a disk has it."""
        self.digest = 0
        """Checksum of the row as stored."""

    @property
    def whole(self) -> bool:
        """All ids from the first to the last are live."""
        return self._remains is None

    @property
    def ids(self) -> SequenceSet:
        """The ids of its messages, live or not."""
        remains = self._remains
        return SequenceSet.from_range(self.first, self.last) if remains is None else remains.ids

    @property
    def live(self) -> SequenceSet:
        """The ids of the messages that are there."""
        remains = self._remains
        return SequenceSet.from_range(self.first, self.last) if remains is None else remains.live

    @live.setter
    def live(self, live: SequenceSet) -> None:
        if self._remains is None:
            self._remains = Remains(self.ids, live)
        else:
            self._remains.live = live

    @property
    def is_live(self) -> bool:
        """Any of its messages is there."""
        remains = self._remains
        return remains is None or bool(remains.live)

    @property
    def dead_digest(self) -> int | None:
        """Checksum of the note about its dead ids; None: there is no note."""
        remains = self._remains
        return None if remains is None else remains.dead_digest

    @dead_digest.setter
    def dead_digest(self, digest: int) -> None:
        assert self._remains is not None, "none of its ids is dead"
        self._remains.dead_digest = digest

    def take(self, ids: SequenceSet) -> int:
        """Forget these ids; how many of them were live. O(runs of the row)."""
        remains, first, last = self._remains, self.first, self.last
        if remains is None and ids.run_count == 1 and ids.first <= first and last <= ids.last:
            self._remains = GONE
            return last - first + 1
        live = self.live
        if not live:
            return 0
        part = ids.slice(live.first, live.last)
        if not part:
            return 0
        left = live - part
        taken = len(live) - len(left)
        if taken:
            self.live = left or NONE_LEFT
        return taken

    def live_batch(self) -> Batch:
        """The messages that are left: the batch itself if that is all of them."""
        assert self.batch is not None
        remains = self._remains
        if remains is None or len(remains.live) == len(remains.ids):
            return self.batch
        start, before = self.first, remains.ids.count
        return self.batch.gather([(before(start, a) - 1, before(start, b)) for a, b in remains.live.runs()])

    @property
    def rows(self) -> tuple[Row, ...]:
        """As the slot of its ids: the row alone."""
        return (self,)

    @property
    def only_row(self) -> Row:
        """As the slot of its ids: the row."""
        return self

    def drop_dead(self) -> bool:
        """As the slot of its ids: see `Slot.drop_dead`."""
        return self.is_live


class PackedRows:
    """Whole rows that a disk has, without an object for each: 28 bytes a row instead of about 200."""

    __slots__ = ("_digests", "_firsts", "_keys", "_lasts")

    def __init__(self, firsts: array[int], rows: list[Row]) -> None:
        """``firsts``: of the same rows. It is kept, and must not change as long as this is used."""
        self._firsts = firsts
        self._lasts = array("Q", [row.last for row in rows])
        self._keys = array("Q", [row.key for row in rows])
        self._digests = array("Q", [row.digest for row in rows])

    def __iter__(self) -> Iterator[Row]:
        """All of them, in order, made anew."""
        return map(self.__getitem__, range(len(self._keys)))

    def __getitem__(self, place: int) -> Row:
        """The one at this place, made anew."""
        row = Row(self._keys[place], SequenceSet.from_range(self._firsts[place], self._lasts[place]), None)
        row.digest = self._digests[place]
        return row
