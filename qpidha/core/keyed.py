"""A queue that holds at most one message for each key: the configuration (rule Q1), and tables.

The key of a message is its ``props``, the value its ``data``. A put enqueues the new message and dequeues the old one
in one operation; so every rule of messages (difference, rewind, completion) holds of keys as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from qpidha.core.lineage import Lineage
from qpidha.core.producers import ProducerEntries
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import ensure
from qpidha.seq import SequenceSet
from qpidha.types import MessageId, QueueId, QueueSpec
from qpidha.wire.batch import Batch

CONFIGURATION: Final = "$configuration"
"""Kind, and name, of the queue that holds the configuration."""
TABLE: Final = "$table"
"""Kind of the queues that are tables."""


class KeyedQueue(ReplicatedQueue):
    """A `ReplicatedQueue` with an index of its keys. O(log messages) for each change and look-up.

    Invariants (`check` verifies all):
      - each held message has its own key, between two operations
      - ``_ids`` and ``_keys`` are inverse to each other
    """

    __slots__ = ("_ids", "_keys", "touched")

    def __init__(self, queue: QueueId, spec: QueueSpec, lineage: Lineage, next: MessageId) -> None:
        super().__init__(queue, spec, lineage, next)
        self._ids: dict[bytes, MessageId] = {}
        self._keys: dict[MessageId, bytes] = {}
        self.touched: dict[bytes, None] = {}
        """Keys that were put or deleted since the last `take_touched`, in order."""

    def insert(self, ids: SequenceSet, batch: Batch) -> None:
        """See `ReplicatedQueue.insert`. A key that is held already means its new message from here on."""
        super().insert(ids, batch)
        for index, id in enumerate(ids):
            key = batch.props(index)
            self._ids[key] = id
            self._keys[id] = key
            self.touched[key] = None

    def remove(self, ids: SequenceSet) -> SequenceSet:
        """See `ReplicatedQueue.remove`. Removing the older message of a key leaves the newer one."""
        gone = super().remove(ids)
        for id in gone:
            key = self._keys.pop(id)
            if self._ids.get(key) == id:
                del self._ids[key]
                self._erased(key)
            self.touched[key] = None
        return gone

    def _erased(self, key: bytes) -> None:
        """No message has this key any more."""

    def take_touched(self) -> tuple[bytes, ...]:
        """The keys that changed since the last call."""
        touched = tuple(self.touched)
        self.touched.clear()
        return touched

    def id_of(self, key: bytes) -> MessageId | None:
        """The id of the message of this key; None if there is none. O(1)."""
        return self._ids.get(key)

    def keys_of(self, ids: SequenceSet) -> list[bytes]:
        """The keys of those of these messages that are held. O(ids)."""
        return [self._keys[id] for id in ids & self.held]

    def get(self, key: bytes) -> bytes | None:
        """The value of this key; None if there is none."""
        id = self._ids.get(key)
        if id is None:
            return None
        _, batch = next(self.select(SequenceSet.from_range(id, id)))
        return batch.data(0)

    def keys(self) -> Iterator[bytes]:
        """All keys, in no particular order. Not to be changed meanwhile."""
        return iter(self._ids)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value), in the order of their puts. O(messages)."""
        for _, batch in self.select(self.held):
            for index in range(len(batch)):
                yield batch.props(index), batch.data(index)

    def check(self) -> None:
        """See `ReplicatedQueue.check`; and the invariants of the class."""
        super().check()
        held = {}
        for ids, batch in self.select(self.held):
            held.update({id: batch.props(index) for index, id in enumerate(ids)})
        ensure(self._keys == held, "the index of the keys differs from what is held")
        ensure({k: i for i, k in held.items()} == self._ids, "a key has several messages")
        ensure(len(self._ids) == len(held), "a key has several messages")


class ConfigurationQueue(KeyedQueue):
    """The configuration: it knows the entries of producers among its objects (EO1)."""

    __slots__ = ("producers",)

    def __init__(self, queue: QueueId, spec: QueueSpec, lineage: Lineage, next: MessageId) -> None:
        super().__init__(queue, spec, lineage, next)
        self.producers = ProducerEntries()

    def insert(self, ids: SequenceSet, batch: Batch) -> None:
        """See `KeyedQueue.insert`."""
        super().insert(ids, batch)
        for index in range(len(batch)):
            self.producers.put(batch.props(index), batch.data(index))

    def _erased(self, key: bytes) -> None:
        self.producers.erase(key)

    def check(self) -> None:
        """See `KeyedQueue.check`; and that the entries are those of the objects."""
        super().check()
        self.producers.check()
        read = ProducerEntries()
        for key, value in self.items():
            read.put(key, value)
        ensure(dict(read) == dict(self.producers), "the entries of producers differ from the objects")


KEYED: Final = {CONFIGURATION: ConfigurationQueue, TABLE: KeyedQueue}
"""The kinds of queues that are keyed, with their classes. An embedder's own kinds do not begin with "$"."""
