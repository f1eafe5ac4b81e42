"""The fates of discarded messages: what a broker is told of them is true, and told once (W1, W2).

The value of a message and the identity that its publish was given are remembered here. Where the message is now
is read from the disk of the node that hands it over: by then that node has the established history.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from qpidha.journal import Release
from qpidha.testing.invariants.configuration import was_declared
from qpidha.testing.invariants.identities import Identity
from qpidha.testing.invariants.sequences import Sequences
from qpidha.testing.sim.content import Content, DiskQueue
from qpidha.testing.sim.node import SimNode
from qpidha.types import Discarded, Fate, Generation, MessageId, NodeId, Origin, QueueId

Discard: TypeAlias = tuple[NodeId, QueueId, Generation, MessageId]


class Fates:
    """Remembers what each node handed over."""

    def __init__(self, published: Mapping[str, AbstractSet[Identity]], sequences: Sequences) -> None:
        """``published``: the identities that the publish of each value was given."""
        self._published = published
        self._sequences = sequences
        self._offered: dict[Discard, int] = {}
        """Handed over, in which boot."""
        self._taken: set[Discard] = set()
        """Taken by the broker, and released from the quarantine for good."""
        self._known: dict[str, dict[QueueId, DiskQueue]] = {}
        """By host: its queues, and those that it deleted as they were last. A fate is settled before it is told."""

    def offered(self, node: SimNode, told: Discarded) -> bool:
        """Note that a node hands a message over. False if it did before, and the broker has not refused it."""
        place = (node.host, told.queue, told.generation, told.id)
        if place in self._taken or self._offered.get(place) == node.boots:
            return False
        self._offered[place] = node.boots
        return True

    def withdrawn(self, node: SimNode, discarded: Sequence[Discarded]) -> None:
        """The broker failed: these messages may be handed over again."""
        for d in discarded:
            self._offered.pop((node.host, d.queue, d.generation, d.id), None)

    def released(self, node: SimNode, change: Release) -> None:
        """Messages left the quarantine of this node, durably."""
        for id in change.ids:
            place = (node.host, change.queue, change.generation, id)
            if place in self._offered:
                self._taken.add(place)

    def stored(self, node: SimNode) -> None:
        """A transaction of this node is durable. O(queues)."""
        self._known.setdefault(node.host, {}).update(node.disk.content.queues)

    def forget(self, node: SimNode) -> None:
        """The node has another disk: its messages may be handed over again."""
        self._known.pop(node.host, None)
        self._taken = {place for place in self._taken if place[0] != node.host}
        self._offered = {place: boot for place, boot in self._offered.items() if place[0] != node.host}

    def wrong(self, node: SimNode, told: Discarded, value: str, consumed: Container[str]) -> str:
        """Return what is not true of a discarded message; empty if all is.

        Args:
            node: It hands the message over.
            told: What it says of the message.
            value: Of the message.
            consumed: Values that consumers accepted, on any primary.
        """
        content, origin = node.disk.content, told.origin
        first = told.published_as
        if (first.queue, first.generation, first.id) not in self._published.get(value, ()):
            return f"{value} is said to be published as {first.id}@{first.generation} of {first.queue}, and was not"
        if value in self._sequences.sent:
            return self._sequences.wrong(node.disk, told, value)
        if origin is None:
            return (
                f"{value} is called an undone move, but was not moved"
                if told.fate is Fate.UNDONE_MOVE
                else ""
            )
        had = remembered(content, origin)
        if had is not None and told.fate is Fate.UNKNOWN:
            return f"{value} is called unknown, but {node.name} knows the history of its origin"
        lives = value in content.values or value in consumed
        known = self._known.get(node.host, {}).get(origin.queue)
        if had is None and known is not None and origin.queue not in content.queues:
            # The queue was deleted, perhaps after the fate was settled: look at it as it was last.
            had = gave_out(known, origin)
            lives = lives or any(message.value == value for message in known.held.values())
        if had is not False and told.fate is Fate.REWOUND:
            of_it = "has its origin" if had else "cannot tell of its origin"
            return f"{value} is handed over as rewound, but the history that {node.name} follows {of_it}"
        if told.fate is Fate.UNDONE_MOVE and not (had and lives):
            return f"{value} is called an undone move, but its publish was undone as well"
        return ""


def remembered(content: Content, origin: Origin) -> bool | None:
    """Whether this disk's history gave out the identity; None if it deleted that queue, or has a trimmed lineage.

    False, too, if the queue was never declared in this history.
    """
    queue = content.queues.get(origin.queue)
    if queue is None:
        return None if was_declared(content, origin.queue) else False
    return gave_out(queue, origin)


def gave_out(queue: DiskQueue, origin: Origin) -> bool | None:
    """Whether this history of the queue gave out the identity; None if its lineage is trimmed too far."""
    if origin.id < queue.lineage[0][1]:
        return None
    return origin.id < queue.next and queue.generation_of(origin.id) == origin.generation
