"""One replicated queue as every node holds it: history, held ids, and the messages themselves.

Messages stay in the batches in which they came. A batch is dropped when its last message is gone, and
rewritten when less than half of it is left, so dead payload never exceeds live payload by much.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpidha.core.batches import NONE_HELD, Batches
from qpidha.core.lineage import Lineage
from qpidha.core.places import Places, placed
from qpidha.core.resync import History
from qpidha.core.stored import Outline, Stored
from qpidha.errors import ensure
from qpidha.ordered import NOTHING, OrderedMap
from qpidha.seq import SequenceSet
from qpidha.types import MESSAGE_ID_MAX, Level, MessageId, QueueId, QueueSpec, level_of
from qpidha.wire._batch import ORDER, ORIGINS
from qpidha.wire.batch import Batch

COMPACT_BYTES_MIN = 4096
"""Smaller batches are not worth rewriting."""


class ReplicatedQueue(Batches):
    """The content of one queue on one node.

    Invariants (`check` verifies all):
      - every held id lies in exactly one stored batch, and below next; their intervals are disjoint
      - a stored batch has at least one held id, and ``live`` counts them
      - first ids of the lineage are at most next
      - ``bytes`` is the sum of the sizes of the stored batches
      - ``places`` has the messages with an order key, and is None if there are none
      - a stored batch without bytes is in the store, with every one of its held messages
    """

    __slots__ = ("_top", "fills", "lineage", "local", "next", "places", "spec")

    def __init__(self, queue: QueueId, spec: QueueSpec, lineage: Lineage, next: MessageId) -> None:
        super().__init__(queue)
        self.local = level_of(queue) is not Level.MESSAGES
        """Its messages are this node's own: they are not replicated (LV1)."""
        self.spec = spec
        self.lineage = lineage
        self.next = next
        self.fills = 0
        """How often messages came in below next. A flip brings them, also if lineage and next stay as they are (P3)."""
        self.places: Places | None = None
        """Where the updated messages stand (U1)."""
        self._top: MessageId = 0
        """No stored batch has a higher id, held or gone. A rewind lowers ``next`` below it: a batch keeps the
        place of its rewound messages until it is cut, and their ids are given out again."""

    @property
    def history(self) -> History:
        """The history of the queue. It shares ``held`` with the queue: do not keep it over a change."""
        return History(self.lineage, self.next, self.held)

    def __len__(self) -> int:
        return len(self.held)

    def append(self, batch: Batch) -> SequenceSet:
        """Give out the next ids to a batch (O1) and hold it. Returns the ids, one run."""
        ids = SequenceSet.from_range(self.next, self.next + len(batch) - 1)
        self.insert(ids, batch)
        return ids

    def insert(self, ids: SequenceSet, batch: Batch) -> None:
        """Hold a batch at the given ids, at their place in the order (C6). Raises next (N2)."""
        first, last = ids.first, ids.last
        if self._stored is NOTHING:
            self._stored = OrderedMap()
        if first > self._top or not self._overlaps(first, last):
            item = self._stored[first] = Stored(ids, batch)
            self.bytes += batch.nbytes
            if self.bodies is not None:
                self.bodies.came(self, item)
        else:  # The ids overlap stored batches: insert one run at a time, so that batches stay disjoint intervals.
            at = 0
            for a, b in ids.runs():
                self._make_room(a, b)
                piece = batch.cut(at, at + b - a + 1)
                self._put(Stored(SequenceSet.from_range(a, b), piece))
                self.bytes += piece.nbytes
                at += b - a + 1
        if not self.held:  # It may be shared with other queues without messages.
            self.held = ids.copy()
        elif ids.run_count == 1:
            self.held.add(first, last)
        else:
            self.held |= ids
        if batch.columns & ORDER:
            self.places = placed(self.places, ids, batch)
        self._top = max(self._top, last)
        if last >= self.next:
            self.next = last + 1
        else:
            self.fills += 1

    def can_adopt(self, ids: SequenceSet) -> bool:
        """Whether a batch with these ids can be held without its bytes: else it must be cut, or is always in memory."""
        first, last = ids.first, ids.last
        return self.bodies is not None and (first > self._top or not self._overlaps(first, last))

    def looks_at(self, outline: Outline) -> bool:
        """Whether `adopt` needs the messages themselves: their order keys, or what an index has of them."""
        return bool(outline.columns & ORDER)

    def adopt(self, ids: SequenceSet, left: SequenceSet, outline: Outline, batch: Batch | None) -> None:
        """Hold messages of a batch that only the store has, as `insert` would.

        Args:
            ids: Of all its messages. `can_adopt` them.
            left: Of those that are to be held: one of them at least.
            outline: Of the whole batch.
            batch: The messages that are left, if the queue `looks_at` them.
        """
        if self._stored is NOTHING:
            self._stored = OrderedMap()
        item = self._stored[ids.first] = Stored(ids, outline)
        item.live = len(left)
        if self.held and left.run_count == 1:
            self.held.add(left.first, left.last)
        else:
            self.held = self.held | left
        if batch is not None and batch.columns & ORDER:
            self.places = placed(self.places, left, batch)
        self.bytes += outline.nbytes
        self._top = max(self._top, ids.last)
        self.fills += left.last < self.next
        self.next = max(self.next, left.last + 1)

    def _overlaps(self, first: MessageId, last: MessageId) -> bool:
        below = self._stored.floor(last)
        return below is not None and below[1].last >= first

    def _make_room(self, first: MessageId, last: MessageId) -> None:
        """Cut every stored batch whose interval overlaps this run. No id of the run is held."""
        stored = self._stored
        while (below := stored.floor(last)) is not None and below[1].last >= first:
            key, old = below
            if old.absent:
                self._load(old)
                continue  # It may end elsewhere now.
            self._drop(key, old)
            for low, high in ((old.ids.first, first - 1), (last + 1, old.last)):
                if low <= high and (part := self.held.slice(low, high)):
                    ids, piece = old.pick(part)
                    self._put(Stored(ids, piece))
                    self.bytes += piece.nbytes

    def remove(self, ids: SequenceSet) -> SequenceSet:
        """Drop messages; ids that are not held are fine (O2). Returns those that were held."""
        gone = ids & self.held
        if ids and ids.last >= self.next:
            self.next = ids.last + 1
        if gone:
            self.held -= gone
            self._release(gone)
        if self.places is not None:
            self.places.remove(gone)
            self.places = self.places if len(self.places) else None
        if not self._stored:
            self._stored, self.held = NOTHING, NONE_HELD
        return gone

    def _release(self, gone: SequenceSet) -> None:
        """Account for removed messages: drop the batches that have nothing left, rewrite sparse ones.

        Each of them was held, and held ids lie in stored batches, which are disjoint: so the batch at or before an id has
        it, and all up to the last one of that batch. O(log batches) for each batch that had any.
        """
        stored = self._stored
        at: MessageId | None = gone.first
        while at is not None:
            entry = stored.floor(at)
            assert entry is not None, "a message that was held lies in a stored batch"
            key, item = entry
            last = item.last
            item.live -= gone.count(at, last)
            if item.live == 0:
                del stored[key]
                self.bytes -= item.batch.nbytes
                if self.bodies is not None:
                    self.bodies.went(self, item)
            elif (
                item.live * 2 < len(item.batch) and item.batch.nbytes >= COMPACT_BYTES_MIN and not item.absent
            ):
                self._compact(key, item)
            at = gone.ceiling(last + 1)

    def _compact(self, key: MessageId, item: Stored) -> None:
        left = item.ids & self.held
        ids, batch = item.pick(left)
        self._drop(key, item)
        self._put(Stored(ids, batch))
        self.bytes += batch.nbytes

    def skip(self, last: MessageId) -> None:
        """Ids up to this one count as given out (O2)."""
        self.next = max(self.next, last + 1)

    def read(
        self, place: MessageId, *, messages_max: int, bytes_max: int
    ) -> Iterator[tuple[SequenceSet, Batch]]:
        """Held messages from a place on, in order, as (ids, batch) pieces, until a limit is reached.

        The place of a message is its id, or the id that it had before its first update (U1). In each piece ids and places
        ascend. At least one message is returned if there is one. Whole batches are shared, not copied.
        """
        plain = self.places is None
        pieces = self._plain(place, MESSAGE_ID_MAX) if plain else self._in_order(place, messages_max)
        for item, live in pieces:
            if messages_max <= 0 or bytes_max <= 0:
                return
            average = max(1, item.batch.nbytes // len(item.batch))
            fits = min(messages_max, max(1, bytes_max // average))
            if len(live) > fits:
                yield item.pick(live.take(fits))
                return  # Held messages of this batch are left out, and later ones must not come before them.
            ids, batch = item.pick(live)
            messages_max -= len(batch)
            bytes_max -= batch.nbytes
            yield ids, batch

    def read_one(self, place: MessageId) -> tuple[SequenceSet, Batch] | None:
        """What `read` gives first with ``messages_max`` 1, in fewer steps. The ids are the caller's. O(log content)."""
        if self.places is not None or place > MESSAGE_ID_MAX:
            found = next(self.read(place, messages_max=1, bytes_max=1), None)
            return None if found is None else (found[0].copy(), found[1])
        id = self.held.ceiling(place)
        if id is None:
            return None
        return SequenceSet.from_range(id, id), self._present(id).one(id)

    def _in_order(self, place: MessageId, count: int) -> Iterator[tuple[Stored, SequenceSet]]:
        """What is held from a place on, in order: messages of one stored batch, ``count`` updated ones at most."""
        assert self.places is not None, "a queue without updated messages has the order of its ids"
        item: Stored | None = None
        ids = SequenceSet()
        for at, id in self.places.upwards(place):
            if item is not None and (at != place + 1 or not ids.last < id <= item.last or len(ids) >= count):
                yield item, ids
                item = None
            if item is None:
                yield from self._plain(place, at - 1)
                item = self._present(id)
                ids = SequenceSet()
            ids.add(id)
            place = at
        if item is not None:
            yield item, ids
        yield from self._plain(place, MESSAGE_ID_MAX)

    def _plain(self, first: MessageId, last: MessageId) -> Iterator[tuple[Stored, SequenceSet]]:
        """What is held with these ids, without updated messages, which stand elsewhere."""
        stored = self._stored
        entry = stored.floor(first) or stored.after(first)
        while entry is not None and entry[0] <= last:
            item = entry[1]
            if type(item.batch) is Outline:
                low, high = max(first, item.ids.first), min(last, item.last)
                if low <= high and self.held.slice(low, high):
                    self._load(item)  # With some that follow.
            entry = stored.after(item.last)
            low, high = max(first, item.ids.first), min(last, item.last)
            live = self.held.slice(low, high) if low <= high else None
            if live and self.places is not None:
                live -= self.places.ids.slice(low, high)
            if live:
                yield item, live

    def stored_from(self, id: MessageId) -> Iterator[tuple[SequenceSet, Batch | Outline]]:
        """The stored batches that have, or had, a message at this id or above, each with its ids, ascending.

        Some of the messages may be gone. Those with origins are in memory. The queue must not change meanwhile.
        """
        stored = self._stored
        entry = stored.floor(id) or stored.after(id)
        while entry is not None:
            item = entry[1]
            if item.last >= id:
                if item.absent and item.batch.columns & ORIGINS:
                    self._load(item)
                yield item.ids, item.batch
            entry = stored.after(item.last)

    def select(self, wanted: SequenceSet) -> Iterator[tuple[SequenceSet, Batch]]:
        """Exactly these messages, all of which must be held, as pieces in ascending order."""
        at: MessageId | None = wanted.first if wanted else None
        while at is not None:
            item = self._present(at)
            yield item.pick(wanted.slice(at, item.last))
            at = wanted.ceiling(item.last + 1)

    def first_at(self, places: SequenceSet) -> tuple[SequenceSet, Batch] | None:
        """The first held messages at these places, of one stored batch, as many as have ascending ids."""
        updated = SequenceSet() if self.places is None else places & self.places.taken
        plain = places & self.held
        if self.places is not None:
            plain -= self.places.ids
        if updated:
            if not plain or updated.first < plain.first:
                assert self.places is not None
                id = self.places.holder(updated.first)
                assert id is not None, "a place that is taken has a holder"
                return next(self.select(SequenceSet.from_range(id, id)))
            plain = plain.slice(plain.first, updated.first)
        return next(self.select(plain), None)

    def data_nbytes_of(self, wanted: SequenceSet) -> int:
        """The size of the data of these messages, all of which must be held. O(wanted)."""
        nbytes, at = 0, wanted.first if wanted else None
        while at is not None:
            item = self._batch_of(at)
            nbytes += item.data_nbytes_of(wanted.slice(at, item.last))
            at = wanted.ceiling(item.last + 1)
        return nbytes

    def check(self) -> None:
        """Raise `InvariantError` if an invariant of the class does not hold. O(batches)."""
        total, end = 0, -1
        for first, item in self._stored.items():
            live = item.ids & self.held
            ensure(end < first <= item.last <= self._top, "stored batches overlap")
            end = item.last
            ensure(first == item.ids.first and len(item.ids) == len(item.batch), "ids and batch differ")
            ensure(len(live) == item.live > 0, "live count")
            total += len(live)
        ensure(total == len(self.held), "held ids outside the stored batches")
        ensure(self.bytes == sum(item.batch.nbytes for item in self._stored.values()), "bytes of the batches")
        ensure(not self.held or self.held.last < self.next, "held id at or above next")
        ensure(all(first <= self.next for _, first in self.lineage), "lineage beyond next")
        ensure(self.places is None or len(self.places) > 0, "places without messages")
        if self.places is not None:
            self.places.check(self.held)
