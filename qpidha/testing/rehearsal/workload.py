"""The workload of a rehearsal, as one client sees it: values to publish, and what it must say of what it sees."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Hashable, Sequence

from qpidha.testing.rehearsal.ledger import Consumer, Ledger, Published
from qpidha.types import Address


class Rounds:
    """The rounds of a rehearsal: in each there are faults, and then all clients rest until everything is delivered."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.current = 0
        """The number of rounds that were begun."""
        self.resting = True
        """Clients begin nothing new."""
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """Begin the next round."""
        self.current += 1
        self.resting = False
        self._begun.set()
        self._begun = asyncio.Event()

    async def wait(self) -> None:
        """Wait until the next round begins."""
        await self._begun.wait()


class Workload:
    """Gives one client values to publish, and is told what it sees.

    All methods raise `Violation` if what they are told breaks a rule.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        rng: random.Random,
        ledger: Ledger,
        rounds: Rounds,
        *,
        number: int,
        values: int,
        over_s: float,
    ) -> None:
        self.addresses = list(addresses)
        """The client address of each node."""
        self.number = number
        """The number of this publisher among the publishers, or of this consumer among the consumers; from 0 on."""
        self.published: list[bytes] = []
        """Values given out by `values`, in order."""
        self.ledger = ledger
        """What all clients did and saw."""
        self._consumer = Consumer(number)
        self._rng = rng
        self._rounds = rounds
        self._values = values
        self._pause_s = over_s / max(values, 1)

    async def values(self) -> AsyncIterator[bytes]:
        """Yield the values that this publisher publishes, in this order, at the pace of the rehearsal."""
        for number in range(self._values):
            while number >= self.quota:
                await self._rounds.wait()
            value = b"value %d.%d" % (self.number, number)
            self.ledger.publish(value, Published(f"publisher {self.number}", number))
            self.published.append(value)
            yield value
            if self._rng.random() < 0.5:  # Else in one go with the one before.
                await asyncio.sleep(self._rng.uniform(0, 4 * self._pause_s))

    def confirmed(self, value: bytes) -> None:
        """Call this when the publisher was told that this value is safe."""
        self.ledger.confirm(value)

    def delivered(self, value: bytes, identity: Hashable = None) -> None:
        """Call this when the consumer got this value, for the first time or again.

        Args:
            value: What was published.
            identity: What your broker calls this message and never another one, for instance the ids of its queue and
                of the message. With it, more is checked: see `settled`.
        """
        self.ledger.deliver(self._consumer, value, identity)

    def settled(self, value: bytes, identity: Hashable = None) -> None:
        """Call this when the consumer was told that its accept of this value is safe: it must not come again.

        Do not call it for a queue with `Settle.IMMEDIATE`, whose accepts may be lost by a failover. A value that is
        published at least once may come twice, as two messages; so without ``identity`` only values that
        are published once are checked.
        """
        self.ledger.settle(self._consumer, value, identity)

    async def work(self) -> None:
        """Await this before a delivery is accepted: a consumer that is usually quick and sometimes slow."""
        slow = self._rng.random() < 0.1
        await asyncio.sleep(self._rng.uniform(0, 3.0 if slow else 0.02))

    def consumer_connected(self, prefetch: int, generation: int | None = None) -> None:
        """Call this when the consumer has a connection, the first or another one.

        Args:
            prefetch: How many messages the broker may send on a connection without an accept. After the connection
                was lost, so many values may be delivered out of order: the broker delivers them again when it notices
                the loss, which can be long after it began to serve the new connection.
            generation: The generation of the primary, if the broker tells it to clients. With it, deliveries by a later
                primary are compared with what an earlier one confirmed.
        """
        self.ledger.connected(self._consumer, prefetch, generation)

    @property
    def quota(self) -> int:
        """How many values this publisher publishes up to the end of this round."""
        return self._values * self._rounds.current // self._rounds.total

    @property
    def all_published(self) -> bool:
        """Whether it has published the values of this round."""
        return len(self.published) == self.quota
