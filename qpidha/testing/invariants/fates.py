"""Whether what an embedder is told of discarded messages is true (W1, W2), seen from outside.

The value of a message and the identity that its publish was given are known here. Where it is now, the disk of the
node that hands it over says: by then that node has the established history.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TypeAlias

from qpidha.journal import Release
from qpidha.testing.sim.disk import Content
from qpidha.testing.sim.node import SimNode
from qpidha.types import Discarded, Fate, Generation, MessageId, NodeId, Origin, QueueId

Identity: TypeAlias = tuple[QueueId, Generation, MessageId]
Discard: TypeAlias = tuple[NodeId, QueueId, Generation, MessageId]


class Fates:
    """Remembers what each publish was given and what each node handed over, and judges what is said of it."""

    def __init__(self) -> None:
        self._published: dict[str, Identity] = {}
        self._offered: dict[Discard, int] = {}
        """In which boot."""
        self._taken: set[Discard] = set()

    def published(self, value: str, identity: Identity) -> None:
        self._published[value] = identity

    def offered(self, node: SimNode, told: Discarded) -> bool:
        """False: it was handed over before, and the embedder has it, or was not yet asked whether."""
        place = (node.host, told.queue, told.generation, told.id)
        if place in self._taken or self._offered.get(place) == node.boots:
            return False
        self._offered[place] = node.boots
        return True

    def withdrawn(self, node: SimNode, discarded: Sequence[Discarded]) -> None:
        """The embedder failed: the same may be offered again."""
        for d in discarded:
            self._offered.pop((node.host, d.queue, d.generation, d.id), None)

    def released(self, node: SimNode, change: Release) -> None:
        """These left the quarantine of that node, durably."""
        for id in change.ids:
            place = (node.host, change.queue, change.generation, id)
            if place in self._offered:
                self._taken.add(place)

    def forget(self, node: SimNode) -> None:
        """Another disk is in the place of this node's."""
        self._taken = {place for place in self._taken if place[0] != node.host}
        self._offered = {place: boot for place, boot in self._offered.items() if place[0] != node.host}

    def wrong(self, node: SimNode, told: Discarded, value: str, consumed: Container[str]) -> str:
        """What is not true of it; empty if all is. ``consumed``: what consumers accepted, on any primary."""
        content, origin = node.disk.content, told.origin
        first = told.published_as
        if self._published.get(value) != (first.queue, first.generation, first.id):
            return f"{value} is said to be published as {first.id}@{first.generation} of {first.queue}, and was not"
        if origin is None:
            return (
                f"{value} is called an undone move, but was not moved"
                if told.fate is Fate.UNDONE_MOVE
                else ""
            )
        had = remembered(content, origin)
        if had is not None and told.fate is Fate.UNKNOWN:
            return f"{value} is called unknown, but {node.name} knows the history of its origin"
        if had is not False and told.fate is Fate.REWOUND:
            of_it = "has its origin" if had else "cannot tell of its origin"
            return f"{value} is handed over as rewound, but the history that {node.name} follows {of_it}"
        lives = value in content.values or value in consumed
        if told.fate is Fate.UNDONE_MOVE and not (had and lives):
            return f"{value} is called an undone move, but its publish was undone as well"
        return ""


def remembered(content: Content, origin: Origin) -> bool | None:
    """Whether this disk's history gave out the identity; None if it has no such queue, or a trimmed lineage."""
    queue = content.queues.get(origin.queue)
    if queue is None or origin.id < queue.lineage[0][1]:
        return None
    return origin.id < queue.next and queue.generation_of(origin.id) == origin.generation
