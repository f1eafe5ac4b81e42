"""Which messages of one queue have expired, on the primary."""

from __future__ import annotations

from collections.abc import Callable

from qpidha.queues.expiry import Expiry
from qpidha.seq import SequenceSet


class Expiring:
    """Finds the expired messages. It changes nothing but the marks in the index of times.

    A message that a consumer has does not expire before it is given back.
    """

    def __init__(self, expiry: Expiry, taken: SequenceSet, clock: Callable[[], float]) -> None:
        """``taken``: the places that consumers have, live."""
        self._expiry = expiry
        self._taken = taken
        self._clock = clock
        expiry.restart()  # Consumers of an earlier term had what is marked.

    @property
    def is_due(self) -> bool:
        """Whether `take` might find something. O(1)."""
        at = self._expiry.next_at
        return at is not None and at <= self._clock()

    def take(self) -> SequenceSet:
        """The places of expired messages that no consumer has. Those that are not dropped then: `again`."""
        due = self._expiry.take_due(self._clock())
        return due - self._taken

    def again(self, places: SequenceSet) -> None:
        """Look at these places again: consumers do not have them any more, or they could not be dropped."""
        self._expiry.again(places)
