"""An operation is checked before it is applied: as a whole, part after part (O2, O3, U5, Q3)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.backup.operations import check_lineage, check_operation, copy_of
from qpidha.core.births import born, configuration_id
from qpidha.core.configuration import SPEC as OF_OBJECTS
from qpidha.core.configuration import QueueObject, object_key
from qpidha.core.keyed import ConfigurationQueue
from qpidha.core.producers import producer_key
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import RemoteProtocolError
from qpidha.types import Level, QueueSpec
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue, Operation, Part, PlanMessages, SkipIds
from tests.support.cores import CLUSTER, WELCOME, Node, refused

Q, OTHER, NEW = UUID(int=1), UUID(int=2), born(3, 5)
SPEC = QueueSpec(name="q")
ONE = Batch.pack([b"one"])


def queues() -> dict[UUID, ReplicatedQueue]:
    made = {id: ReplicatedQueue(id, SPEC, ((1, 1),), 1) for id in (Q, OTHER)}
    made[Q].append(Batch.pack([b"1", b"2", b"3"], [b"p", b"", b""]))
    made[Q].remove(SequenceSet([2]))
    return made


def ids(*some: int) -> SequenceSet:
    return SequenceSet(some)


def enqueue(queue: UUID, first: int) -> Enqueue:
    return Enqueue(queue=queue, first=first, batch=ONE)


def copy(queue: UUID, first: int, of: SequenceSet, source: UUID = Q) -> Copy:
    return Copy(queue=queue, first=first, source=source, ids=of, replacement=True)


DECLARE = Declare(queue=NEW, spec=SPEC, lineage=((3, 1),), next=1)


@pytest.mark.parametrize(
    "operation",
    [
        (enqueue(Q, 4),),
        (Dequeue(queue=Q, ids=ids(1, 99)),),
        (copy(OTHER, 1, ids(1, 3)), Dequeue(queue=Q, ids=ids(1, 3))),
        (enqueue(OTHER, 1), copy(Q, 4, ids(1), OTHER)),
        (enqueue(OTHER, 1), Dequeue(queue=OTHER, ids=SequenceSet())),
        (DECLARE, enqueue(NEW, 1), SkipIds(queue=NEW, first=2, last=9), enqueue(NEW, 10)),
        (copy(OTHER, 1, ids(3)), Drop(queue=Q)),
        (SkipIds(queue=Q, first=4, last=4),),
    ],
)
def test_what_a_primary_says_is_taken(operation: Operation) -> None:
    there = queues()
    check_operation(there, operation, 3)
    assert {id: (q.next, list(q.held)) for id, q in there.items()} == {Q: (4, [1, 3]), OTHER: (1, [])}


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ([enqueue(Q, 5)], "id 5 was given out, but next is 4"),
        ([enqueue(NEW, 1)], "unknown queue"),
        ([Dequeue(queue=NEW, ids=ids(1))], "unknown queue"),
        ([enqueue(Q, 4), enqueue(Q, 4)], "id 4 was given out, but next is 5"),
        ([Dequeue(queue=Q, ids=ids(7)), enqueue(Q, 4)], "next is 8"),
        ([SkipIds(queue=Q, first=5, last=9)], "skipped from 5, but next is 4"),
        ([copy(OTHER, 1, ids(2))], "not there"),
        ([Dequeue(queue=Q, ids=ids(1)), copy(OTHER, 1, ids(1))], "not there"),
        ([copy(OTHER, 2, ids(1))], "id 2 was given out"),
        ([copy(OTHER, 1, ids(1), NEW)], "unknown queue"),
        ([Drop(queue=Q), enqueue(Q, 4)], "unknown queue"),
        ([Drop(queue=NEW)], "unknown queue"),
        ([DECLARE, DECLARE], "declared twice"),
        ([Declare(queue=Q, spec=SPEC, lineage=(), next=1)], "declared twice"),
        ([Declare(queue=born(2, 5), spec=SPEC, lineage=((3, 1),), next=1)], "born in 2"),
        ([Declare(queue=NEW, spec=SPEC, lineage=((4, 1),), next=1)], "a lineage up to"),
    ],
)
def test_what_contradicts_itself_is_refused(operation: list[Part], why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        check_operation(queues(), tuple(operation), 3)


def test_a_lineage_stays_below_its_next_id_and_its_generation() -> None:
    check_lineage(DECLARE, 3)
    with pytest.raises(RemoteProtocolError, match="a lineage up to \\(3, 9\\)"):
        check_lineage(Declare(queue=NEW, spec=SPEC, lineage=((3, 9),), next=1), 3)
    check_lineage(Declare(queue=NEW, spec=SPEC, lineage=(), next=1), 3)


def test_a_copy_is_made_of_what_is_held() -> None:
    there = queues()
    moved = copy_of(there, copy(OTHER, 1, ids(1, 3)))
    assert list(moved) == [b"1", b"3"] and moved.order(0) == 0 and moved.props(0) == b"p"
    updated = copy_of(there, Copy(queue=Q, first=4, source=Q, ids=ids(1), replacement=True, props=(b"n",)))
    assert (updated.props(0), updated.order(0), updated.origin(0)) == (b"n", 1, (Q.bytes, 1, 1))
    fan_out = copy_of(there, Copy(queue=OTHER, first=1, source=Q, ids=ids(1), replacement=False))
    assert fan_out.origin(0) is None


# --- objects -------------------------------------------------------------------------------------

OBJECTS = configuration_id(UUID(int=9))
LOCAL = QueueObject(
    queue=born(3, 1, Level.CONFIGURATION), spec=QueueSpec(name="local"), level=Level.CONFIGURATION
)
SOUND = [
    (object_key("exchange", "topic"), b"anything"),
    (LOCAL.key, LOCAL.encode()),
    (producer_key("p"), b"not read here"),
]
MALFORMED = [
    (b"junk", b""),
    (b"", b""),
    (b"\x92\xa5queue\xff", b""),
    (b"\x92\xa5queue\xd9\x05local", LOCAL.encode()),
    (LOCAL.key, b""),
    (LOCAL.key, b"junk"),
    (LOCAL.key, LOCAL.encode()[:-1] + b"\xff"),
    (LOCAL.key, LOCAL.encode() + b"\0"),
    (LOCAL.key, replace(LOCAL, level=Level.MESSAGES).encode()),
    (LOCAL.key, replace(LOCAL, spec=QueueSpec(name="local", kind=7)).encode()),  # type: ignore[arg-type]
    (LOCAL.key, replace(LOCAL, arguments="text").encode()),  # type: ignore[arg-type]
]


def put(key: bytes, content: bytes) -> Enqueue:
    return Enqueue(queue=OBJECTS, first=1, batch=Batch.pack([content], [key]))


def with_objects() -> dict[UUID, ReplicatedQueue]:
    return queues() | {OBJECTS: ConfigurationQueue(OBJECTS, OF_OBJECTS, ((3, 1),), 1)}


@pytest.mark.parametrize(("key", "content"), SOUND)
def test_an_object_is_taken(key: bytes, content: bytes) -> None:
    for operation in ((put(key, content),), (put(key, content), Dequeue(queue=OBJECTS, ids=ids(99)))):
        check_operation(with_objects(), operation, 3)


@pytest.mark.parametrize(("key", "content"), MALFORMED)
def test_a_malformed_object_is_refused_before_anything_is_changed(key: bytes, content: bytes) -> None:
    """Z2: a backup that cannot read it would fail when it looks for queues among its objects."""
    for operation in ((put(key, content),), (put(key, content), Dequeue(queue=OBJECTS, ids=ids(99)))):
        with pytest.raises(RemoteProtocolError, match="malformed object"):
            check_operation(with_objects(), operation, 3)


@pytest.mark.parametrize(
    "part",
    [
        Declare(queue=NEW, spec=OF_OBJECTS, lineage=((3, 1),), next=1),
        Drop(queue=OBJECTS),
        copy(OBJECTS, 1, ids(1)),
    ],
)
def test_the_configuration_is_no_queue_of_a_client(part: Part) -> None:
    with pytest.raises(RemoteProtocolError, match="configuration"):
        check_operation(with_objects(), (part, enqueue(Q, 4)), 3)


def test_a_plan_with_a_malformed_object_is_refused() -> None:
    node = Node().following().say(WELCOME, session=0)
    broken = Batch.pack([b"junk"], [LOCAL.key])
    objects = configuration_id(CLUSTER)
    node.say(PlanMessages(queue=objects, generation_of=3, ids=ids(1), batch=broken))
    assert refused(node, "malformed object")
