"""A sorted map that costs little while it is small: a node has two of them for each queue with messages.

    no entry                the object alone; an owner of many such maps shares `NOTHING` instead
    one entry               in the object itself: most queues are short
    up to SMALL_MAX         two plain lists
    more                    `Blocks` of such lists: the highest key of each tells in which one a key is

A key is found by bisection of the blocks, then of one block. Keys nearly always come above all others and go from the
front: that is an append to the last list, and a deletion from the first one.

A full garbage collection visits all live objects without a pause. So the number of objects decides how long the event
loop of a node with many queues stalls.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, NoReturn, Protocol, TypeVar

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

SMALL_MAX = 256
BLOCK_MAX = 1024
"""Keys in a block; one that outgrows it is halved."""


class Packed(Protocol[V_co]):
    """The values of one block in a form that takes less memory."""

    def __iter__(self) -> Iterator[V_co]:
        """All values, in order, each made anew."""

    def __getitem__(self, place: int, /) -> V_co:
        """The value at this place, made anew."""


class Blocks(Generic[V]):
    """The entries of a large map. O(log entries + √entries) for each change, in few steps of the interpreter.

    Values of a full block may be *packed* by the owner of the map, which takes less memory. A block is unpacked, whole,
    by the first call that looks for one of its values.

    Invariant: no block is empty; ``tops`` are their last keys, and ascend like the keys in them.
    """

    __slots__ = ("_unpacked", "count", "keys", "tops", "values")

    def __init__(self, keys: list[int], values: list[V]) -> None:
        """One block, of these entries, at least one."""
        self.keys: list[list[int] | array[int]] = [keys]
        self.values: list[list[V] | Packed[V]] = [values]
        self.tops = [keys[-1]]
        self.count = len(keys)
        self._unpacked = 0
        """How many blocks before the last one were filled since the last `pack`."""

    def open(self, block: int) -> list[V]:
        """The values of a block, to look at and to change."""
        values = self.values[block]
        if not isinstance(values, list):
            values = self.values[block] = list(values)
        return values

    def pack(self, make: Callable[[array[int], list[V]], Packed[V] | None]) -> None:
        """Pack the blocks that were filled since the last call: ``make`` is given their keys and values. O(what is new).

        None: they cannot be packed, and stay as they are.
        """
        end = len(self.tops) - 1
        for block in range(max(0, end - self._unpacked), end):
            values = self.values[block]
            if isinstance(values, list):
                keys = array("Q", self.keys[block])
                if (packed := make(keys, values)) is not None:
                    self.keys[block], self.values[block] = keys, packed
        self._unpacked = 0

    def find(self, key: int) -> tuple[int, int] | None:
        """The block of a key and its place there; None if it is in none."""
        block = bisect_left(self.tops, key)
        if block == len(self.tops):
            return None
        keys = self.keys[block]
        place = bisect_left(keys, key)
        return (block, place) if keys[place] == key else None

    def put(self, key: int, value: V) -> None:
        """Add an entry, or replace its value."""
        tops = self.tops
        if tops[-1] < key:
            if len(self.keys[-1]) < BLOCK_MAX:
                self.open(-1).append(value)
                self.keys[-1].append(key)
                tops[-1] = key
            else:
                self.keys.append([key])
                self.values.append([value])
                tops.append(key)
                self._unpacked += 1
            self.count += 1
            return
        block = bisect_left(tops, key)
        keys, values = self.keys[block], self.open(block)
        place = bisect_left(keys, key)
        if keys[place] == key:
            values[place] = value
            return
        keys.insert(place, key)
        values.insert(place, value)
        self.count += 1
        if len(keys) > BLOCK_MAX:
            self._halve(block)

    def _halve(self, block: int) -> None:
        keys, values = self.keys[block], self.open(block)
        half = len(keys) // 2
        self.keys[block : block + 1] = [keys[:half], keys[half:]]
        self.values[block : block + 1] = [values[:half], values[half:]]
        self.tops.insert(block, keys[half - 1])

    def drop(self, key: int) -> None:
        """Remove an entry. Raises `KeyError`."""
        found = self.find(key)
        if found is None:
            raise KeyError(key)
        block, place = found
        keys = self.keys[block]
        del self.open(block)[place], keys[place]
        self.count -= 1
        if not keys:
            del self.keys[block], self.values[block], self.tops[block]
        elif place == len(keys):
            self.tops[block] = keys[-1]

    def floor(self, key: int) -> tuple[int, V] | None:
        """The entry with the highest key up to this one."""
        block, place = self._floor(key)
        return None if block < 0 else (self.keys[block][place], self.open(block)[place])

    def look(self, key: int) -> V | None:
        """Its value, to look at: nothing is unpacked, and one that is packed is made for the caller alone."""
        block, place = self._floor(key)
        return None if block < 0 else self.values[block][place]

    def _floor(self, key: int) -> tuple[int, int]:
        block = bisect_left(self.tops, key)
        place = bisect_right(self.keys[block], key) - 1 if block < len(self.tops) else -1
        return (block, place) if place >= 0 else (block - 1, -1)  # The last entry of the block before.

    def after(self, key: int) -> tuple[int, V] | None:
        """The entry with the lowest key above this one."""
        block = bisect_right(self.tops, key)
        if block == len(self.tops):
            return None
        place = bisect_right(self.keys[block], key)
        return self.keys[block][place], self.open(block)[place]


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
        self._large: Blocks[V] | None = None

    def __len__(self) -> int:
        if self._large is not None:
            return self._large.count
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
            found = self._large.find(key)
            if found is None:
                raise KeyError(key)
            return self._large.open(found[0])[found[1]]
        keys, values = self._small()
        index = bisect_left(keys, key)
        if index == len(keys) or keys[index] != key:
            raise KeyError(key)
        return values[index]

    def __setitem__(self, key: int, value: V) -> None:
        if self._large is not None:
            self._large.put(key, value)
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
            self._large = Blocks(self._keys, self._values)
            self._keys = self._values = None

    def __delitem__(self, key: int) -> None:
        if self._large is not None:
            self._large.drop(key)
            if self._large.count == 1:
                self._key, self._value = self._large.keys[0][0], self._large.open(0)[0]
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

    def floor(self, key: int) -> tuple[int, V] | None:
        """The entry with the highest key up to this one; None if all are above it."""
        if self._large is not None:
            return self._large.floor(key)
        keys, values = self._small()
        index = bisect_right(keys, key) - 1
        return (keys[index], values[index]) if index >= 0 else None

    def look(self, key: int) -> V | None:
        """The value of `floor`, to look at: nothing is unpacked, and one that is packed is made for the caller alone."""
        if self._large is not None:
            return self._large.look(key)
        found = self.floor(key)
        return None if found is None else found[1]

    def after(self, key: int) -> tuple[int, V] | None:
        """The entry with the lowest key above this one; None if there is none."""
        if self._large is not None:
            return self._large.after(key)
        keys, values = self._small()
        index = bisect_right(keys, key)
        return (keys[index], values[index]) if index < len(keys) else None

    @property
    def last(self) -> V:
        """The value with the highest key. Raises `IndexError`: there is none."""
        if self._large is not None:
            return self._large.open(-1)[-1]
        return self._small()[1][-1]

    def pack(self, make: Callable[[array[int], list[V]], Packed[V] | None]) -> None:
        """Have ``make`` pack the values of full blocks that are new (`Blocks.pack`). A map that is not large has none."""
        if self._large is not None:
            self._large.pack(make)

    def keys_between(self, first: int, last: int) -> Iterator[int]:
        """The keys above ``first``, up to ``last``, each looked up when it is asked for."""
        entry = self.after(first)
        while entry is not None and entry[0] <= last:
            yield entry[0]
            entry = self.after(entry[0])

    def items(self) -> Iterator[tuple[int, V]]:
        """All entries, ascending. The map must not change meanwhile. Packed values are made for the caller alone."""
        if self._large is not None:
            for keys, values in zip(self._large.keys, self._large.values, strict=True):
                yield from zip(keys, values, strict=True)
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
