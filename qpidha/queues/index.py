"""The index of one queue: what the queue types know of all its messages, kept on every node as they come and go."""

from __future__ import annotations

from typing import Final

from qpidha.checks import FLAG, implements, integer
from qpidha.errors import ensure
from qpidha.queues.expiry import Expiry
from qpidha.queues.keys import Keys
from qpidha.queues.properties import NO_TRAITS, PropertiesFormat, Traits, checked
from qpidha.seq import SequenceSet
from qpidha.types import MessageId
from qpidha.wire._batch import ORDER, PROPS
from qpidha.wire.batch import Batch

FORMAT: Final = implements("props_format", plain=("read", "with_deliveries"))
LEVELS: Final = integer(1, 256)


def place_of(id: MessageId, batch: Batch, index: int) -> MessageId:
    """The place of a message: its id, or its order key if it was updated."""
    place = batch.order(index)
    return place if 0 < place < id else id


class MessageIndex:
    """Places by priority, by time of expiry and by key, and the size of all data.

    A message costs the time to read its props, about a microsecond; a batch without props and order keys costs O(1).

    Invariants (`check` verifies them for the messages that it is given):
      - each held message has one place, in the level of its priority; no other place is in a level
      - ``nbytes`` is the size of the data of all held messages
    """

    __slots__ = ("expiry", "format", "keys", "levels", "moved", "nbytes")

    def __init__(self, props_format: PropertiesFormat, *, levels: int = 1, keyed: bool = False) -> None:
        FORMAT("props_format", props_format)
        LEVELS("levels", levels)
        FLAG("keyed", keyed)
        self.format = props_format
        self.levels = tuple(SequenceSet() for _ in range(levels))
        """The places of each priority. Live: not to be changed, and not to be kept over a change."""
        self.expiry = Expiry()
        self.keys: Keys | None = Keys() if keyed else None
        """Only of a last-value queue."""
        self.moved = SequenceSet()
        """Places whose message has another priority than the one that it replaces. Whoever delivers clears it."""
        self.nbytes = 0
        """The size of the data of all messages."""

    def __len__(self) -> int:
        return sum(len(level) for level in self.levels)

    def held(self, places: SequenceSet) -> SequenceSet:
        """Those of these places at which there is a message."""
        held = SequenceSet()
        for level in self.levels:
            held |= places & level
        return held

    def read(self, props: bytes) -> Traits:
        """The traits of a message with these props; `NO_TRAITS` if they cannot be read."""
        try:
            return checked(self.format.read(props))
        except Exception:  # noqa: BLE001 - the format is the embedder's, and props come from clients
            return NO_TRAITS

    def level_of(self, priority: int) -> int:
        """The number of the level of this priority: the highest level takes all above it, the lowest all below."""
        return min(max(priority, 0), len(self.levels) - 1)

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        """See `qpidha.core.indexed.QueueIndex.inserted`."""
        self.nbytes += batch.data_nbytes
        if not batch.columns & (PROPS | ORDER):
            level = self.levels[0]
            level |= ids
            return
        for index, id in enumerate(ids):
            place = place_of(id, batch, index)
            traits = self.read(batch.props(index))
            if place != id:
                self._leave(place, self.level_of(traits.priority))
            self._take(place, traits)

    def _leave(self, place: MessageId, level: int) -> None:
        """The message that is replaced at this place may have had another priority, key and time of expiry."""
        self.expiry.discard(place)
        if self.keys is not None:
            self.keys.discard(place)
        for number, places in enumerate(self.levels):
            if number != level and place in places:
                places.discard(place)
                self.moved.add(place)

    def _take(self, place: MessageId, traits: Traits) -> None:
        self.levels[self.level_of(traits.priority)].add(place)
        if traits.expires_at is not None:
            self.expiry.add(place, traits.expires_at)
        if self.keys is not None and traits.key is not None:
            self.keys.add(place, traits.key)

    def removed(self, places: SequenceSet, data_nbytes: int) -> None:
        """See `qpidha.core.indexed.QueueIndex.removed`."""
        self.nbytes -= data_nbytes
        for level in self.levels:
            for first, last in places.runs():
                level.discard(first, last)
        self.moved -= places
        if self.keys is not None:
            for place in places:
                self.keys.discard(place)
        if not any(self.levels):
            self.expiry.clear()
        elif self.expiry:
            for place in places:
                self.expiry.discard(place)

    def check(self, ids: SequenceSet, batch: Batch) -> None:
        """See `qpidha.core.indexed.QueueIndex.check`."""
        for index, id in enumerate(ids):
            place, traits = place_of(id, batch, index), self.read(batch.props(index))
            levels = [number for number, level in enumerate(self.levels) if place in level]
            ensure(levels == [self.level_of(traits.priority)], "the index has a message in another level")
            if traits.expires_at is not None:
                ensure(self.expiry.has(place, traits.expires_at), "the index misses a time of expiry")
            if self.keys is not None:
                ensure(self.keys.key_of(place) == traits.key, "the index has another key")
