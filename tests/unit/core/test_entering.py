"""A generation enters itself in a lineage with the first id that it gives out: on the primary and on its backups (P3)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.entering import enter, enter_for, entered_lineage
from qpidha.core.lineage import ENTRIES_KEPT
from qpidha.core.queue import ReplicatedQueue
from qpidha.journal import PutQueue
from qpidha.types import QueueSpec
from qpidha.wire.events import Copy, Dequeue, Drop, Enqueue, Part, SkipIds

QUEUE, OTHER = UUID(int=0xA1), UUID(int=0xA2)
SPEC = QueueSpec(name="q")
ONE = Batch.pack([b"1"])


def queue(*ids: int, next: int = 6) -> ReplicatedQueue:
    made = ReplicatedQueue(QUEUE, SPEC, ((1, 1),), next)
    for id in ids:
        made.insert(SequenceSet([id]), ONE)
    return made


def test_it_is_entered_once_at_the_next_id() -> None:
    made = queue(3)
    assert enter(made, 4) == PutQueue(QUEUE, SPEC, ((1, 1), (4, 6)), 6)
    made.append(ONE)
    assert enter(made, 4) is None and made.lineage == ((1, 1), (4, 6))
    assert enter(made, 3) is None, "an older primary has named a later one in its plan"
    made.check()


def test_a_queue_without_a_lineage_gets_its_first_entry() -> None:
    made = ReplicatedQueue(QUEUE, SPEC, (), 1)
    enter(made, 2)
    assert made.lineage == ((2, 1),)


@pytest.mark.parametrize("ids", [(), (ENTRIES_KEPT,)])
def test_it_is_trimmed_in_the_same_way_wherever_the_content_is_the_same(ids: tuple[int, ...]) -> None:
    made, there = queue(*ids), queue(*ids)
    for each in (made, there):
        each.lineage = tuple((n, n) for n in range(1, ENTRIES_KEPT + 1))
        each.next = ENTRIES_KEPT + 1
        enter(each, ENTRIES_KEPT + 7)
    assert made.lineage == there.lineage
    assert (len(made.lineage), made.lineage[0]) == (ENTRIES_KEPT, (2, 2))


@pytest.mark.parametrize(
    "part",
    [
        Enqueue(queue=QUEUE, first=6, batch=ONE),
        Copy(queue=QUEUE, first=6, source=OTHER, ids=SequenceSet([1]), replacement=False),
        SkipIds(queue=QUEUE, first=6, last=6),
        Dequeue(queue=QUEUE, ids=SequenceSet([3, 6])),
    ],
    ids=["enqueue", "copy", "skip", "dequeue"],
)
def test_a_backup_enters_it_for_all_that_gives_out_ids(part: Part) -> None:
    """A dequeue of an id that the backup never got gives it out, too (O2)."""
    made = queue(3)
    assert enter_for(made, part, 2) == PutQueue(QUEUE, SPEC, ((1, 1), (2, 6)), 6)
    assert enter_for(made, part, 2) is None, "once"


@pytest.mark.parametrize(
    "part",
    [
        Dequeue(queue=QUEUE, ids=SequenceSet([3, 5])),
        Dequeue(queue=QUEUE, ids=SequenceSet()),
        Drop(queue=QUEUE),
    ],
    ids=["dequeue", "nothing", "drop"],
)
def test_a_backup_enters_nothing_for_what_is_there(part: Part) -> None:
    made = queue(3)
    assert enter_for(made, part, 2) is None
    assert made.lineage == ((1, 1),)


def test_for_an_older_release_the_lineage_names_it_without_an_id() -> None:
    made = queue(3)
    assert entered_lineage(made, 2) == ((1, 1), (2, 6))
    assert entered_lineage(made, 1) == entered_lineage(made, 0) == made.lineage == ((1, 1),)
    assert entered_lineage(ReplicatedQueue(QUEUE, SPEC, (), 1), 2) == ((2, 1),)
