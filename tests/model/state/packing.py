"""A state as one integer, compared exactly: each of its components is numbered."""

from __future__ import annotations

from typing import Any

from tests.model.state.nouns import NODES

BITS = 21
MASK = (1 << BITS) - 1
CHANNELS = NODES * NODES


class Numbers:
    """Equal values have one number."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.values: list[Any] = []

    def put(self, value: Any) -> int:
        number = self.numbers.get(value)
        if number is None:
            number = self.numbers[value] = len(self.values)
            self.values.append(value)
            assert number <= MASK, "too many different values; raise BITS"
        return number


class Packer:
    def __init__(self) -> None:
        self.heads, self.nodes, self.chans, self.ghosts, self.spent = [Numbers() for _ in range(5)]

    def pack(self, s: tuple) -> int:
        key = self.heads.put((s[0], s[1]))
        for x in s[2]:
            key = (key << BITS) | self.nodes.put(x)
        for c in s[3]:
            key = (key << BITS) | self.chans.put(c)
        return (((key << BITS) | self.ghosts.put(s[4])) << BITS) | self.spent.put(s[5])

    def unpack(self, key: int) -> tuple:
        numbers = []
        for _ in range(2 + CHANNELS + NODES):
            numbers.append(key & MASK)
            key >>= BITS
        spent, ghost = self.spent.values[numbers[0]], self.ghosts.values[numbers[1]]
        chans = [self.chans.values[i] for i in numbers[2 : 2 + CHANNELS]][::-1]
        nodes = [self.nodes.values[i] for i in numbers[2 + CHANNELS :]][::-1]
        head = self.heads.values[key]
        return (head[0], head[1], tuple(nodes), tuple(chans), ghost, spent)
