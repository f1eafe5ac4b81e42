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


class Expiry:
    """Places by the time at which they expire. O(log slots) to add.

    A place is not taken out when its message goes, so what is due has to be looked at again: it may be gone, and
    after a rewind the place may belong to another message. Memory: some bytes for each run of places in one slot, until
    the slot is due.
    """

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: SortedDict[int, SequenceSet] = SortedDict()

    def add(self, place: MessageId, expires_at: float) -> None:
        """A message with a time of expiry was inserted. One that is no number never expires."""
        if not math.isfinite(expires_at):
            return
        slot = math.ceil(expires_at / SLOT_S)
        if slot not in self._slots:
            self._slots[slot] = SequenceSet()
        self._slots[slot].add(place)

    @property
    def next_at(self) -> float | None:
        """When the next message may be due; None if none has a time of expiry."""
        return float(self._slots.peekitem(0)[0] * SLOT_S) if self._slots else None

    def take_due(self, now: float) -> SequenceSet:
        """Take out the places that may be due."""
        due = SequenceSet()
        while (at := self.next_at) is not None and at <= now:
            due |= self._slots.popitem(0)[1]
        return due

    def has(self, place: MessageId, expires_at: float) -> bool:
        """Whether this place is there for this time."""
        return not math.isfinite(expires_at) or place in self._slots.get(math.ceil(expires_at / SLOT_S), ())

    def clear(self) -> None:
        """Nothing is held any more."""
        self._slots.clear()
