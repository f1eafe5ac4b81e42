"""Rows, one for each batch of messages, and the index that finds the row of an id.

    slots    [ 1 .. 1000 ]   [ 1001 .. 2000 ]   [ 5001 .. 5400 ]      disjoint intervals, sorted
                  |             |        |             |
    rows        row 7         row 8    row 31        row 32           31 was inserted into a hole of 8

A slot is an interval of ids and the rows with live ids in it: nearly always one row. A batch whose ids lie among
those of other rows, as after a resync, is added to their slots and to new slots between them; it stays
one row. So the cost of a commit depends on what it changes, never on the length of the queue.

A node has one of these rows for each object of its configuration, so the usual one is small: a row that has a slot to
itself is the slot, it has no sets while its ids are one run of live messages, and of many such rows together only numbers
are kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final, NoReturn

from qpidha.errors import ensure
from qpidha.ordered import NOTHING, OrderedMap
from qpidha.seq import SequenceSet
from qpidha.stores.row import PackedRows, Row
from qpidha.types import MessageId


def packed(firsts: array[int], slots: list[Row | Slot]) -> PackedRows | None:
    """These slots in the packed form; None if one of them is not just a whole row that a disk has."""
    rows = [slot for slot in slots if isinstance(slot, Row) and slot.whole and slot.batch is None]
    return PackedRows(firsts, rows) if len(rows) == len(slots) else None


class Slot:
    """An interval of ids, and the rows that have live ids in it, unless a row is a slot itself."""

    __slots__ = ("first", "last", "rows")

    def __init__(self, first: MessageId, last: MessageId, *rows: Row) -> None:
        self.first = first
        self.last = last
        self.rows = rows
        """At least one."""

    @property
    def only_row(self) -> Row | None:
        """The row, if there is only one."""
        return self.rows[0] if len(self.rows) == 1 else None

    def drop_dead(self) -> bool:
        """Remove the rows without live ids in this slot. True if a row is left."""
        first, last = self.first, self.last
        self.rows = tuple(row for row in self.rows if row.is_live and row.live.count(first, last))
        return bool(self.rows)


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
        self._slots: OrderedMap[Row | Slot] = NOTHING
        self.held = 0
        """How many messages are live."""

    def __iter__(self) -> Iterator[Row]:
        """Every row once, in no particular order. Those that are packed are made for the caller alone."""
        return iter({row.key: row for slot in self._slots.values() for row in slot.rows}.values())

    def add(self, row: Row) -> None:
        """Add a row whose live ids are live nowhere else.

        Raises:
            InvariantError: One of its ids is live in another row.
        """
        if row.whole:
            first, last = row.first, row.last
            count = last - first + 1
        else:
            live = row.live
            first, last, count = live.first, live.last, len(live)
        slots = self._slots
        if slots is NOTHING:
            slots = self._slots = OrderedMap()
        if (not slots or slots.last.last < first) or not (met := list(self._met(first, last))):
            slots[first] = row if row.whole else Slot(first, last, row)
        else:
            self._add_among(row, met)
        self.held += count

    def pack(self) -> None:
        """Keep the rows of long stretches that a disk has in less memory. O(rows that came since the last call)."""
        self._slots.pack(packed)

    def _add_among(self, row: Row, met: list[Row | Slot]) -> None:
        """Add the row to the slots that it meets, and to new slots before, between and after them."""
        live = row.live
        at, end = live.first, live.last
        for slot in met:
            if at < slot.first:
                self._add_between(row, at, slot.first - 1)
            if inside := live.slice(max(at, slot.first), min(end, slot.last)):
                ensure(not any(other.live & inside for other in slot.rows), "inserted ids are held already")
                self._slots[slot.first] = Slot(slot.first, slot.last, *slot.rows, row)
            at = slot.last + 1
        if at <= end:
            self._add_between(row, at, end)

    def _add_between(self, row: Row, first: MessageId, last: MessageId) -> None:
        if part := row.live.slice(first, last):
            self._slots[part.first] = Slot(part.first, part.last, row)

    def find(self, id: MessageId) -> Row | None:
        """The row in which this id is live; None if there is none. To look at: it may be made for the caller alone."""
        slot = self._slots.look(id)
        if slot is None or slot.last < id:
            return None
        return next((row for row in slot.rows if id in row.live), None)

    def take(self, ids: SequenceSet) -> list[Row]:
        """Remove these ids. Returns the rows that had any of them, each once."""
        if ids.run_count == 1:
            below = self._slots.floor(ids.first)
            if below is not None and ids.last <= below[1].last and (row := below[1].only_row) is not None:
                return [row] if self._take_of(below[1], row, ids) else []
        slots = self._holding(ids)
        touched: list[Row] = []
        for row in {row.key: row for slot in slots for row in slot.rows}.values():
            if taken := row.take(ids):
                self.held -= taken
                touched.append(row)
        for slot in slots:
            if not slot.drop_dead():
                del self._slots[slot.first]
        if not self._slots:
            self._slots = NOTHING
        return touched

    def _take_of(self, slot: Row | Slot, row: Row, ids: SequenceSet) -> bool:
        """The same of the only row of this slot, in which the ids lie: most accepts. True if it had any of them."""
        taken = row.take(ids)
        if not taken:
            return False
        self.held -= taken
        if not slot.drop_dead():
            del self._slots[slot.first]
            if not self._slots:
                self._slots = NOTHING
        return True

    def _holding(self, ids: SequenceSet) -> list[Row | Slot]:
        """The slots that meet one of the runs, in order."""
        found: list[Row | Slot] = []
        seen = -1
        for first, last in ids.runs():
            if last > seen:
                more = list(self._met(max(first, seen + 1), last))
                if more:
                    found += more
                    seen = more[-1].last
        return found

    def _met(self, first: MessageId, last: MessageId) -> Iterator[Row | Slot]:
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
            slots = [slot for slot in self._slots.values() if any(r.key == row.key for r in slot.rows)]
            places = sum(slot.last - slot.first + 1 for slot in slots)
            ensure(places >= len(row.live), "live ids outside the slots of their row")
        ensure(len(seen) == self.held, "count of held ids")


class _NoRows(RowIndex):
    __slots__ = ()

    def add(self, row: Row) -> NoReturn:
        raise TypeError("this index is shared: make another one")

    def __reduce__(self) -> str:
        """A copy of an owner shares it, too."""
        return "NO_ROWS"


NO_ROWS: Final = _NoRows()
"""An index without rows that any number of queues share: most are idle."""
