"""Checks deliveries against what publishers sent: every message, in the order of its publisher."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Sequence

from qpidha import Batch, SequenceSet
from qpidha.types import Address
from tests.support.stream import Connection, Publisher, protocol, read_stamps

PADDING_MAX = 300


def message(publisher: int, number: int) -> bytes:
    """Build a message from publisher and number, which also give its length: it can be checked without storing it."""
    return b"%d %d " % (publisher, number) + b"." * (number * 31 % PADDING_MAX)


class TimedPublisher(Publisher):
    """Measures the longest time between two confirmations."""

    def __init__(self, addresses: Sequence[Address], number: int) -> None:
        super().__init__(addresses, publisher=number, window=2_000)
        self.longest_s = 0.0
        self.primaries = 0
        """Connections on which confirmations came. A broker that is about to be demoted may open more of them."""
        self._confirmed_at: float | None = None

    def received(self, connection: Connection, kind: int, body: memoryview) -> None:
        before, by = self.confirmed, self.confirmed_by
        super().received(connection, kind, body)
        self.primaries += self.confirmed_by is not by
        if kind == protocol.CONFIRM:
            assert struct.unpack("<Q", body)[0] <= self.published, (
                "a confirmation of a message that was never published"
            )
            if self.confirmed > before:
                self._confirmed()

    def _confirmed(self) -> None:
        now = asyncio.get_running_loop().time()
        self.longest_s = max(self.longest_s, self.silent_s)
        self._confirmed_at = now

    @property
    def silent_s(self) -> float:
        """Seconds since the last confirmation."""
        return 0.0 if self._confirmed_at is None else asyncio.get_running_loop().time() - self._confirmed_at

    def forget_times(self) -> None:
        """A pause made by the test begins or ends; do not count it as broker silence."""
        self._confirmed_at, self.longest_s = None, 0.0


class Ledger:
    """Records the deliveries of all consumers. At most one consumer is connected at a time."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        """For each publisher the n up to which its messages 1 … n were delivered in order."""
        self.delivered = 0
        self.duplicates = 0
        """Repeated deliveries: of messages that were not accepted yet, or that the publisher sent again."""

    @property
    def fresh(self) -> int:
        return sum(self.seen.values())

    def take(self, batch: Batch, connection: Connection | None = None) -> None:
        """Record a delivery. ``connection``: on which it came."""
        stamp = read_stamps(batch)
        for place, (publisher, number) in enumerate(zip(stamp[0::2], stamp[1::2], strict=True)):
            expected, data = message(publisher, number), batch.data(place)
            assert data == expected, f"{expected[:24]!r} was delivered as {data[:24]!r}"
            self.delivered += 1
            self.duplicates += not self._is_new(publisher, number, connection)

    def _is_new(self, publisher: int, number: int, connection: Connection | None) -> bool:
        """Check the order. Whether this message was never delivered before."""
        upto = self.seen.get(publisher, 0)
        assert number <= upto + 1, f"publisher {publisher}: message {number} was delivered after {upto}"
        self.seen[publisher] = max(upto, number)
        return number > upto


class GapLedger(Ledger):
    """A ledger for a consumer that may give up a connection before the broker does.

    Until the broker drops that connection it keeps what it delivered there, and delivers to it what its credit allows:
    these messages come late. So there may be gaps for a while after a consumer was connected again; all of them are
    filled in the end, and without them everything is in order.
    """

    GAPS_S = 20.0
    """Two times what the example broker needs to drop a silent client, and as much again on a busy machine."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps = 0
        self._known: dict[int, SequenceSet] = {}
        self._connection: Connection | None = None
        self._in_order_from = 0.0

    def _is_new(self, publisher: int, number: int, connection: Connection | None) -> bool:
        now = time.monotonic()
        if connection is not self._connection:
            self._in_order_from = now + self.GAPS_S if self._connection is not None else now
            self._connection = connection
        known = self._known.setdefault(publisher, SequenceSet())
        highest = known.last if known else 0
        if number > highest + 1:
            assert now < self._in_order_from, (
                f"publisher {publisher}: message {number} was delivered after {highest}"
            )
            self.gaps += 1
        if number in known:
            return False
        known.add(number)
        self.seen[publisher] = next(iter(known.runs()))[1] if 1 in known else 0
        return True
