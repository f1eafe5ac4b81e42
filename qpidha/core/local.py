"""Queues whose messages are not replicated: those of level configuration, and those of level none (LV1, LV4).

A queue of level configuration exists on every node that has its object, and each node has its own messages in it. A queue
of level none has no object: it is one node's alone. Neither is described, planned, sent or compared; a flip changes
neither, except that a queue of level configuration goes and comes with its object.

Invariants:
  between two operations, the queues of level configuration are those of the objects with this level (Q2)
  no two queues of the same level have the same name
  the queue of the node's own objects (`qpidha.core.objects`) has no name, and is never dropped
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from qpidha.core.births import OWN_OBJECTS
from qpidha.core.configuration import QUEUE, QueueObject, object_key, read_key
from qpidha.core.keyed import KeyedQueue
from qpidha.core.lineage import Lineage
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import Notice, QueueAdded, QueueRemoved
from qpidha.journal import Audit, Change, DropQueue, PutQueue
from qpidha.types import Generation, Level, MessageId, QueueId, QueueSpec, level_of

MakeQueue: TypeAlias = Callable[[QueueId, QueueSpec, Lineage, MessageId], ReplicatedQueue]
QUEUE_PREFIX = object_key(QUEUE, "")[:-1]
"""How the keys of the objects of queues begin."""


class LocalQueues:
    """The queues of one node whose messages are its own."""

    __slots__ = ("_make", "_names", "_queues", "own")

    def __init__(self, make: MakeQueue) -> None:
        """``make``: see `Queues.make`."""
        self._make = make
        self._queues: dict[QueueId, ReplicatedQueue] = {}
        self._names: dict[tuple[Level, str], ReplicatedQueue] = {}
        self.own = 0
        """How many of them are of level none and were declared."""

    def __len__(self) -> int:
        return len(self._queues)

    def __iter__(self) -> Iterator[ReplicatedQueue]:
        return iter(self._queues.values())

    def __contains__(self, queue: QueueId) -> bool:
        return queue in self._queues

    def __getitem__(self, queue: QueueId) -> ReplicatedQueue:
        return self._queues[queue]

    def get(self, queue: QueueId) -> ReplicatedQueue | None:
        """The queue with this id; None if there is none."""
        return self._queues.get(queue)

    def named(self, name: str, level: Level) -> ReplicatedQueue | None:
        """The queue of this level with this name; None if there is none. O(1)."""
        return self._names.get((level, name))

    def add(self, queue: ReplicatedQueue) -> None:
        """A queue begins."""
        self._queues[queue.queue] = queue
        if queue.queue == OWN_OBJECTS:  # Not declared by anyone: its name is free, and it is not counted.
            return
        self._names[level_of(queue.queue), queue.spec.name] = queue
        self.own += level_of(queue.queue) is Level.NONE

    @property
    def declared(self) -> int:
        """How many of them an embedder has declared. O(1)."""
        return len(self._queues) - (OWN_OBJECTS in self._queues)

    def drop(self, queue: QueueId) -> ReplicatedQueue:
        """A queue ends, with its messages."""
        gone = self._queues.pop(queue)
        gone.end()
        del self._names[level_of(queue), gone.spec.name]
        self.own -= level_of(queue) is Level.NONE
        return gone

    def concerned_by(self, key: bytes, content: bytes) -> bool:
        """Whether `follow` has to look at an object with this key, which gets this content."""
        if not key.startswith(QUEUE_PREFIX):
            return False
        return bool(self._names) or QueueObject.level_in(content) is Level.CONFIGURATION

    def follow(
        self, objects: KeyedQueue, keys: Iterable[bytes], generation: Generation
    ) -> Iterator[tuple[Change, Notice | None]]:
        """As a backup: the objects with these keys have changed, so have the queues of level configuration.

        Yields the changes of the store, each with the notice about it. The caller makes them in the same transaction
        as those of the objects. O(keys).
        """
        for key in keys:
            if not key.startswith(QUEUE_PREFIX):
                continue
            name, content = read_key(key)[1], objects.get(key)
            before = self.named(name, Level.CONFIGURATION)
            if before is None and (
                content is None or QueueObject.level_in(content) is not Level.CONFIGURATION
            ):
                continue
            now = None if content is None else QueueObject.decode(key, content)
            if before is not None and (now is None or now.queue != before.queue):
                yield Audit("erased", generation, name, f"with its object: {len(before)} messages"), None
                self.drop(before.queue)
                yield DropQueue(before.queue), QueueRemoved(before.queue)
            if now is not None and now.queue not in self and level_of(now.queue) is Level.CONFIGURATION:
                made = self._make(now.queue, now.spec, ((generation, 1),), 1)
                self.add(made)
                yield (
                    PutQueue(made.queue, made.spec, made.lineage, made.next),
                    QueueAdded(made.queue, made.spec),
                )
