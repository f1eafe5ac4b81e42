"""Visits of a catch-up: each queue once, and again if it changed after its visit (C4)."""

from __future__ import annotations

from uuid import UUID

from qpidha import SequenceSet
from qpidha.core.primary.visits import Visits
from qpidha.wire.events import Dequeue, Operation

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def operation(*queues: UUID) -> Operation:
    return tuple(Dequeue(queue=queue, ids=SequenceSet([1])) for queue in queues)


def test_a_queue_is_visited_once_and_again_after_it_changed() -> None:
    visits = Visits([A, B])
    visits.changed([operation(A, B, C)])
    assert visits.disturbed == 1 and visits.waiting == {A, B, C}
    seen = []
    while visits:
        seen.append(visits.next)
        visits.visited()
        if len(seen) == 1:
            visits.changed([operation(A), operation(A, C)])
    assert seen == [A, B, C, A] and visits.waiting == set() and visits.disturbed == 2


def test_a_queue_that_waits_is_not_added_again() -> None:
    visits = Visits()
    assert not visits and visits.add(A) and not visits.add(A)
    assert visits.next == A
