"""Which message has which key, for very many keys that a store has brought: 20 to 40 bytes for each.

Keys are not kept: they are in the messages. For each key there is a part of its hash, and the id of its message; the
owner looks into the message when the hash fits. Keys are never added once the table is made; they go one by one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from qpidha.types import MessageId

_FREE: Final = 0
_GONE: Final = 1
"""Marks of places without a key: one that never had one, and one whose key went."""


class KeyTable:
    """Open addressing, at most half full. Expected O(1) for each call."""

    __slots__ = ("_ids", "_marks", "_mask", "count")

    def __init__(self, keys: Iterable[tuple[bytes, MessageId]], count: int) -> None:
        """Keys, no two of them equal, with the ids of their messages. ``count``: how many they are, at most."""
        size = 8
        while size < 2 * count:
            size *= 2
        self._mask = mask = size - 1
        self._marks = marks = array("I", bytes(4 * size))
        self._ids = ids = array("Q", bytes(8 * size))
        self.count = 0
        for key, id in keys:
            at = (mark := _mark(key)) & mask
            while marks[at]:
                at = (at + 1) & mask
            marks[at], ids[at] = mark, id
            self.count += 1

    def _places(self, key: bytes) -> Iterator[int]:
        """Where this key may be."""
        marks, mask = self._marks, self._mask
        at = (mark := _mark(key)) & mask
        while (there := marks[at]) != _FREE:
            if there == mark:
                yield at
            at = (at + 1) & mask

    def find(self, key: bytes, key_of: Callable[[MessageId], bytes]) -> MessageId | None:
        """The id of the message of this key; None if it is not in the table. ``key_of``: the key of a message."""
        for at in self._places(key):
            if key_of(self._ids[at]) == key:
                return self._ids[at]
        return None

    def drop(self, key: bytes, id: MessageId) -> bool:
        """Remove this key of this message. False: it is not in the table."""
        for at in self._places(key):
            if self._ids[at] == id:
                self._marks[at] = _GONE
                self.count -= 1
                return True
        return False

    def __iter__(self) -> Iterator[MessageId]:
        """The ids of all messages whose keys are in the table, in no particular order."""
        for mark, id in zip(self._marks, self._ids, strict=True):
            if mark > _GONE:
                yield id


def _mark(key: bytes) -> int:
    """A part of the hash of a key; never one of the marks of places without a key."""
    return hash(key) & 0xFFFFFFFF | 1 << 31
