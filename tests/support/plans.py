"""Events from the primary of generation 3 to the backup of `tests.support.cores`: a plan, and the frames around it."""

from __future__ import annotations

from uuid import UUID

from qpidha import SequenceSet
from qpidha.types import QueueSpec
from qpidha.wire.events import Event, PlanEnd, PlanMessages, PlanQueue
from tests.support.cores import OTHER, QUEUE, WELCOME, Node, messages

NEW = UUID(int=0xA3)
"""Id of a queue or cluster that no node has."""
SPEC = QueueSpec(name="full")
PLAN = PlanQueue(queue=QUEUE, spec=SPEC, lineage=((1, 1), (3, 10)), next=10, held=8)
"""Plan of the only non-empty queue: no message is copied or dropped."""
EMPTY = PlanQueue(queue=OTHER, spec=SPEC, lineage=((3, 1),), next=1, held=0)
END = PlanEnd(position=4, queues=2)


def backup(*events: Event, node: Node | None = None) -> Node:
    """Return a subscribed backup that has received these events from its primary."""
    return (node or Node()).following().say(WELCOME, session=0).say(*events)


def chunk(*ids: int, generation: int = 3) -> PlanMessages:
    wanted = SequenceSet(ids)
    return PlanMessages(queue=QUEUE, generation_of=generation, ids=wanted, batch=messages(wanted))
