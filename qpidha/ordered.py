"""A map sorted by its keys that costs little while it is small: a node has two for each queue, and most queues are short.

Up to SMALL_MAX entries are two plain lists; more become a `SortedDict`, whose cost does not grow with its length, but of
which an empty one takes thirty objects that the garbage collector looks at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

from sortedcontainers import SortedDict

V = TypeVar("V")

SMALL_MAX = 256


class OrderedMap(Generic[V]):
    """Whole numbers to values, ascending.

    Invariant: the lists are in use, or ``_large`` is; never both.
    """

    __slots__ = ("_keys", "_large", "_values")

    def __init__(self) -> None:
        self._keys: list[int] | None = None
        self._values: list[V] | None = None
        self._large: SortedDict[int, V] | None = None

    def __len__(self) -> int:
        if self._large is not None:
            return len(self._large)
        return len(self._keys) if self._keys is not None else 0

    def __getitem__(self, key: int) -> V:
        if self._large is not None:
            value: V = self._large[key]
            return value
        index, found = self._find(key)
        if not found:
            raise KeyError(key)
        assert self._values is not None
        return self._values[index]

    def __setitem__(self, key: int, value: V) -> None:
        if self._large is not None:
            self._large[key] = value
            return
        if self._keys is None or self._values is None:
            self._keys, self._values = [key], [value]
            return
        index, found = self._find(key)
        if found:
            self._values[index] = value
            return
        self._keys.insert(index, key)
        self._values.insert(index, value)
        if len(self._keys) > SMALL_MAX:
            self._large = SortedDict(zip(self._keys, self._values, strict=True))
            self._keys = self._values = None

    def __delitem__(self, key: int) -> None:
        if self._large is not None:
            del self._large[key]
            if not self._large:
                self._large = None
            return
        index, found = self._find(key)
        if not found:
            raise KeyError(key)
        assert self._keys is not None and self._values is not None
        del self._keys[index], self._values[index]
        if not self._keys:
            self._keys = self._values = None

    def _find(self, key: int) -> tuple[int, bool]:
        keys = self._keys
        if keys is None:
            return 0, False
        index = bisect_left(keys, key)
        return index, index < len(keys) and keys[index] == key

    def bisect_right(self, key: int) -> int:
        """How many keys are at most this one."""
        if self._large is not None:
            return int(self._large.bisect_right(key))
        return bisect_right(self._keys, key) if self._keys is not None else 0

    def peekitem(self, index: int) -> tuple[int, V]:
        """The entry at this place. Raises `IndexError`."""
        if self._large is not None:
            entry: tuple[int, V] = self._large.peekitem(index)
            return entry
        if self._keys is None or self._values is None:
            raise IndexError(index)
        return self._keys[index], self._values[index]

    def keys_between(self, first: int, last: int) -> Iterator[int]:
        """The keys above ``first``, up to ``last``. The map must not change meanwhile."""
        if self._large is not None:
            yield from self._large.irange(first, last, inclusive=(False, True))
        elif self._keys is not None:
            yield from self._keys[bisect_right(self._keys, first) : bisect_right(self._keys, last)]

    def items(self) -> Iterator[tuple[int, V]]:
        """All entries, ascending. The map must not change meanwhile."""
        if self._large is not None:
            yield from self._large.items()
        elif self._keys is not None and self._values is not None:
            yield from zip(self._keys, self._values, strict=True)

    def values(self) -> Iterator[V]:
        """All values, ascending by key. The map must not change meanwhile."""
        return (value for _, value in self.items())
