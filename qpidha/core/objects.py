"""The objects of one node: those of the cluster, and those of level none, which are this node's own (LV4).

The latter are the messages of a keyed queue of level none, which a primary makes with the first of them. So its store
keeps them, a commit that names objects of both levels has one outcome (LV2), and an answer waits for this disk only
(LV5), as with any other queue of this level.

Names are shared by both levels. A primary refuses an object of one level while one of the other has its kind and name.
But what another primary has put may meet an object of this node: then the name means that of the cluster here, and the
other one only if level none is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from qpidha.core.births import OWN_OBJECTS
from qpidha.core.configuration import read_key
from qpidha.core.keyed import OBJECTS, KeyedQueue
from qpidha.core.steps import STEPS, ChangeObject, Erase, ObjectStep, Put, PutObject, Step, check_step
from qpidha.errors import ObjectMismatch
from qpidha.types import Level, QueueId, QueueSpec, Settle

OWN_SPEC: Final = QueueSpec(name=OBJECTS, settle=Settle.REPLICATED, kind=OBJECTS)
"""Of the queue that holds a node's own objects."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects that a node has, by key. Nothing is changed here. O(1) for each look-up."""

    cluster: KeyedQueue | None
    """The configuration; None before this node got it."""
    own: KeyedQueue | None
    """This node's own objects; None before the first one."""

    def of(self, key: bytes, level: Level | None = None) -> KeyedQueue | None:
        """The queue that has the object with this key; None if there is none. ``level``: only one of this level."""
        for queue in self._of_level(level):
            if queue.id_of(key) is not None:
                return queue
        return None

    def get(self, key: bytes, level: Level | None = None) -> bytes | None:
        """The value of an object; None if there is none."""
        queue = self.of(key, level)
        return None if queue is None else queue.get(key)

    def items(self, level: Level | None = None) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of all objects, those of the cluster first. O(objects)."""
        for queue in self._of_level(level):
            for key, value in queue.items():
                if queue is self.cluster or level is not None or self.of(key) is queue:
                    yield key, value

    def _of_level(self, level: Level | None) -> list[KeyedQueue]:
        queues = [
            None if level is Level.NONE else self.cluster,
            self.own if level in (None, Level.NONE) else None,
        ]
        return [queue for queue in queues if queue is not None]

    def located(self, configuration: QueueId, steps: Sequence[Step | ObjectStep]) -> tuple[Step, ...]:
        """The same steps, with the queue that has, or will have, each object. O(steps). Raises `ArgumentError`."""
        STEPS("steps", steps)
        return tuple(
            self._located(configuration, step) if isinstance(step, ChangeObject) else step for step in steps
        )

    def _located(self, configuration: QueueId, step: ObjectStep) -> Step:
        check_step(step)
        level = step.level
        if level is None and (there := self.of(step.key)) is not None:
            queue = there.queue
        else:
            default = step.default if isinstance(step, PutObject) else Level.MESSAGES
            queue = OWN_OBJECTS if (default if level is None else level) is Level.NONE else configuration
        return Put(queue, step.key, step.value) if isinstance(step, PutObject) else Erase(queue, step.key)


def object_mismatch(key: bytes, existing: Level) -> ObjectMismatch:
    """The error of a put that names another level than the object has."""
    kind, name = read_key(key)
    asked = Level.MESSAGES if existing is Level.NONE else Level.NONE
    return ObjectMismatch(
        f"object ({kind!r}, {name!r}) exists with level {existing.name}; it cannot be put with level {asked.name}:"
        " delete it first, or name no level"
    )
