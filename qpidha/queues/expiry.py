"""When messages expire: which may be due at a given time.

Only a primary expires messages, by an operation as for any other dequeue: a backup never drops one by its own clock. The
time is absolute, so clocks of nodes that differ by some seconds make messages live some seconds longer or shorter.
"""

from __future__ import annotations

import math
from typing import Final

from sortedcontainers import SortedDict

from qpidha.seq import SequenceSet
from qpidha.types import MessageId

SLOT_S: Final = 0.1
"""Times of expiry are rounded up to this, so that messages of one slot share one set."""
FAR_S: Final = 1e15
"""A time this far away, some thirty million years, is no time of expiry."""


def slot_of(expires_at: float) -> int | None:
    """The slot of a time; None if the message never expires: the time is too far away, or no number."""
    if not expires_at < FAR_S:
        return None
    return math.ceil(max(expires_at, 0) / SLOT_S)


class Expiry:
    """Places by the time at which they expire. O(log slots) for each place. About 100 bytes for each of them.

    It has all held messages that expire, on every node: what is due is only marked, because it may be with a consumer.

    Invariants:
      - ``_slot_of`` has the slot of each place; the place is in that slot of ``_slots``, or in ``_marked``
    """

    __slots__ = ("_marked", "_slot_of", "_slots")

    def __init__(self) -> None:
        self._slots: SortedDict[int, SequenceSet] = SortedDict()
        self._slot_of: dict[MessageId, int] = {}
        self._marked = SequenceSet()
        """Places that `take_due` has returned."""

    def __len__(self) -> int:
        return len(self._slot_of)

    def add(self, place: MessageId, expires_at: float) -> None:
        """The message at this place has a time of expiry."""
        self.discard(place)
        slot = slot_of(expires_at)
        if slot is not None:
            self._slot_of[place] = slot
            self._schedule(place, slot)

    def _schedule(self, place: MessageId, slot: int) -> None:
        if slot not in self._slots:
            self._slots[slot] = SequenceSet()
        self._slots[slot].add(place)

    def discard(self, place: MessageId) -> None:
        """The message at this place is gone, or was replaced. A place without a time is fine."""
        slot = self._slot_of.pop(place, None)
        if slot is None:
            return
        if place in self._marked:
            self._marked.discard(place)
            return
        places = self._slots[slot]
        places.discard(place)
        if not places:
            del self._slots[slot]

    @property
    def next_at(self) -> float | None:
        """When the next message is due that is not marked; None if there is none."""
        return float(self._slots.peekitem(0)[0] * SLOT_S) if self._slots else None

    def take_due(self, now: float) -> SequenceSet:
        """Mark the places that are due, and return those that were not marked before."""
        due = SequenceSet()
        while (at := self.next_at) is not None and at <= now:
            due |= self._slots.popitem(0)[1]
        self._marked |= due
        return due

    def again(self, places: SequenceSet) -> None:
        """Return these places once more when `take_due` is called next."""
        marked = self._marked & places
        self._marked -= marked
        for place in marked:
            self._schedule(place, self._slot_of[place])

    def restart(self) -> None:
        """Return all places once more that are due."""
        self.again(self._marked.copy())

    def has(self, place: MessageId, expires_at: float) -> bool:
        """Whether this place is there for this time."""
        return self._slot_of.get(place) == slot_of(expires_at)

    def clear(self) -> None:
        """Nothing is held any more."""
        self._slots.clear()
        self._slot_of.clear()
        self._marked.clear()
