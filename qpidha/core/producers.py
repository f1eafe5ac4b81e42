"""Producers, whose repeated publishes are recognised (rules EO1–EO9), as objects of the configuration.

The entry of a producer has a key of the reserved kind "$producer", and its epoch and last sequence as content. The epoch
is the identity of the message of the configuration that registered it (EO6). An entry survives the messages and the
queues (EO3), and a flip corrects it like every other object (EO2).

A message that was published with a sequence carries it as its origin, through every replacement (EO7): it is the message
of that number in the stream of its producer, as a moved message is one of the queue that it left first. Where the queue
of an origin stands, it has the epoch, in the form of a birth; where the generation stands, one of two numbers that no
generation reaches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgpack

from qpidha.checks import instance_of, integer, is_integer, text
from qpidha.core.births import ID_BITS
from qpidha.errors import ArgumentError, SequenceGap, UnknownProducer, ensure
from qpidha.types import GENERATION_MAX, MESSAGE_ID_MAX, Entry, ProducerSequence
from qpidha.wire.batch import Batch

PRODUCER: Final = "$producer"
"""Kind of the objects that are entries of producers."""
PREFIX: Final[bytes] = msgpack.packb([PRODUCER, ""])[:-1]
"""What the keys of entries begin with, and those of other objects do not."""
PUBLISHED: Final = GENERATION_MAX
"""In place of a generation: the sequence is that of this message."""
IN_COMMIT: Final = GENERATION_MAX - 1
"""In place of a generation: the sequence is that of the commit which the message is a part of."""

TAG_BYTES: Final = 32
"""What its sequence adds to a message."""

RawOrigin: TypeAlias = tuple[bytes, int, int]
"""An origin as a batch has it."""
NAME = text(1, 1024)
SEQUENCE = instance_of(ProducerSequence)
NUMBER = integer(1, MESSAGE_ID_MAX)
COUNT = integer(0, 2**32 - 1)


@dataclass(frozen=True, slots=True)
class ProducerEntry:
    """What the configuration says of one producer."""

    epoch: Entry
    last: int
    """The highest sequence that this history has; every one below is in it, too, or was given up (EO5)."""

    def encode(self) -> bytes:
        """Its content in the configuration."""
        packed: bytes = msgpack.packb([*self.epoch, self.last])
        return packed

    @classmethod
    def decode(cls, content: bytes) -> ProducerEntry | None:
        """The inverse of `encode`; None if it is no such content."""
        try:
            values: list[Any] = msgpack.unpackb(content)
            generation, id, last = values
        except (ValueError, TypeError, msgpack.UnpackException):
            return None
        if not (is_integer(generation) and is_integer(id) and is_integer(last)):
            return None
        return cls((generation, id), last)


def producer_key(name: str) -> bytes:
    """The key of the entry of this producer."""
    key: bytes = msgpack.packb([PRODUCER, name])
    return key


def producer_name(key: bytes) -> str:
    """The inverse of `producer_key`."""
    name: str = msgpack.unpackb(key)[1]
    return name


class ProducerEntries:
    """The entries of one node, read once. O(1) for each change and look-up.

    Invariants (`check`):
      - ``_by_epoch`` names each key of ``_by_key`` once, by the epoch of its entry
    """

    __slots__ = ("_by_epoch", "_by_key")

    def __init__(self) -> None:
        self._by_key: dict[bytes, ProducerEntry] = {}
        self._by_epoch: dict[Entry, bytes] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[tuple[str, ProducerEntry]]:
        """(name, entry) of each, in no particular order."""
        for key, entry in self._by_key.items():
            yield producer_name(key), entry

    def put(self, key: bytes, content: bytes) -> None:
        """The object with this key has this content now. Keys of other objects are ignored."""
        if not key.startswith(PREFIX):
            return
        new, old = ProducerEntry.decode(content), self._by_key.get(key)
        if old is not None and (new is None or new.epoch != old.epoch):
            self.erase(key)
        if new is not None and self._by_epoch.setdefault(new.epoch, key) == key:
            self._by_key[key] = new

    def erase(self, key: bytes) -> None:
        """There is no object with this key any more."""
        old = self._by_key.pop(key, None)
        if old is not None:
            del self._by_epoch[old.epoch]

    def get(self, name: str) -> ProducerEntry | None:
        """The entry of the producer of this name."""
        return self._by_key.get(producer_key(name))

    def find(self, epoch: Entry) -> tuple[str, ProducerEntry] | None:
        """Name and entry of the producer with this epoch; None: it was forgotten, has registered again, or never did."""
        key = self._by_epoch.get(epoch)
        return None if key is None else (producer_name(key), self._by_key[key])

    def known(self, sequence: ProducerSequence, count: int = 1) -> int:
        """How many of ``count`` publishes, numbered from this sequence on, this history has: the first ones (EO5).

        Raises:
            UnknownProducer: It is not registered in this epoch (EO6).
            SequenceGap: The number is above the next one (EO5).
        """
        name, epoch, number = sequence.producer, sequence.epoch, sequence.number
        entry = self._by_key.get(producer_key(name))
        if entry is None or entry.epoch != epoch:
            current = None if entry is None else entry.epoch
            why = "is not registered" if entry is None else f"has registered again, with epoch {current}"
            raise UnknownProducer(
                f"producer {name!r} {why}: epoch {epoch} is over", producer=name, epoch=epoch, current=current
            )
        if number > entry.last + 1:
            raise SequenceGap(
                f"sequence {number} of producer {name!r}, whose next one is {entry.last + 1}",
                producer=name,
                number=number,
                expected=entry.last + 1,
            )
        return min(entry.last + 1 - number, count)

    def check(self) -> None:
        """Raise `InvariantError` if the invariant does not hold. For tests."""
        ensure(
            {entry.epoch: key for key, entry in self._by_key.items()} == self._by_epoch, "epochs of producers"
        )


def check_sequence(sequence: object) -> None:
    """Raise `ArgumentError` if this is no sequence, or one that no producer can have."""
    SEQUENCE("sequence", sequence)
    assert isinstance(sequence, ProducerSequence)
    NAME("producer", sequence.producer)
    epoch: object = sequence.epoch
    if not (isinstance(epoch, tuple) and len(epoch) == 2 and all(is_integer(part) for part in epoch)):
        raise ArgumentError(f"epoch must be the epoch of a producer, a pair of integers, not {epoch!r:.80}")
    NUMBER("sequence number", sequence.number)


# --- the sequence of a message -------------------------------------------------------------------


def tagged(batch: Batch, epoch: Entry, number: int, *, in_commit: bool) -> Batch:
    """The same messages with their sequences: numbered from this one on, or all with it, as parts of a commit (EO7)."""
    generation, id = epoch
    raw = ((generation << ID_BITS) | id).to_bytes(16, "big")
    return batch.with_numbers(raw, IN_COMMIT if in_commit else PUBLISHED, number, 0 if in_commit else 1)


def is_tag(origin: RawOrigin | None) -> bool:
    """Whether what stands as the origin of a message is its sequence."""
    return origin is not None and origin[1] >= IN_COMMIT


def epoch_of(origin: RawOrigin) -> Entry:
    """The epoch of a sequence that stands as an origin."""
    return divmod(int.from_bytes(origin[0], "big"), 1 << ID_BITS)
