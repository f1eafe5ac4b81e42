"""What a primary sends of one queue: copies within the limits, then a plan that adds up over visits (C4)."""

from __future__ import annotations

from uuid import UUID

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.primary.described import Described, Resync
from qpidha.core.primary.inflight import InFlight
from qpidha.core.primary.planning import copied, planned
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.resync import History
from qpidha.types import QueueSpec
from qpidha.wire.events import PlanDrop, PlanMessages, PlanQueue

SETTINGS = Settings(plan_chunk_bytes=1, plan_chunks_in_flight_max=2, ids_runs_per_chunk_max=1)


def queue(count: int) -> ReplicatedQueue:
    made = ReplicatedQueue(UUID(int=1), QueueSpec(name="q"), ((1, 1),), 1)
    for _ in range(count):
        made.append(Batch.pack([b"m"]))
    return made


def described(*held: int) -> Described:
    ids = SequenceSet(held)
    return Described(History(((1, 1),), 4, ids), keep=ids.copy(), staged=SequenceSet())


def test_only_what_the_backup_lacks_is_copied_as_far_as_the_limits_allow() -> None:
    q, known, flow, resync = queue(5), described(2), InFlight(SETTINGS), Resync()
    first = list(copied(q, known, flow, resync, SETTINGS))
    assert [list(e.ids) for e in first if isinstance(e, PlanMessages)] == [[1], [3]]
    assert known.cursor == 4 and known.told and flow.is_full
    assert list(copied(q, known, flow, resync, SETTINGS)) == []
    flow.progress(2)
    rest = list(copied(q, known, flow, resync, SETTINGS))
    assert [list(e.ids) for e in rest if isinstance(e, PlanMessages)] == [[4], [5]]
    assert known.cursor == q.next and resync.messages == 4
    assert list(copied(q, known, flow, resync, SETTINGS)) == [], "nothing is copied twice"


def test_drops_add_up_over_visits() -> None:
    q, known, flow, resync = queue(3), described(1, 2, 9), InFlight(SETTINGS), Resync()
    known.keep = SequenceSet([1, 2])
    list(copied(q, known, flow, resync, SETTINGS))
    meta, *drops = planned(q, known, resync, 0, SETTINGS)
    assert meta == PlanQueue(queue=q.queue, spec=q.spec, lineage=((1, 1),), next=4, held=3)
    assert [(list(e.ids), e.staged) for e in drops if isinstance(e, PlanDrop)] == [([9], False)]
    q.remove(SequenceSet([1, 3]))
    _, *drops = planned(q, known, resync, 0, SETTINGS)
    assert [(list(e.ids), e.staged) for e in drops if isinstance(e, PlanDrop)] == [([1], False), ([3], True)]
    assert resync.dropped == 2
    assert len(list(planned(q, known, resync, 0, SETTINGS))) == 1, "each is dropped once"


def test_the_generation_is_entered_for_a_backup_that_does_not_do_it() -> None:
    (meta,) = planned(queue(1), described(1), Resync(), 7, SETTINGS)
    assert isinstance(meta, PlanQueue) and meta.lineage == ((1, 1), (7, 2))
