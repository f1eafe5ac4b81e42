"""Which message is delivered next: lanes, one for each level of priority, and how they take turns."""

from __future__ import annotations

from collections.abc import Sequence

from qpidha.seq import SequenceSet
from qpidha.types import MESSAGE_ID_MAX, MessageId


class Lane:
    """The messages of one level, in the order of their places: those that were given back first, then new ones.

    Invariants:
      - every held place below the cursor is taken or in ``_back``
      - ``_back`` has only places below the cursor
    """

    __slots__ = ("_back", "_cursor", "_taken", "places")

    def __init__(self, places: SequenceSet, taken: SequenceSet) -> None:
        self.places = places
        self._taken = taken
        self._cursor: MessageId = 0
        self._back = SequenceSet()
        """Places that were given back. Some may be empty by now."""

    def next(self) -> MessageId | None:
        """The place that is next; None if nothing is left. O(log n), and O(1) for each place that is passed over."""
        while self._back:
            place = self._back.first
            if place in self.places and place not in self._taken:
                return place
            self._back.discard(place)
        at = self.places.ceiling(self._cursor)
        while at is not None and at in self._taken:
            self._cursor = at + 1
            at = self.places.ceiling(self._cursor)
        return at

    def peek(self, messages_max: int) -> SequenceSet:
        """The next places, at most so many. They stay where they are."""
        first = self.next()
        if first is None:
            return SequenceSet()
        if self._back:
            back = self._back.take(4 * messages_max)
            return ((back & self.places) - self._taken).take(messages_max)
        last = min(first + 4 * messages_max, MESSAGE_ID_MAX)
        return (self.places.slice(first, last) - self._taken.slice(first, last)).take(messages_max)

    def take(self, places: SequenceSet) -> None:
        """These places, the first ones of `peek`, are taken. The caller adds them to the places that are taken."""
        if self._back:
            self._back -= places
        else:
            self._cursor = places.last + 1

    def give_back(self, places: SequenceSet) -> None:
        """These places are not taken any more: those of this level are delivered again."""
        if self._cursor:
            self._back |= places.slice(0, self._cursor - 1) & self.places


class Lanes:
    """All lanes of a queue, the highest level first.

    With a fair share, at most so many messages of one level are delivered before a lower level has its turn.
    """

    def __init__(
        self, levels: Sequence[SequenceSet], taken: SequenceSet, fair_share: int | None = None
    ) -> None:
        """``levels``, the lowest first, and ``taken`` are live: the lanes see what changes in them."""
        self._lanes = [Lane(places, taken) for places in reversed(levels)]
        self._fair_share = fair_share
        self._turn = 0
        self._delivered = 0

    def next(self) -> Lane | None:
        """The lane whose turn it is, with something to deliver; None if there is nothing in any."""
        if self._fair_share is None:
            # Of many levels few have messages: an empty one costs as little as can be.
            return next((lane for lane in self._lanes if lane.places and lane.next() is not None), None)
        if self._delivered >= self._fair_share:
            self._end_turn()
        for _ in self._lanes:
            lane = self._lanes[self._turn]
            if lane.next() is not None:
                return lane
            self._end_turn()
        return None

    def _end_turn(self) -> None:
        self._turn, self._delivered = (self._turn + 1) % len(self._lanes), 0

    def room(self, messages_max: int) -> int:
        """How many messages the lane whose turn it is may deliver at once."""
        if self._fair_share is None:
            return messages_max
        return min(messages_max, self._fair_share - self._delivered)

    def delivered(self, count: int) -> None:
        """So many messages of the lane whose turn it is were delivered."""
        self._delivered += count

    def give_back(self, places: SequenceSet) -> None:
        """These places are not taken any more: they are delivered again."""
        for lane in self._lanes:
            lane.give_back(places)
