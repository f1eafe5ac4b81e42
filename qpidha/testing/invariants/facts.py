"""The content of a replica's memory, in the form in which a simulated disk gives its content."""

from __future__ import annotations

from collections.abc import Container

from qpidha.core.lineage import generation_of
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.replica import Replica
from qpidha.testing.sim.content import Fact, Facts, Message, messages, newest_entry
from qpidha.testing.sim.node import SimNode
from qpidha.types import Generation, MessageId, QueueId


def facts_of(replica: Replica, only: Container[QueueId] | None = None) -> Facts:
    """Return the content of queues in a replica's memory, of all or of ``only`` these, as `Content.facts` does."""
    queues = replica.queues.items()
    return {name: fact_of(queue) for name, queue in queues if only is None or name in only}


def fact_of(queue: ReplicatedQueue) -> Fact:
    """Return (next id, `newest_entry` of the lineage, [(generation, id, message)] in the order of ids)."""
    held: list[tuple[Generation, MessageId, Message]] = []
    lineage = queue.lineage
    for ids, batch in queue.select(queue.held):
        some, of = messages(batch), generation_of(lineage, ids.first)
        if of == generation_of(lineage, ids.last):  # And so are all between: generations ascend.
            held += zip([of] * len(some), ids, some, strict=True)
        else:
            held += zip((generation_of(lineage, id) for id in ids), ids, some, strict=True)
    return (queue.next, newest_entry(lineage, queue.next), held)


class PrimaryFacts:
    """Contents of primaries, computed again only for queues that changed.

    On one primary the next id grows with each enqueue and skip, and in between dequeues only lower the number
    of messages: equal numbers mean equal content.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, Generation], dict[QueueId, tuple[tuple[int, int], Fact]]] = {}

    def facts(self, node: SimNode) -> Facts:
        """Return the content of a primary's queues. Costs O(queues) and the content of those that changed."""
        known = self._known.setdefault((node.host, node.boots, node.replica.generation), {})
        for name, queue in node.replica.queues.items():
            key = (queue.next, len(queue.held))
            if name not in known or known[name][0] != key:
                known[name] = (key, fact_of(queue))
        return {name: known[name][1] for name in node.replica.queues}
