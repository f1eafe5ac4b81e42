"""A promotion that was won: its generation begins in one transaction, which changes no queue (P2, P3)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.births import configuration_id
from qpidha.core.configuration import SPEC, births_of_old_queues, queue_objects
from qpidha.core.lineage import ENTRIES_KEPT
from qpidha.core.primary.activation import Activation
from qpidha.core.state import NodeState
from qpidha.errors import InvariantError
from qpidha.journal import Insert, PutQueue, PutStatus, QueueImage, Skip, StoreImage, StoreStatus
from qpidha.types import Member, QueueSpec, Record

CLUSTER, BOOT, EPOCH = (UUID(int=n) for n in range(1, 4))
FULL, EMPTY = UUID(int=0xA1), UUID(int=0xA2)
ONE = Batch.pack([b"1"])
ME, OTHER = Member("a", EPOCH), Member("b", UUID(int=9))


def state(*more: QueueImage) -> NodeState:
    held = SequenceSet.from_range(4, 6)
    full = QueueImage(
        FULL, QueueSpec(name="full"), ((1, 1), (2, 3)), 7, [(held, Batch.pack([b"x", b"y", b"z"]))]
    )
    empty = QueueImage(EMPTY, QueueSpec(name="empty"), ((2, 1),), 5)
    image = StoreImage(
        StoreStatus(node="a", epoch=EPOCH, cluster=CLUSTER, generation=2), [full, empty, *more]
    )
    return NodeState(node="a", boot=BOOT, image=image, settings=Settings())


def record(generation: int = 3) -> Record:
    return Record(cluster=CLUSTER, generation=generation, primary=("a", BOOT), members=frozenset({ME, OTHER}))


def test_nothing_changes_before_the_last_slice() -> None:
    made = state()
    activation = Activation(record(), made.queues.values())
    assert not activation.advance(1)
    assert (made.generation, made.queues[FULL].lineage) == (2, ((1, 1), (2, 3)))
    assert made.outbox.empty


def test_a_slice_that_ends_with_the_last_queue_needs_one_more_call() -> None:
    """Only the next call finds that no queue is left."""
    activation = Activation(record(), state().queues.values())
    assert not activation.advance(2)
    assert activation.advance(2)


def test_a_generation_begins_without_a_change_of_any_queue() -> None:
    made = state()
    activation = Activation(record(), made.queues.values())
    assert activation.advance(10)
    primary, _ = activation.begin(made)
    assert (made.generation, primary.generation, primary.position) == (3, 3, 1)
    assert made.queues[FULL].lineage == ((1, 1), (2, 3))
    assert made.queues[EMPTY].lineage == ((2, 1),)
    persisted = made.outbox.take().persist
    assert persisted[0] == PutStatus(CLUSTER, 3, primary=True)
    objects = made.configuration
    assert objects is not None
    put = {change.queue for change in persisted if isinstance(change, PutQueue)}
    assert put == {objects.queue}


def test_it_enters_itself_with_the_first_id_that_it_gives_out() -> None:
    """P3: in the transaction of the message, and once."""
    made = state()
    activation = Activation(record(), made.queues.values())
    activation.advance(10)
    primary, _ = activation.begin(made)
    made.outbox.take()
    primary.enqueue(FULL, ONE)
    primary.skip(EMPTY, 2)
    primary.enqueue(FULL, ONE)
    full, empty = made.queues[FULL], made.queues[EMPTY]
    assert (full.lineage, empty.lineage) == (((1, 1), (2, 3), (3, 7)), ((2, 1), (3, 5)))
    assert made.outbox.take().persist == [
        PutQueue(FULL, full.spec, full.lineage, 7),
        Insert(FULL, SequenceSet([7]), ONE),
        PutQueue(EMPTY, empty.spec, empty.lineage, 5),
        Skip(EMPTY, 7),
        Insert(FULL, SequenceSet([8]), ONE),
    ]


def test_two_generations_that_gave_out_nothing_leave_no_trace() -> None:
    """P3: the next one begins where the last id was given out, whoever was primary in between."""
    made = state()
    for generation in (3, 4, 5):
        activation = Activation(record(generation), made.queues.values())
        activation.advance(10)
        primary, _ = activation.begin(made)
    primary.enqueue(EMPTY, ONE)
    assert made.queues[EMPTY].lineage == ((2, 1), (5, 5))
    assert made.queues[FULL].lineage == ((1, 1), (2, 3))


def test_queues_of_a_release_without_configuration_get_objects_with_their_birth() -> None:
    """Part of the activation: once, and never again (Q2)."""
    made = state()
    activation = Activation(record(), made.queues.values())
    activation.advance(10)
    activation.begin(made)
    assert made.configuration is not None
    found = {o.spec.name: (o.queue, o.birth) for o in queue_objects(made.configuration)}
    assert found == {"full": (FULL, (3, 1)), "empty": (EMPTY, (3, 2))}
    assert births_of_old_queues(made.configuration)[EMPTY] == (3, 2)
    again = Activation(record(generation=4), made.queues.values())
    again.advance(10)
    again.begin(made)
    assert len(made.configuration) == 2 and made.configuration.next == 3


def test_the_lineage_of_the_configuration_is_kept_from_the_beginning() -> None:
    """Q4: births that are older than all objects that are left can be judged; other queues forget what they lost."""
    id = configuration_id(CLUSTER)
    before = tuple((generation, generation) for generation in range(1, ENTRIES_KEPT + 1))
    last, next = before[-1][0], ENTRIES_KEPT + 1
    latest = (SequenceSet([last]), Batch.pack([b"value"], props=[b"key"]))
    other = UUID(int=0xA4)
    made = state(
        QueueImage(id, SPEC, before, next, [latest]),
        QueueImage(other, QueueSpec(name="other"), before, next, [latest]),
    )
    made.generation = last
    activation = Activation(record(last + 1), made.queues.values())
    activation.advance(10)
    primary, _ = activation.begin(made)
    primary.enqueue(other, ONE)
    primary.declare(QueueSpec(name="new"))
    assert made.queues[id].lineage == (*before, (last + 1, next))
    assert made.queues[other].lineage == (*before[1:], (last + 1, next))
    stored = [change for change in made.outbox.take().persist if isinstance(change, PutQueue)]
    assert [put.lineage for put in stored if put.queue == id] == [(*before, (last + 1, next))]


def test_the_other_members_must_acknowledge_the_activation() -> None:
    made = state()
    activation = Activation(record(), made.queues.values())
    activation.advance(10)
    primary, _ = activation.begin(made)
    assert primary.membership.required == frozenset({OTHER})
    primary.settle(0.0)
    assert not primary.established


def test_a_generation_that_was_begun_before_is_not_begun_again() -> None:
    made = state()
    activation = Activation(record(generation=2), made.queues.values())
    activation.advance(10)
    with pytest.raises(InvariantError, match="generations only grow"):
        activation.begin(made)
