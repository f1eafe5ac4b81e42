"""The clients' side of a rehearsal: what was published, confirmed and delivered, and what that must add up to.

S1  every confirmed value is delivered
S2  nothing is delivered that was never published
S4  first deliveries come in the order of the publishes
S5  once all faults are over, everything is confirmed and delivered
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

from qpidha.testing.checkers import Violation
from qpidha.types import Address


class Edge:
    """Told by the embedder's clients what they see. One publisher, any number of consumers of one queue."""

    def __init__(
        self, addresses: Sequence[Address], chance: random.Random, values: int, over_s: float
    ) -> None:
        self.addresses = list(addresses)
        """Where the nodes' clients connect."""
        self.published: list[bytes] = []
        self.confirmations: dict[bytes, int] = {}
        """Confirmed values, and how many deliveries there had been by then."""
        self.deliveries = 0
        self.first: list[bytes] = []
        """Values in the order of their first delivery."""
        self._number: dict[bytes, int] = {}
        self._seen: set[bytes] = set()
        self._chance = chance
        self._values = values
        self._pause_s = over_s / values

    async def values(self) -> AsyncIterator[bytes]:
        """What to publish, in this order, at the rehearsal's pace."""
        for number in range(self._values):
            value = b"value %d" % number
            self._number[value] = number
            self.published.append(value)
            yield value
            if self._chance.random() < 0.5:  # Else in one go with the one before.
                await asyncio.sleep(self._chance.uniform(0, 4 * self._pause_s))

    def confirmed(self, value: bytes) -> None:
        """The publisher was told that this value is safe."""
        if value not in self._number:
            raise Violation(f"S2: {value!r} was confirmed and never published")
        self.confirmations.setdefault(value, self.deliveries)

    def delivered(self, value: bytes) -> None:
        """A consumer got this value, for the first time or again."""
        if value not in self._number:
            raise Violation(f"S2: {value!r} was delivered and never published")
        self.deliveries += 1
        if value not in self._seen:
            self._seen.add(value)
            self.first.append(value)

    @property
    def done(self) -> bool:
        """All was published, confirmed and delivered."""
        return len(self.published) == len(self.confirmations) == len(self.first) == self._values

    @property
    def duplicates(self) -> int:
        return self.deliveries - len(self.first)

    def lost(self) -> list[bytes]:
        """Confirmed, and not delivered so far."""
        return [value for value in self.confirmations if value not in self._seen]

    def check_order(self) -> None:
        numbers = [self._number[value] for value in self.first]
        for one, other in pairwise(numbers):
            if one > other:
                raise Violation(f"S4: {self.published[other]!r} came after {self.published[one]!r}")

    def check(self) -> None:
        """Everything came out. Raises `Violation`."""
        if lost := self.lost():
            raise Violation(
                f"S1: {len(lost)} confirmed values were never delivered, the first is {lost[0]!r}"
            )
        self.check_order()
        if not self.done:
            raise Violation(
                f"S5: of {self._values} values {len(self.published)} were published, "
                f"{len(self.confirmations)} confirmed, {len(self.first)} delivered, and nothing moves any more"
            )
