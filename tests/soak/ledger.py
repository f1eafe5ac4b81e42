"""What publishers sent and what came out of the brokers: every message, in the order of its publisher."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence

from qpidha.types import Address
from tests.processes.stream import Connection, Consumer, Deduplicator, Delivery, Publisher, protocol

PADDING_MAX = 300


def message(publisher: int, number: int) -> bytes:
    """Who sent it, its number, and a length that follows from both: nothing needs to be kept to check it."""
    return b"%d %d " % (publisher, number) + b"." * (number * 31 % PADDING_MAX)


class TimedPublisher(Publisher):
    """Knows the longest time between two confirmations."""

    def __init__(self, addresses: Sequence[Address], number: int) -> None:
        super().__init__(addresses, publisher=number, window=2_000)
        self.longest_s = 0.0
        self._confirmed_at: float | None = None

    def received(self, connection: Connection, kind: int, body: memoryview) -> None:
        before = self.confirmed
        super().received(connection, kind, body)
        if kind == protocol.CONFIRM:
            assert struct.unpack("<Q", body)[0] <= self.published, (
                "a confirmation of what was never published"
            )
            if self.confirmed > before:
                self._confirmed()

    def _confirmed(self) -> None:
        now = asyncio.get_running_loop().time()
        self.longest_s = max(self.longest_s, self.silent_s)
        self._confirmed_at = now

    @property
    def silent_s(self) -> float:
        """Since the last confirmation."""
        return 0.0 if self._confirmed_at is None else asyncio.get_running_loop().time() - self._confirmed_at

    def forget_times(self) -> None:
        """A pause of our own begins or ends: it is not the brokers'."""
        self._confirmed_at, self.longest_s = None, 0.0


class Ledger:
    """Takes deliveries of all consumers, of which there is never more than one at a time."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        """Of each publisher the messages 1 … n came out, once counted, in order."""
        self.delivered = 0
        self._deduplicator = Deduplicator()

    @property
    def duplicates(self) -> int:
        """Delivered again: what was not yet accepted, or confirmed too late for its publisher to know."""
        return self._deduplicator.duplicates

    @property
    def fresh(self) -> int:
        return sum(self.seen.values())

    def take(self, consumer: Consumer, delivery: Delivery) -> None:
        consumer.deduplicator = self._deduplicator
        self.delivered += len(delivery.batch)
        for data in consumer.fresh(delivery):
            publisher = int(bytes(data[:20]).partition(b" ")[0])
            number = self.seen.get(publisher, 0) + 1
            expected = message(publisher, number)
            assert data == expected, f"{expected[:24]!r} had to come next of its publisher, not {data[:24]!r}"
            self.seen[publisher] = number
