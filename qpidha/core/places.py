"""Where updated messages of a queue stand: an update gives a message a new id, and it keeps its place (rule U1).

The *place* of a message is the id with which it came into its queue. A message that was never updated has its id as its
place; an updated one carries it as its order key. The order of a queue is that of (place, id).

A queue that holds no updated message has no `Places`, so it pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from sortedcontainers import SortedList

from qpidha.errors import ensure
from qpidha.seq import SequenceSet
from qpidha.types import MESSAGE_ID_MAX, MessageId
from qpidha.wire.batch import Batch


class Places:
    """The updated messages that one queue holds. O(log updated) for each change and look-up.

    Within an operation, a message and its successor have the same place for a moment. Otherwise each has its own, unless
    a peer or a store breaks the rules: then messages of the same place come in the order of their ids.

    Invariants (`check`):
      - ``ids`` are the messages that have an entry, ``taken`` the places of the entries
      - each place is an id below that of its message
    """

    __slots__ = ("_entries", "_place", "ids", "taken")

    def __init__(self) -> None:
        self.ids = SequenceSet()
        """The updated messages."""
        self.taken = SequenceSet()
        """Their places: the ids that they had first."""
        self._place: dict[MessageId, MessageId] = {}
        self._entries: SortedList[tuple[MessageId, MessageId]] = SortedList()
        """(place, id)."""

    def __len__(self) -> int:
        return len(self._entries)

    def insert(self, ids: SequenceSet, batch: Batch) -> None:
        """Enter those messages of a batch that have an order key. One that is not below the id is none."""
        for index, id in enumerate(ids):
            place = batch.order(index)
            if 0 < place < id:
                self.ids.add(id)
                self.taken.add(place)
                self._place[id] = place
                self._entries.add((place, id))

    def remove(self, ids: SequenceSet) -> None:
        """Drop messages; those that have no entry are fine."""
        for id in ids & self.ids:
            place = self._place.pop(id)
            self._entries.remove((place, id))
            self.ids.discard(id)
            if self.holder(place) is None:
                self.taken.discard(place)

    def holder(self, place: MessageId) -> MessageId | None:
        """The updated message at this place; None if there is none."""
        for _, id in self._entries.irange((place, 0), (place, MESSAGE_ID_MAX), reverse=True):
            return int(id)
        return None

    def of(self, id: MessageId) -> MessageId:
        """The place of a message that the queue holds."""
        return self._place.get(id, id)

    def of_all(self, ids: SequenceSet) -> SequenceSet:
        """The places of messages that the queue holds; an id that it does not hold is its own place. O(updated ones)."""
        updated = ids & self.ids
        return (ids - updated) | SequenceSet(self._place[id] for id in updated) if updated else ids

    def upwards(self, place: MessageId) -> Iterator[tuple[MessageId, MessageId]]:
        """(place, id) of the updated messages from this place on, in order. They must not change meanwhile."""
        yield from self._entries.irange((place, 0))

    def check(self, held: SequenceSet) -> None:
        """Raise `InvariantError` if an invariant of the class does not hold. O(updated)."""
        ensure(self.ids <= held, "a place of a message that is not held")
        ensure(self.ids == SequenceSet(self._place), "the ids of updated messages")
        ensure(self.taken == SequenceSet(self._place.values()), "the places of updated messages")
        ensure(sorted((p, id) for id, p in self._place.items()) == list(self._entries), "entries of places")
        ensure(all(place < id for id, place in self._place.items()), "a place above the id")


def placed(places: Places | None, ids: SequenceSet, batch: Batch) -> Places | None:
    """The places of a queue after it has inserted a batch with order keys."""
    if places is None:
        places = Places()
    places.insert(ids, batch)
    return places if len(places) else None


def in_order(places: Places | None, ids: SequenceSet) -> list[SequenceSet]:
    """Held messages in the order of their places: sets, one after the other, in each of which ids and places ascend.

    O(1) if none of them was updated, else O(n log n) for n messages.
    """
    if not ids or places is None or ids.isdisjoint(places.ids):
        return [ids] if ids else []
    return ascending(id for _, id in sorted((places.of(id), id) for id in ids))


def ascending(ids: Iterator[MessageId]) -> list[SequenceSet]:
    """Cut a sequence of ids wherever it does not ascend."""
    parts = list[SequenceSet]()
    for id in ids:
        if not parts or id < parts[-1].last:
            parts.append(SequenceSet())
        parts[-1].add(id)
    return parts
