"""Entries in lineages: a generation enters itself with the first id that it gives out in a queue (P3).

A promotion changes no lineage, however many queues there are. The entry is made in the transaction of the operation that
gives the id out, by the primary and by each backup alike: until then no id of the generation needs it, and from then on
lineage, next id and content say the same at every moment (N1). A generation that gave out nothing in a queue leaves no
trace there.
"""

from __future__ import annotations

from qpidha.core.keyed import ConfigurationQueue
from qpidha.core.lineage import Lineage, advance, trim
from qpidha.core.queue import ReplicatedQueue
from qpidha.journal import PutQueue
from qpidha.types import Generation
from qpidha.wire.events import Dequeue, Drop, Part


def enter(queue: ReplicatedQueue, generation: Generation) -> PutQueue | None:
    """Call it before this generation gives out the next id of the queue. O(1) if it is in the lineage already.

    Returns the change that the store must make in the same transaction, before it stores the messages; None: none. Nodes
    that are equal stay equal: what is trimmed depends on the queue only.
    """
    lineage = queue.lineage
    if lineage and lineage[-1][0] >= generation:
        return None
    lowest = None if isinstance(queue, ConfigurationQueue) else queue.held.first if queue.held else queue.next
    queue.lineage = trim(advance(lineage, generation, queue.next), lowest)
    return PutQueue(queue.queue, queue.spec, queue.lineage, queue.next)


def enter_for(queue: ReplicatedQueue, part: Part, generation: Generation) -> PutQueue | None:
    """The same on a backup, before it applies a part: to all that gives out ids, also a Dequeue of an unknown id (O2)."""
    if queue.lineage and queue.lineage[-1][0] >= generation:
        return None  # Of nearly every part.
    if isinstance(part, Drop) or (isinstance(part, Dequeue) and (not part.ids or part.ids.last < queue.next)):
        return None
    return enter(queue, generation)


def entered_lineage(queue: ReplicatedQueue, generation: Generation) -> Lineage:
    """The lineage with this generation, whether it gave out an id there or not: for releases that do not enter it."""
    lineage = queue.lineage
    there = lineage[-1][0] if lineage else 0
    return lineage if there >= generation else advance(lineage, generation, queue.next)
