"""Where messages of a simulated primary stand, and what updates must leave at their places (U1, U2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qpidha.core.places import in_order
from qpidha.core.steps import Committed, Update
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.commits import Commit
from qpidha.testing.sim.node import SimNode
from qpidha.types import MessageId, QueueId


def place_of(node: SimNode, queue: QueueId, id: MessageId) -> MessageId:
    """The place of a message that the primary holds, or that it replaced in this generation."""
    primary, ids = node.replica.primary, SequenceSet([id])
    assert primary is not None
    return primary.replaced.places(node.replica.queues[queue], ids).first


def ordered(node: SimNode, queue: QueueId, ids: Iterable[MessageId]) -> list[MessageId]:
    """Messages that the node holds, in the order of the queue."""
    places = node.replica.queues[queue].places
    return [id for part in in_order(places, SequenceSet(ids)) for id in part]


def places_of_updates(
    node: SimNode, commit: Commit
) -> Callable[[Committed], dict[tuple[QueueId, MessageId], MessageId]]:
    """Note the places of the messages that a commit updates; returns what their successors must have (U1)."""
    places = {
        number: (step.queue, [place_of(node, step.queue, id) for id in step.ids])
        for number, step in enumerate(commit.steps)
        if isinstance(step, Update) and not isinstance(step.queue, int)
    }

    def successors(made: Committed) -> dict[tuple[QueueId, MessageId], MessageId]:
        return {
            (queue, id): place
            for number, (queue, old) in places.items()
            for id, place in zip(made.made[number].ids, old, strict=True)
        }

    return successors
