"""Rows, one for each batch of messages, and the index that finds the row of an id.

    slots    [ 1 .. 1000 ]   [ 1001 .. 2000 ]   [ 5001 .. 5400 ]      disjoint intervals, sorted
                  |             |        |             |
    rows        row 7         row 8    row 31        row 32           31 was inserted into a hole of 8

A slot is an interval of ids and the rows with live ids in it: nearly always one row. A batch whose ids lie among
those of other rows, as after a resync, is added to their slots and to new slots between them; it stays
one row. So the cost of a commit depends on what it changes, never on the length of the queue.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpidha.errors import ensure
from qpidha.ordered import NOTHING, OrderedMap
from qpidha.seq import SequenceSet
from qpidha.types import MessageId
from qpidha.wire.batch import Batch

NONE_LEFT = SequenceSet()
"""The empty set, shared by all rows without live messages. Never changed, like every set in a row."""


class Row:
    """One stored batch: the n-th message has the n-th of ``ids``; ``live`` says which are still there.

    Invariant: ``live`` is a subset of ``ids``; both are replaced, never changed, since they are shared.
    """

    __slots__ = ("batch", "dead_digest", "digest", "ids", "key", "live")

    def __init__(self, key: int, ids: SequenceSet, batch: Batch | None) -> None:
        self.key = key
        self.ids = ids
        self.live = ids
        self.batch = batch
        """None once a disk has it."""
        self.digest = 0
        """Checksum of the row as stored."""
        self.dead_digest: int | None = None
        """Checksum of the note about its dead ids; None: there is no note."""

    @property
    def last(self) -> MessageId:
        """The highest id of the row."""
        return self.ids.last

    def take(self, ids: SequenceSet) -> bool:
        """Forget these ids; True if any of them was live. O(runs of the row)."""
        live = self.live
        if not live:
            return False
        if ids.run_count == 1 and ids.first <= live.first and live.last <= ids.last:
            self.live = NONE_LEFT
            return True
        part = ids.slice(live.first, live.last)
        if not part:
            return False
        left = live - part
        if len(left) == len(live):
            return False
        self.live = left or NONE_LEFT
        return True

    def live_batch(self) -> Batch:
        """The messages that are left: the batch itself if that is all of them."""
        assert self.batch is not None
        if len(self.live) == len(self.ids):
            return self.batch
        start, before = self.ids.first, self.ids.count
        return self.batch.gather([(before(start, a) - 1, before(start, b)) for a, b in self.live.runs()])


class Slot:
    """An interval of ids, and the rows that have live ids in it."""

    __slots__ = ("_more", "_row", "first", "last")

    def __init__(self, first: MessageId, last: MessageId, row: Row) -> None:
        self.first = first
        self.last = last
        self._row = row
        self._more: tuple[Row, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """At least one."""
        return (self._row, *self._more)

    @property
    def only_row(self) -> Row | None:
        """The row, if there is only one."""
        return None if self._more else self._row

    def join(self, row: Row) -> None:
        """This row has live ids here, too."""
        self._more += (row,)

    def drop_dead(self) -> bool:
        """Remove the rows without live ids in this slot. True if a row is left."""
        first, last = self.first, self.last
        if not self._more:
            return bool(self._row.live) and bool(self._row.live.count(first, last))
        left = [row for row in self.rows if row.live and row.live.count(first, last)]
        if left:
            self._row, *more = left
            self._more = tuple(more)
        return bool(left)


class RowIndex:
    """The rows of one queue by id.

    Invariants (`check` verifies them):
      - slots are disjoint, and keyed by their first id
      - a row is in the slots of its live ids and in no other
      - no id is live in two rows
      - without slots, the map is the shared one
    """

    __slots__ = ("_slots", "held")

    def __init__(self) -> None:
        self._slots: OrderedMap[Slot] = NOTHING
        self.held = 0
        """How many messages are live."""

    def __iter__(self) -> Iterator[Row]:
        """Every row once, in no particular order."""
        return iter({row.key: row for slot in self._slots.values() for row in slot.rows}.values())

    def add(self, row: Row) -> None:
        """Add a row whose live ids are live nowhere else.

        Raises:
            InvariantError: One of its ids is live in another row.
        """
        live = row.live
        first, last = live.first, live.last
        slots = self._slots
        if slots is NOTHING:
            slots = self._slots = OrderedMap()
            slots[first] = Slot(first, last, row)
        elif slots.last.last < first:
            slots[first] = Slot(first, last, row)
        elif met := list(self._met(first, last)):
            self._add_among(row, met)
        else:
            slots[first] = Slot(first, last, row)
        self.held += len(live)

    def _add_among(self, row: Row, met: list[Slot]) -> None:
        """Add the row to the slots that it meets, and to new slots before, between and after them."""
        live = row.live
        at, end = live.first, live.last
        for slot in met:
            if at < slot.first:
                self._add_between(row, at, slot.first - 1)
            if inside := live.slice(max(at, slot.first), min(end, slot.last)):
                ensure(not any(other.live & inside for other in slot.rows), "inserted ids are held already")
                slot.join(row)
            at = slot.last + 1
        if at <= end:
            self._add_between(row, at, end)

    def _add_between(self, row: Row, first: MessageId, last: MessageId) -> None:
        if part := row.live.slice(first, last):
            self._slots[part.first] = Slot(part.first, part.last, row)

    def take(self, ids: SequenceSet) -> list[Row]:
        """Remove these ids. Returns the rows that had any of them, each once."""
        if ids.run_count == 1:
            below = self._slots.floor(ids.first)
            if below is not None and ids.last <= below[1].last and (row := below[1].only_row) is not None:
                return [row] if self._take_of(below[1], row, ids) else []
        slots = self._holding(ids)
        touched: list[Row] = []
        for row in {row.key: row for slot in slots for row in slot.rows}.values():
            before = len(row.live)
            if row.take(ids):
                self.held -= before - len(row.live)
                touched.append(row)
        for slot in slots:
            if not slot.drop_dead():
                del self._slots[slot.first]
        if not self._slots:
            self._slots = NOTHING
        return touched

    def _take_of(self, slot: Slot, row: Row, ids: SequenceSet) -> bool:
        """The same of the only row of this slot, in which the ids lie: most accepts. True if it had any of them."""
        before = len(row.live)
        if not row.take(ids):
            return False
        self.held -= before - len(row.live)
        if not slot.drop_dead():
            del self._slots[slot.first]
            if not self._slots:
                self._slots = NOTHING
        return True

    def _holding(self, ids: SequenceSet) -> list[Slot]:
        """The slots that meet one of the runs, in order."""
        found: list[Slot] = []
        seen = -1
        for first, last in ids.runs():
            if last > seen:
                more = list(self._met(max(first, seen + 1), last))
                if more:
                    found += more
                    seen = more[-1].last
        return found

    def _met(self, first: MessageId, last: MessageId) -> Iterator[Slot]:
        """The slots that meet this interval, in order. O(log slots) and what is found."""
        slots = self._slots
        below = slots.floor(first)
        if below is not None and below[1].last >= first:
            yield below[1]
        for start in slots.keys_between(first, last):
            yield slots[start]

    def check(self) -> None:
        """Verify the invariants. O(queue): for tests."""
        seen, previous = SequenceSet(), -1
        ensure((self._slots is NOTHING) == (not self._slots), "a map without slots is kept")
        for first, slot in self._slots.items():
            ensure(
                first == slot.first > previous and slot.last >= first,
                "slots overlap, or a key is not its first id",
            )
            previous = slot.last
            ensure(
                bool(slot.rows) and all(r.live.count(slot.first, slot.last) for r in slot.rows),
                "row without live ids in its slot",
            )
        for row in self:
            ensure(not seen & row.live, "id live in two rows")
            seen |= row.live
            places = sum(slot.last - slot.first + 1 for slot in self._slots.values() if row in slot.rows)
            ensure(places >= len(row.live), "live ids outside the slots of their row")
        ensure(len(seen) == self.held, "count of held ids")
