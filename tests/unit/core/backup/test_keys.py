"""A key is held once (Q1): a backup refuses an operation or a plan that says otherwise, before anything is changed."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.backup.flip import flip
from qpidha.core.backup.keys import LOOKED_AT_ONCE, check_keys
from qpidha.core.backup.operations import check_operation
from qpidha.core.backup.planned import Planned
from qpidha.core.births import born, configuration_id
from qpidha.core.keyed import TABLE, KeyedQueue
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.errors import RemoteProtocolError
from qpidha.types import QueueSpec
from qpidha.wire.events import Copy, Declare, Dequeue, Enqueue, Part, PlanQueue

T, Q, NEW = born(1, 1), born(1, 2), born(3, 9)
OF_TABLES = QueueSpec(name="t", kind=TABLE)
DECLARE = Declare(queue=NEW, spec=OF_TABLES, lineage=((3, 1),), next=1)
LINEAGE = ((1, 1),)


def keys(*some: bytes) -> Batch:
    return Batch.pack([b"value"] * len(some), props=list(some))


def table() -> KeyedQueue:
    """It holds the keys a and b, with the ids 1 and 2."""
    made = KeyedQueue(T, OF_TABLES, LINEAGE, 1)
    made.append(keys(b"a", b"b"))
    return made


def queues() -> Queues:
    there = Queues()
    there[T] = table()
    there[Q] = ReplicatedQueue(Q, QueueSpec(name="q"), LINEAGE, 1)
    there[Q].append(keys(b"a"))
    return there


def put(first: int, *some: bytes, queue: UUID = T) -> Enqueue:
    return Enqueue(queue=queue, first=first, batch=keys(*some))


def gone(*ids: int, queue: UUID = T) -> Dequeue:
    return Dequeue(queue=queue, ids=SequenceSet(ids))


@pytest.mark.parametrize(
    "operation",
    [
        [put(3, b"c")],
        [put(3, b"c", b"d")],
        [put(3, b"a"), gone(1)],
        [put(3, b"a"), gone(1, 2)],
        [put(3, b"c"), gone(1)],
        [gone(1), put(3, b"a")],
        [put(3, b"a"), gone(1), put(4, b"a"), gone(3)],
        [DECLARE, put(1, b"a", queue=NEW)],
        [put(2, b"a", b"a", queue=Q)],
    ],
)
def test_each_key_once_is_taken(operation: list[Part]) -> None:
    check_operation(queues(), tuple(operation), 3)


@pytest.mark.parametrize(
    "operation",
    [
        [put(3, b"a")],
        [put(3, b"c", b"c")],
        [put(3, b"a"), gone(2)],
        [DECLARE, put(3, b"a"), gone(1, queue=NEW)],
        [put(3, b"c"), put(4, b"c")],
        [put(3, b"a"), gone(1), put(4, b"a")],
        [DECLARE, put(1, b"a", b"a", queue=NEW)],
    ],
)
def test_a_key_of_two_messages_is_refused(operation: list[Part]) -> None:
    with pytest.raises(RemoteProtocolError, match="two messages of one key"):
        check_operation(queues(), tuple(operation), 3)


def test_messages_are_not_copied_to_a_table() -> None:
    for first, queue in ((3, T), (1, NEW)):
        part = Copy(queue=queue, first=first, source=Q, ids=SequenceSet([1]), replacement=False)
        with pytest.raises(RemoteProtocolError, match="copies messages to a table"):
            check_operation(queues(), (DECLARE, part), 3)


def planned(known: bool, count: int, *staged: tuple[SequenceSet, Batch], drop: SequenceSet) -> Planned:
    meta = PlanQueue(queue=T, spec=OF_TABLES, lineage=LINEAGE, next=9, held=count)
    plan = Planned(meta=meta, drop=drop)
    for ids, batch in staged:
        plan.add(1, ids, batch)
    return plan


@pytest.mark.parametrize(
    ("plan", "known"),
    [
        (planned(True, 3, (SequenceSet([3]), keys(b"a")), drop=SequenceSet()), True),
        (planned(True, 4, (SequenceSet([3, 4]), keys(b"c", b"c")), drop=SequenceSet()), True),
        (planned(False, 2, (SequenceSet([3]), keys(b"c")), (SequenceSet([4]), keys(b"c")), drop=SequenceSet()), False),
    ],
)  # fmt: skip
def test_a_plan_with_a_key_of_two_messages_is_refused_and_nothing_is_changed(
    plan: Planned, known: bool
) -> None:
    there = queues() if known else Queues()
    with pytest.raises(RemoteProtocolError, match="two messages of one key"):
        flip(there, {T: plan}, 1, Quarantined([]), configuration_id(UUID(int=9)))
    assert (T in there) == known
    if known:
        assert list(there[T].held) == [1, 2]
        there[T].check()


def test_a_plan_that_replaces_a_key_is_taken() -> None:
    there = queues()
    plan = planned(True, 2, (SequenceSet([3]), keys(b"a")), drop=SequenceSet([1]))
    flip(there, {T: plan}, 1, Quarantined([]), configuration_id(UUID(int=9)))
    assert list(there[T].held) == [2, 3]
    there[T].check()


def test_many_keys_are_looked_at_in_slices() -> None:
    count = 2 * LOOKED_AT_ONCE + 1
    many = keys(*(b"%d" % n for n in range(count)))
    steps = check_keys(None, SequenceSet(), [(SequenceSet.from_range(1, count), many)])
    assert len(list(steps)) == 2


def test_an_operation_of_many_keys_is_looked_at_to_its_end() -> None:
    many = [b"%d" % n for n in range(LOOKED_AT_ONCE)]
    check_operation(queues(), (put(3, *many),), 3)
    with pytest.raises(RemoteProtocolError, match="two messages of one key"):
        check_operation(queues(), (put(3, *many, b"0"),), 3)
