"""Which messages of one queue have expired, on the primary."""

from __future__ import annotations

import math
from collections.abc import Callable

from qpidha.queues.index import MessageIndex
from qpidha.seq import SequenceSet
from qpidha.types import MessageId


class Expiring:
    """Finds the expired messages. It changes nothing but the index of times, from which it takes what is due.

    A message that a consumer has does not expire before it is given back.
    """

    def __init__(
        self,
        index: MessageIndex,
        taken: SequenceSet,
        clock: Callable[[], float],
        props_at: Callable[[MessageId], bytes],
    ) -> None:
        """``taken``: the places that consumers have, live. ``props_at``: the props of the message at a place."""
        self._index = index
        self._taken = taken
        self._clock = clock
        self._props_at = props_at
        self._postponed = SequenceSet()
        """Places of messages that were due while a consumer had them."""

    @property
    def is_due(self) -> bool:
        """Whether `take` might find something. O(1)."""
        at = self._index.expiry.next_at
        return at is not None and at <= self._clock()

    def take(self) -> SequenceSet:
        """The places of expired messages that no consumer has. Those that are not dropped then: `put_back`."""
        now = self._clock()
        due = self._index.held(self._index.expiry.take_due(now))
        self._postponed |= due & self._taken
        return SequenceSet([place for place in due - self._taken if self._expires_at(place) <= now])

    def put_back(self, places: SequenceSet) -> None:
        """Look at these places again, all of which are held: for example because they could not be dropped."""
        for place in places:
            self._index.expiry.add(place, self._expires_at(place))

    def given_back(self, places: SequenceSet) -> None:
        """Consumers do not have these messages any more."""
        again = self._postponed & places
        self._postponed -= again
        self.put_back(self._index.held(again))

    def gone(self, places: SequenceSet) -> None:
        """These messages left the queue."""
        self._postponed -= places

    def _expires_at(self, place: MessageId) -> float:
        expires_at = self._index.read(self._props_at(place)).expires_at
        return math.inf if expires_at is None else expires_at
