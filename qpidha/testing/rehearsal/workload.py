"""The workload of a rehearsal: values to publish, and the checks of what clients see.

S1  every confirmed value is delivered
S2  only published values are confirmed or delivered
S4  first deliveries come in the order of the publishes
S5  once all faults are over, everything is confirmed and delivered
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

from qpidha.testing.invariants.violation import Violation
from qpidha.types import Address


class Workload:
    """Gives clients values to publish, and is told what they see: one publisher, consumers of one queue.

    All methods raise `Violation` if one of the above does not hold.
    """

    def __init__(self, addresses: Sequence[Address], rng: random.Random, values: int, over_s: float) -> None:
        self.addresses = list(addresses)
        """The client address of each node."""
        self.published: list[bytes] = []
        """Values given out by `values`, in order."""
        self.confirmations: dict[bytes, int] = {}
        """Confirmed values, each with the number of deliveries before it."""
        self.deliveries = 0
        """Repeated ones included."""
        self.first: list[bytes] = []
        """Values in the order of their first delivery."""
        self._number: dict[bytes, int] = {}
        self._seen: set[bytes] = set()
        self._highest = -1
        self._may_be_late = 0
        self._connections = 0
        self._published_before = 0
        self._rng = rng
        self._values = values
        self._pause_s = over_s / values

    async def values(self) -> AsyncIterator[bytes]:
        """Yield the values to publish, in this order, at the pace of the rehearsal."""
        for number in range(self._values):
            value = b"value %d" % number
            self._number[value] = number
            self.published.append(value)
            yield value
            if self._rng.random() < 0.5:  # Else in one go with the one before.
                await asyncio.sleep(self._rng.uniform(0, 4 * self._pause_s))

    def confirmed(self, value: bytes) -> None:
        """Call this when the publisher was told that this value is safe."""
        if value not in self._number:
            raise Violation(f"S2: {value!r} was confirmed and never published")
        self.confirmations.setdefault(value, self.deliveries)

    def delivered(self, value: bytes) -> None:
        """Call this when a consumer got this value, for the first time or again."""
        if value not in self._number:
            raise Violation(f"S2: {value!r} was delivered and never published")
        self.deliveries += 1
        if value not in self._seen:
            self._seen.add(value)
            self.first.append(value)
            self._in_order(self._number[value])

    async def work(self) -> None:
        """Await this before a delivery is accepted: a consumer that is usually quick and sometimes slow."""
        slow = self._rng.random() < 0.1
        await asyncio.sleep(self._rng.uniform(0, 3.0 if slow else 0.02))

    def consumer_connected(self, prefetch: int) -> None:
        """Call this when the consumer has a connection, the first or another one.

        Args:
            prefetch: How many messages the broker may send on a connection without an accept. After the connection
                was lost, so many values may be delivered out of order: the broker delivers them again when it notices
                the loss, which can be long after it began to serve the new connection.
        """
        self._may_be_late += prefetch if self._connections else 0
        self._connections += 1
        self._published_before = len(self.published)

    def _in_order(self, number: int) -> None:
        if number > self._highest:
            self._highest = number
            return
        self._may_be_late -= 1
        if self._may_be_late < 0 or number >= self._published_before:
            raise Violation(f"S4: {self.published[number]!r} came after {self.published[self._highest]!r}")

    @property
    def done(self) -> bool:
        """Whether all values were published, confirmed and delivered."""
        return len(self.published) == len(self.confirmations) == len(self.first) == self._values

    @property
    def duplicates(self) -> int:
        """Count the deliveries of values that had been delivered before."""
        return self.deliveries - len(self.first)

    def lost(self) -> list[bytes]:
        """Return the values that were confirmed and not delivered so far."""
        return [value for value in self.confirmations if value not in self._seen]

    def check(self) -> None:
        """Check that everything was confirmed and delivered. Raises `Violation` (S1, S5)."""
        if lost := self.lost():
            raise Violation(
                f"S1: {len(lost)} confirmed values were never delivered, the first is {lost[0]!r}"
            )
        if not self.done:
            raise Violation(
                f"S5: of {self._values} values {len(self.published)} were published, "
                f"{len(self.confirmations)} confirmed, {len(self.first)} delivered, when the time was over"
            )
