"""An idle queue consists of few objects: the garbage collector stalls a node by visiting those of all queues."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from uuid import UUID

import pytest

from qpidha.core.primary.completion import Guards
from qpidha.core.queue import ReplicatedQueue
from qpidha.journal import Insert, PutQueue, Remove, StoreStatus
from qpidha.node.op import Ledger, Outcome
from qpidha.ordered import NOTHING
from qpidha.seq import SequenceSet
from qpidha.stores.contents import Contents
from qpidha.types import QueueSpec, Settle
from qpidha.wire.batch import Batch

MANY = 1000
ONE = SequenceSet([1])
BATCH = Batch.pack([b"m"])
QUEUES = [UUID(int=n) for n in range(MANY)]
HOLDERS = frozenset({"a"})
SPEC = QueueSpec(name="q")


def tracked(make: Callable[[], object]) -> float:
    """How many more objects there are for each additional queue."""
    gc.collect()
    before = len(gc.get_objects())
    kept = make()
    gc.collect()  # Untracks tuples of numbers.
    found = len(gc.get_objects()) - before
    del kept
    return found / MANY


def core(*, message: bool = False, gone: bool = False) -> list[ReplicatedQueue]:
    made = [ReplicatedQueue(queue, SPEC, ((1, 1),), 1) for queue in QUEUES]
    for q in made:
        if message:
            q.append(BATCH)
        if gone:
            q.remove(ONE)
    return made


def stored(*, message: bool = False, gone: bool = False) -> Contents:
    contents = Contents(StoreStatus(node="a", epoch=UUID(int=1)))
    for queue in QUEUES:
        contents.apply([PutQueue(queue, SPEC, ((1, 1),), 1)])
        if message:
            contents.apply([Insert(queue, ONE, BATCH)])
        if gone:
            contents.apply([Remove(queue, ONE)])
    return contents


def completed() -> tuple[Guards, list[Ledger]]:
    guards, ledgers = Guards(), [Ledger(1) for _ in QUEUES]
    for n, queue in enumerate(QUEUES):
        guards.published(queue, Settle.REPLICATED, 1, 1, n + 1)
        ledgers[n].expect(1, Outcome())
    for n, _ in enumerate(guards.advance(MANY)):
        ledgers[n].advance(1, HOLDERS)
    return guards, ledgers


@pytest.mark.parametrize(
    ("make", "objects_max"),
    [
        (core, 1),
        (lambda: core(message=True), 3),
        (lambda: core(message=True, gone=True), 1),
        (stored, 2),
        (lambda: stored(message=True), 5),
        (lambda: stored(message=True, gone=True), 2),
        (completed, 1),
    ],
)
def test_objects_of_a_queue(make: Callable[[], object], objects_max: int) -> None:
    assert tracked(make) < objects_max + 0.1


def test_what_is_shared_by_all_empty_queues_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="shared"):
        NOTHING[1] = "x"
    assert not NOTHING
    assert copy.deepcopy(NOTHING) is NOTHING is pickle.loads(pickle.dumps(NOTHING))


def test_a_copy_of_an_empty_queue_can_be_filled() -> None:
    (one, *_), (two, *_) = (copy.deepcopy(core(gone=True, message=True)) for _ in range(2))
    one.append(BATCH)
    one.check()
    two.check()
    assert (len(one), len(two)) == (1, 0)
