"""The messages of a last-value queue by key, and which of them are superseded.

It is a function of what is held, the same on every node (rule S7): if the newest message of a key is rewound, the one
before is the newest again.
"""

from __future__ import annotations

from qpidha.seq import SequenceSet
from qpidha.types import MessageId


class Keys:
    """Places by key. O(1) for each message, O(log n) where a key has several.

    Invariants:
      - a key has the places of all held messages with that key; the last one is the newest
      - ``superseded`` has all of them but the newest of each key
    """

    __slots__ = ("_keys", "_places", "superseded")

    def __init__(self) -> None:
        self._places: dict[bytes, SequenceSet] = {}
        self._keys: dict[MessageId, bytes] = {}
        self.superseded = SequenceSet()

    def __len__(self) -> int:
        return len(self._places)

    def newest(self, key: bytes) -> MessageId | None:
        """The place of the newest message of this key; None if there is none."""
        places = self._places.get(key)
        return None if places is None else places.last

    def key_of(self, place: MessageId) -> bytes | None:
        """The key of the message at this place; None if it has none."""
        return self._keys.get(place)

    def places(self, key: bytes) -> SequenceSet:
        """The places of all messages of this key. Not to be changed."""
        return self._places.get(key, NONE)

    def add(self, place: MessageId, key: bytes) -> None:
        """A message with this key is held at this place now. One that was there before was replaced by it."""
        if place in self._keys:
            self.discard(place)
        self._keys[place] = key
        places = self._places.setdefault(key, SequenceSet())
        if places:
            self.superseded.add(min(places.last, place))
        places.add(place)

    def discard(self, place: MessageId) -> None:
        """This place is empty now. One without a key is fine."""
        key = self._keys.pop(place, None)
        if key is None:
            return
        places = self._places[key]
        places.discard(place)
        self.superseded.discard(place)
        if places:
            self.superseded.discard(places.last)
        else:
            del self._places[key]


NONE = SequenceSet()
