"""A sorted map that costs little while it is small: a node has two of them for each queue with messages.

    no entry                the object alone; an owner of many such maps shares `NOTHING` instead
    one entry               in the object itself: most queues are short
    up to SMALL_MAX         two plain lists
    more                    a `SortedDict`: fast at any length, but even an empty one consists of thirty objects

A full garbage collection visits all live objects without a pause. So the number of objects decides how long the event
loop of a node with many queues stalls.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Final, Generic, NoReturn, TypeVar

from sortedcontainers import SortedDict

V = TypeVar("V")

SMALL_MAX = 256


class OrderedMap(Generic[V]):
    """A map from integers to values, ascending by key.

    Invariant: at most one of the single entry, the lists and ``_large`` is in use. A map of one entry always keeps it
    as the single entry.
    """

    __slots__ = ("_key", "_keys", "_large", "_value", "_values")

    def __init__(self) -> None:
        self._key: int | None = None
        """Key of the single entry; None: it is not in use."""
        self._value: V | None = None
        self._keys: list[int] | None = None
        self._values: list[V] | None = None
        self._large: SortedDict[int, V] | None = None

    def __len__(self) -> int:
        if self._large is not None:
            return len(self._large)
        return len(self._small()[0])

    def _small(self) -> tuple[Sequence[int], Sequence[V]]:
        """Keys and values of a map that is not large."""
        if self._keys is not None and self._values is not None:
            return self._keys, self._values
        if self._key is not None:
            return (self._key,), (self._value,)  # type: ignore[return-value]
        return (), ()

    def __getitem__(self, key: int) -> V:
        if self._large is not None:
            value: V = self._large[key]
            return value
        keys, values = self._small()
        index = bisect_left(keys, key)
        if index == len(keys) or keys[index] != key:
            raise KeyError(key)
        return values[index]

    def __setitem__(self, key: int, value: V) -> None:
        if self._large is not None:
            self._large[key] = value
        elif self._keys is None and self._key in (None, key):
            self._key, self._value = key, value
        else:
            self._set_in_lists(key, value)

    def _set_in_lists(self, key: int, value: V) -> None:
        if self._keys is None or self._values is None:
            keys, values = self._small()
            self._keys, self._values = list(keys), list(values)
            self._key = self._value = None
        index = bisect_left(self._keys, key)
        if index < len(self._keys) and self._keys[index] == key:
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
            if len(self._large) == 1:
                self._key, self._value = self._large.popitem()
                self._large = None
            return
        if self._keys is None or self._values is None:
            if self._key is None or self._key != key:
                raise KeyError(key)
            self._key = self._value = None
            return
        index = bisect_left(self._keys, key)
        if index == len(self._keys) or self._keys[index] != key:
            raise KeyError(key)
        del self._keys[index], self._values[index]
        if len(self._keys) == 1:
            self._key, self._value = self._keys[0], self._values[0]
            self._keys = self._values = None

    def bisect_right(self, key: int) -> int:
        """How many keys are at most this one."""
        if self._large is not None:
            return int(self._large.bisect_right(key))
        return bisect_right(self._small()[0], key)

    def peekitem(self, index: int) -> tuple[int, V]:
        """The entry at this place. Raises `IndexError`."""
        if self._large is not None:
            entry: tuple[int, V] = self._large.peekitem(index)
            return entry
        keys, values = self._small()
        return keys[index], values[index]

    def keys_between(self, first: int, last: int) -> Iterator[int]:
        """The keys above ``first``, up to ``last``. The map must not change meanwhile."""
        if self._large is not None:
            yield from self._large.irange(first, last, inclusive=(False, True))
        else:
            keys = self._small()[0]
            yield from keys[bisect_right(keys, first) : bisect_right(keys, last)]

    def items(self) -> Iterator[tuple[int, V]]:
        """All entries, ascending. The map must not change meanwhile."""
        if self._large is not None:
            yield from self._large.items()
        else:
            yield from zip(*self._small(), strict=True)

    def values(self) -> Iterator[V]:
        """All values, ascending by key. The map must not change meanwhile."""
        return (value for _, value in self.items())


class _Nothing(OrderedMap[Any]):
    __slots__ = ()

    def __setitem__(self, key: int, value: Any) -> NoReturn:
        raise TypeError("this map is shared: make another one")

    def __reduce__(self) -> str:
        """A copy of an owner shares it, too."""
        return "NOTHING"


NOTHING: Final[OrderedMap[Any]] = _Nothing()
"""A map without entries that any number of owners share."""
