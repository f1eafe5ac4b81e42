"""Where messages of a simulated primary stand, what updates must leave there, and its queues for consumers (U1, U2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qpidha.core.places import in_order
from qpidha.core.steps import Committed, Update
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.commits import Commit
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.reading import working
from qpidha.types import MessageId, Position, QueueId
from qpidha.wire.batch import Batch


def place_of(node: SimNode, queue: QueueId, id: MessageId) -> MessageId:
    """The place of a message that the primary holds, or that it replaced in this generation."""
    primary, ids = node.replica.primary, SequenceSet([id])
    assert primary is not None
    return primary.replaced.places(node.replica.queues[queue], ids).first


def present_id(node: SimNode, queue: QueueId, place: MessageId) -> MessageId | None:
    """The id of the message that the node holds at this place of a queue; None if there is none."""
    found = node.replica.queues.get(queue)
    if found is None or place in found.held:
        return None if found is None else place
    return None if found.places is None else found.places.holder(place)


def is_held(node: SimNode, queue: QueueId, place: MessageId) -> bool:
    """Whether the node holds a message at this place of a queue."""
    return present_id(node, queue, place) is not None


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


class SimContent:
    """One queue of a simulated primary, as a queue type needs it (`qpidha.queues.fifo.Content`)."""

    def __init__(self, node: SimNode, queue: QueueId) -> None:
        self._node = node
        self._replica = node.replica
        self._queue = queue

    @property
    def next_id(self) -> MessageId:
        """The id that the next message gets."""
        return self._replica.queues[self._queue].next

    def read(
        self, first_id: MessageId, *, messages_max: int = 1000, bytes_max: int = 1 << 20
    ) -> tuple[SequenceSet, Batch] | None:
        """Read messages from a place on. None also if the disk fails: that ends the node."""
        queue = self._replica.queues[self._queue]
        with working(self._node):
            return next(queue.read(first_id, messages_max=messages_max, bytes_max=bytes_max), None)
        return None

    def places(self, ids: SequenceSet, /) -> SequenceSet:
        """The places of messages."""
        if self._replica.primary is None:
            return ids  # A read has ended the node: nothing is delivered.
        return self._replica.primary.replaced.places(self._replica.queues[self._queue], ids)

    def dequeue(self, ids: SequenceSet, /) -> Position:
        """Accept messages. Returns the position that covers it."""
        return self._replica.dequeue(self._queue, ids)[0]

    def on_content(self, callback: Callable[[], None]) -> None:
        """Nothing: consumers of the simulator ask again."""

    def announce(self) -> None:
        """Nothing, for the same reason."""

    def claim(self, what: str, /) -> None:
        """Nothing: each term of the simulator makes one object for each queue."""
