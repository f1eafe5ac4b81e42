"""What is true of the configuration on every disk, after every commit (rules Q1, Q2)."""

from __future__ import annotations

from collections.abc import Sequence

from qpidha.core.configuration import QUEUE, QueueObject, read_key
from qpidha.core.keyed import CONFIGURATION
from qpidha.journal import Change, DropQueue, Insert, PutQueue, Remove
from qpidha.testing.sim.content import Content, DiskQueue
from qpidha.types import Level, QueueId, level_of


def objects_of(content: Content) -> DiskQueue | None:
    """The configuration on this disk; None if it has none."""
    return next((q for q in content.queues.values() if q.spec.kind == CONFIGURATION), None)


def was_declared(content: Content, queue: QueueId) -> bool:
    """Whether the history on this disk has the birth that the uuid of the queue tells (Q3)."""
    generation, id = queue.int >> 64, queue.int & 0xFFFF_FFFF_FFFF_FFFF
    objects = objects_of(content)
    return objects is not None and id < objects.next and objects.generation_of(id) == generation


def configures(content: Content, changes: Sequence[Change]) -> bool:
    """Whether these changes are about an object of the configuration, or a queue as a whole."""
    objects, fresh = objects_of(content), content.touched.whole
    return fresh or any(
        isinstance(change, (PutQueue, DropQueue))
        or (
            objects is not None
            and isinstance(change, (Insert, Remove))
            and content.queues.get(change.queue) is objects
        )
        for change in changes
    )


def configuration_fault(content: Content) -> str | None:
    """What is wrong with the configuration on this disk; None: nothing. O(objects).

    Each key is held once, and the queues of the objects are the queues of the store. A disk of a node that never
    followed a primary with a configuration has none.
    """
    objects = objects_of(content)
    if objects is None:
        return None
    keys = [message.props for message in objects.held.values()]
    if len(set(keys)) != len(keys):
        return f"a key is held twice: {sorted(keys)}"
    declared = set()
    for message in objects.held.values():
        if read_key(message.props)[0] == QUEUE:
            declared_queue = QueueObject.decode(message.props, message.data)
            declared.add(declared_queue.queue)
            if declared_queue.level is not level_of(declared_queue.queue):
                return f"an object of level {declared_queue.level.name} for queue {declared_queue.queue}"
    stored = {name for name, queue in content.queues.items() if queue is not objects}
    stored |= {name for name in content.local if level_of(name) is Level.CONFIGURATION}
    if declared != stored:
        return f"objects of queues {declared}, but the queues {stored}"
    return None


def lost_with_queues(content: Content) -> list[str]:
    """Values that the last transaction erased with their queues, although these were never declared in its history (Q4).

    Such a queue's declaration was rewound: its messages belong in quarantine. O(messages in the dropped queues).
    """
    return [
        message.value
        for name, queue in content.dropped.items()
        if not queue.keyed and level_of(name) is Level.MESSAGES and not was_declared(content, name)
        for generation, id, message in queue.identified()
        if (name, generation, id) not in content.shelf
    ]
