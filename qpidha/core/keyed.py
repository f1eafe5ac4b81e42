"""A queue that holds at most one message for each key: the configuration (rule Q1), and tables.

The key of a message is its ``props``, the value its ``data``. A put enqueues the new message and dequeues the old one
in one operation; so every rule of messages (difference, rewind, completion) holds of keys as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from qpidha.core.keytable import KeyTable
from qpidha.core.lineage import Lineage
from qpidha.core.producers import PREFIX, ProducerEntries
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.stored import Stored
from qpidha.errors import ensure
from qpidha.seq import SequenceSet
from qpidha.types import MessageId, QueueId, QueueSpec
from qpidha.wire.batch import Batch

CONFIGURATION: Final = "$configuration"
"""Kind, and name, of the queue that holds the configuration."""
TABLE: Final = "$table"
"""Kind of the queues that are tables."""
OBJECTS: Final = "$objects"
"""Kind, and name, of the queue that holds one node's own objects, those of level none."""


JOINED: Final = 64
"""So many small batches at the end of a keyed queue become one."""
JOINED_BYTES_MAX: Final = 1024
"""Larger ones stay as they came."""
LOADED_MIN: Final = 1000
"""So many keys that a store has brought are kept in a `KeyTable`, which is slower than a dict."""


class KeyedQueue(ReplicatedQueue):
    """A `ReplicatedQueue` with an index of its keys. O(log messages) for each change and look-up.

    Invariants (`check` verifies all):
      - each held message has its own key, between two operations
      - ``_ids`` says which one, or if the key is not in there, ``_loaded``

    Messages that came one by one at the end of the queue are kept in batches of `JOINED`: that takes less memory. So
    does a `KeyTable` of the keys that were there when the store was loaded, if they are many.
    """

    __slots__ = ("_ids", "_loaded", "_loose", "_loose_from", "touched")

    def __init__(self, queue: QueueId, spec: QueueSpec, lineage: Lineage, next: MessageId) -> None:
        super().__init__(queue, spec, lineage, next)
        self._ids: dict[bytes, MessageId] = {}
        self._loaded: KeyTable | None = None
        self._loose = 0
        """How many batches were added at the end since some were joined."""
        self._loose_from: MessageId = 0
        """The first id of the first of them."""
        self.touched: dict[bytes, None] = {}
        """Keys that were put or deleted since the last `take_touched`, in order."""

    def insert(self, ids: SequenceSet, batch: Batch) -> None:
        """See `ReplicatedQueue.insert`. A key that is held already means its new message from here on."""
        at_end = ids.first > self._top
        super().insert(ids, batch)
        for index, id in enumerate(ids):
            key = batch.props(index)
            self._ids[key] = id
            self._touch(key)
        if at_end and batch.nbytes < JOINED_BYTES_MAX:
            self._count_loose(ids.first)
        else:
            self._loose = 0

    def load(self, held: Sequence[tuple[SequenceSet, Batch]]) -> None:
        """Insert what a store holds, into the empty queue: nothing of it has changed. O(messages)."""
        count = 0
        for ids, batch in held:
            super().insert(ids, batch)
            count += len(batch)
        keys = ((batch.props(n), id) for ids, batch in held for n, id in enumerate(ids))
        if count < LOADED_MIN:
            self._ids = dict(keys)
        else:
            self._loaded = KeyTable(keys, count)

    def _count_loose(self, first: MessageId) -> None:
        """A small batch was added at the end: join it with those before it, from time to time."""
        if self._loose == 0:
            self._loose_from = first
        self._loose += 1
        if self._loose == JOINED:
            self._join_from(self._loose_from)
            self._loose = 0

    def _join_from(self, first: MessageId) -> None:
        """Rewrite the stored batches that begin at this id or after it as one."""
        stored = self._stored
        entry = stored.after(first - 1)
        found: list[Stored] = []
        while entry is not None:
            found.append(entry[1])
            entry = stored.after(entry[1].last)
        if len(found) < 2:
            return
        left = self.held.slice(found[0].ids.first, found[-1].last)
        batch = Batch.join([item.pick(item.ids & left)[1] for item in found])
        for item in found:
            del stored[item.ids.first]
            self.bytes -= item.batch.nbytes
        stored[left.first] = Stored(left, batch)
        self.bytes += batch.nbytes

    def remove(self, ids: SequenceSet) -> SequenceSet:
        """See `ReplicatedQueue.remove`. Removing the older message of a key leaves the newer one."""
        leaving = [(id, self._key_of(id)) for id in ids & self.held]
        gone = super().remove(ids)
        for id, key in leaving:
            if self._ids.get(key) == id:
                del self._ids[key]
                self._erased(key)
            elif self._loaded is not None and self._loaded.drop(key, id) and key not in self._ids:
                self._erased(key)
            self._touch(key)
        return gone

    def _touch(self, key: bytes) -> None:
        self.touched[key] = None

    def _erased(self, key: bytes) -> None:
        """No message has this key any more."""

    def _key_of(self, id: MessageId) -> bytes:
        """The key of a held message."""
        stored = self._batch_of(id)
        return stored.body.props(stored.ids.count(stored.ids.first, id) - 1)

    def take_touched(self) -> tuple[bytes, ...]:
        """The keys that changed since the last call."""
        touched = tuple(self.touched)
        self.touched.clear()
        return touched

    def id_of(self, key: bytes) -> MessageId | None:
        """The id of the message of this key; None if there is none. O(1)."""
        id = self._ids.get(key)
        return id if id is not None or self._loaded is None else self._loaded.find(key, self._key_of)

    def keys_of(self, ids: SequenceSet) -> list[bytes]:
        """The keys of those of these messages that are held. O(ids)."""
        return [self._key_of(id) for id in ids & self.held]

    def get(self, key: bytes) -> bytes | None:
        """The value of this key; None if there is none."""
        id = self.id_of(key)
        if id is None:
            return None
        _, batch = next(self.select(SequenceSet.from_range(id, id)))
        return batch.data(0)

    def keys(self) -> Iterator[bytes]:
        """All keys, in no particular order. Not to be changed meanwhile."""
        return iter(self._ids) if self._loaded is None else chain(self._ids, map(self._key_of, self._loaded))

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
        ensure(all(self._key_of(id) == key for id, key in held.items()), "a message has another key")
        ensure(all(self.id_of(key) == id for id, key in held.items()), "a key has several messages")
        loaded = 0 if self._loaded is None else self._loaded.count
        ensure(len(self._ids) + loaded == len(held), "a key has several messages")


class ConfigurationQueue(KeyedQueue):
    """The configuration: it knows the entries of producers among its objects (EO1)."""

    __slots__ = ("producers",)

    def __init__(self, queue: QueueId, spec: QueueSpec, lineage: Lineage, next: MessageId) -> None:
        super().__init__(queue, spec, lineage, next)
        self.producers = ProducerEntries()

    def insert(self, ids: SequenceSet, batch: Batch) -> None:
        """See `KeyedQueue.insert`."""
        super().insert(ids, batch)
        self._put_producers(batch)

    def load(self, held: Sequence[tuple[SequenceSet, Batch]]) -> None:
        """See `KeyedQueue.load`."""
        super().load(held)
        for _, batch in held:
            self._put_producers(batch)

    def _put_producers(self, batch: Batch) -> None:
        for index in range(len(batch)):
            key = batch.props(index)
            if key.startswith(PREFIX):
                self.producers.put(key, batch.data(index))

    def _touch(self, key: bytes) -> None:
        if not key.startswith(PREFIX):  # Entries change with each publish, and are not shown to anyone.
            super()._touch(key)

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


KEYED: Final = {CONFIGURATION: ConfigurationQueue, TABLE: KeyedQueue, OBJECTS: KeyedQueue}
"""The kinds of queues that are keyed, with their classes. An embedder's own kinds do not begin with "$"."""
OWN_NAMES: Final = frozenset({CONFIGURATION, OBJECTS})
"""Names of the library's own queues, which an operator sees: nothing else may be called like them."""
