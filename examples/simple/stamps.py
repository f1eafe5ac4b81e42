"""The stamp of each message: its publisher, and which message of that it is. Consumers drop by it what they have seen."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from protocol import U64

from qpidha import Batch, SequenceSet


def stamps(publisher: int, first: int, count: int) -> list[bytes]:
    """The props of consecutive messages: u64 publisher | u64 number, little-endian."""
    prefix = U64.pack(publisher)
    return [prefix + U64.pack(number) for number in range(first, first + count)]


def read_stamps(batch: Batch) -> tuple[int, ...]:
    """publisher, number, publisher, number, … of all messages of a batch."""
    props = b"".join([batch.props(i) for i in range(len(batch))])
    return struct.unpack(f"<{2 * len(batch)}Q", props)


class Deduplicator:
    """Remembers which numbers of which publishers have arrived, as runs: a stream without gaps needs one run."""

    def __init__(self) -> None:
        self.duplicates = 0
        self._seen: dict[int, SequenceSet] = {}

    def fresh(self, batch: Batch) -> Iterable[bytes]:
        """The messages of a batch that have not arrived before, in order."""
        stamp = read_stamps(batch)
        publisher, first, count = stamp[0], stamp[1], len(batch)
        seen = self._seen.setdefault(publisher, SequenceSet())
        straight = stamp[0::2].count(publisher) == count and stamp[1::2] == tuple(range(first, first + count))
        if straight and not seen.count(first, first + count - 1):
            seen.add(first, first + count - 1)
            return batch
        return [batch.data(i) for i in range(count) if self._is_new(stamp[2 * i], stamp[2 * i + 1])]

    def _is_new(self, publisher: int, number: int) -> bool:
        seen = self._seen.setdefault(publisher, SequenceSet())
        if number in seen:
            self.duplicates += 1
            return False
        seen.add(number)
        return True

    def missing(self, publisher: int, upto: int) -> int:
        """How many of a publisher's messages 1 … upto never came."""
        return upto - self._seen.get(publisher, SequenceSet()).count(1, upto)
