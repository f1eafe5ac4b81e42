"""A backup's session: plans and operations that contradict themselves cost the primary its link (Z2, C5, C6)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import born, configuration_id, own_id
from qpidha.core.configuration import SPEC as OBJECTS_SPEC
from qpidha.core.configuration import QueueObject, object_key
from qpidha.core.primary.session import BackupSession
from qpidha.core.queues import Queues
from qpidha.core.ready import QueueAdded, QueueRemoved
from qpidha.errors import RemoteProtocolError
from qpidha.journal import Audit, DropQueue, Insert, PutQueue, Remove, Skip
from qpidha.types import Level, QueueSpec
from qpidha.wire.events import (
    Acknowledged,
    Declare,
    Dequeue,
    Drop,
    Enqueue,
    Event,
    Frame,
    Operation,
    Operations,
    PlanEnd,
    PlanQueue,
    PlanWithdraw,
    Progress,
    SkipIds,
    Subscribe,
    SubscribeQueue,
)
from tests.support.cores import (
    CLUSTER,
    GENERATION,
    LINK,
    OTHER,
    PEER_EPOCH,
    QUEUE,
    SETTINGS,
    WELCOME,
    Node,
    refused,
)
from tests.support.plans import EMPTY, NEW, PLAN, SPEC, backup, chunk


def subscribe(queues: int) -> Subscribe:
    return Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=queues)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([replace(PLAN, queue=UUID(int=n)) for n in range(6)], "more than 4 queues"),
        ([chunk(10), chunk(10)], "staged twice"),
        ([replace(PLAN, lineage=((1, 1), (3, 20)))], "a lineage up to (3, 20), but next is 10"),
        ([replace(PLAN, lineage=((4, 1),))], "a lineage up to (4, 1), but next is 10"),
        ([Operations(first=2, operations=((SkipIds(queue=QUEUE, first=10, last=10),),))], "while STAGING"),
    ],
)
def test_a_plan_that_contradicts_earlier_frames_is_refused(events: list[Event], why: str) -> None:
    node = backup(*events)
    assert refused(node, why)
    assert node.replica.queues[QUEUE].next == 10
    node.check()


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ([Declare(queue=QUEUE, spec=SPEC, lineage=(), next=1)], "declared twice"),
        ([Declare(queue=NEW, spec=SPEC, lineage=((3, 9),), next=1)], "a lineage up to (3, 9)"),
        ([Enqueue(queue=QUEUE, first=11, batch=Batch.pack([b"x"]))], "id 11 was given out, but next is 10"),
        ([SkipIds(queue=QUEUE, first=12, last=13)], "skipped from 12, but next is 10"),
        ([Dequeue(queue=NEW, ids=SequenceSet([1]))], "unknown queue"),
        (
            [
                Dequeue(queue=QUEUE, ids=SequenceSet([15])),
                Enqueue(queue=QUEUE, first=10, batch=Batch.pack([b"x"])),
            ],
            "id 10 was given out, but next is 16",
        ),
    ],
)
def test_a_primary_that_operates_in_nonsense(operation: Operation, why: str) -> None:
    """The first operation of the frame was right, so it stays; of the second nothing is applied (O3)."""
    right = (SkipIds(queue=OTHER, first=1, last=3),)
    node = backup(PLAN, EMPTY, PlanEnd(position=4, queues=2))
    node.say(Operations(first=5, operations=(right, tuple(operation))))
    assert refused(node, why)
    assert node.replica.queues[OTHER].next == 4
    assert node.replica.queues[QUEUE].next == 10
    node.check()


def test_operations_out_of_order_are_refused() -> None:
    node = backup(PLAN, EMPTY, PlanEnd(position=4, queues=2))
    node.say(Operations(first=6, operations=((SkipIds(queue=OTHER, first=1, last=3),),)))
    assert refused(node, "operation 6 after 4")


def test_acknowledgements_of_one_turn_become_one() -> None:
    """Acknowledgements are cumulative: the last one replaces those before it."""
    node = backup(PLAN, EMPTY, PlanEnd(position=4, queues=2))
    node.sent.clear()
    for position in (5, 6, 7):
        dequeue = Dequeue(queue=QUEUE, ids=SequenceSet([position]))
        operations = Operations(first=position, operations=((dequeue,),))
        node.replica.received(LINK, Frame(GENERATION, 1, operations), 0.0)
    node.perform()
    assert node.sent == [Acknowledged(position=7)]
    node.check()


def test_an_acknowledgement_replaces_nothing_else() -> None:
    """A staged chunk and the flip in one turn: flow control, then the acknowledgement."""
    node = backup()
    node.sent.clear()
    for event in (chunk(10), replace(PLAN, next=11, held=9), EMPTY, PlanEnd(position=4, queues=2)):
        node.replica.received(LINK, Frame(GENERATION, 1, event), 0.0)
    node.perform()
    assert node.sent == [Progress(chunks=1), Acknowledged(position=4)]


def test_a_session_that_breaks_the_protocol_is_named() -> None:
    session = BackupSession(LINK, "peer", NEW, SETTINGS)
    with pytest.raises(RemoteProtocolError, match="not new"):
        session.subscribe(0, subscribe(0))


def test_a_deleted_queue_is_gone_with_what_it_held() -> None:
    """Its object goes in the same operation, elsewhere (Q2)."""
    node = backup(PLAN, EMPTY, PlanEnd(position=4, queues=2)).forget()
    node.say(Operations(first=5, operations=((Drop(queue=QUEUE),),)))
    assert not node.closed
    assert QUEUE not in node.replica.queues
    assert QUEUE not in node.contents.queues
    assert node.persisted[-1] == [DropQueue(QUEUE)]
    assert node.notices == [QueueRemoved(QUEUE)]
    node.check()


def test_a_queue_that_is_withdrawn_from_the_plan_is_not_there_after_the_flip() -> None:
    """What was said and staged of it is forgotten; what this node held of it is judged by its birth (Q4, Q9)."""
    node = backup(PLAN, chunk(10), PlanWithdraw(queue=QUEUE), EMPTY, PlanEnd(position=4, queues=1))
    assert not node.closed
    assert list(node.replica.queues) == [OTHER]
    node.check()


# --- queues whose messages are not replicated ------------------------------------------------------

LOCAL = born(GENERATION, 1, Level.CONFIGURATION)
OBJECTS = configuration_id(CLUSTER)


def with_objects() -> Node:
    """A backup that follows a primary whose configuration is empty, and has a queue of its own."""
    node = Node(replace(SETTINGS, queues_max=9))
    node.replica.local.add(Queues().make(own_id(1, 1), QueueSpec(name="own"), ((1, 1),), 1))
    node.contents.apply([PutQueue(own_id(1, 1), QueueSpec(name="own"), ((1, 1),), 1)])
    objects = PlanQueue(queue=OBJECTS, spec=OBJECTS_SPEC, lineage=((3, 1),), next=1, held=0)
    return backup(PLAN, EMPTY, objects, PlanEnd(position=1, queues=3), node=node).forget()


def test_a_backup_describes_no_queue_of_its_own() -> None:
    node = Node()
    node.replica.local.add(Queues().make(own_id(1, 1), QueueSpec(name="own"), ((1, 1),), 1))
    node.following().say(WELCOME, session=0)
    described = [event for event in node.sent if isinstance(event, (Subscribe, SubscribeQueue))]
    assert isinstance(described[0], Subscribe) and described[0].queues == 2
    assert {e.queue for e in described[1:] if isinstance(e, SubscribeQueue)} == {QUEUE, OTHER}


def test_a_queue_of_level_configuration_comes_and_goes_with_the_operation_of_its_object() -> None:
    """In the same transaction, with nothing but its object on the link (Q2, LV2)."""
    node, spec = with_objects(), QueueSpec(name="q", kind="ring")
    made = QueueObject(queue=LOCAL, spec=spec, level=Level.CONFIGURATION)
    put = Enqueue(queue=OBJECTS, first=1, batch=Batch.pack([made.encode()], props=[made.key]))
    node.say(Operations(first=2, operations=((put,),)))
    assert [type(c) for c in node.persisted[0]] == [Insert, PutQueue]
    assert node.replica.find("q") == LOCAL and node.replica.local[LOCAL].spec == spec
    assert QueueAdded(LOCAL, spec) in node.notices
    node.forget().say(Operations(first=3, operations=((Dequeue(queue=OBJECTS, ids=SequenceSet([1])),),)))
    assert [type(c) for c in node.persisted[0]] == [Remove, Audit, DropQueue]
    assert LOCAL not in node.replica.local and QueueRemoved(LOCAL) in node.notices
    assert len(node.replica.local) == 1, "its own queue of level none has no object, and stays"
    other = Enqueue(queue=OBJECTS, first=2, batch=Batch.pack([b""], props=[object_key("kind", "q")]))
    node.forget().say(Operations(first=4, operations=((other, SkipIds(queue=OBJECTS, first=3, last=3)),)))
    assert [type(c) for c in node.persisted[0]] == [Insert, Skip]
    assert not node.closed
    node.check()


@pytest.mark.parametrize("queue", [LOCAL, own_id(1, 1)])
def test_a_peer_that_names_a_queue_of_this_node_is_refused(queue: UUID) -> None:
    declare = Declare(queue=queue, spec=SPEC, lineage=((3, 1),), next=1)
    for node in (
        with_objects().say(Operations(first=2, operations=((declare,),))),
        backup(PlanQueue(queue=queue, spec=SPEC, lineage=((3, 1),), next=1, held=0)),
    ):
        assert refused(node, "whose messages are not replicated")


def test_objects_in_a_queue_that_is_not_the_clusters_configuration_declare_nothing() -> None:
    """A peer may give its kind to any queue: only the one with the cluster's id is followed."""
    node, other = Node(replace(SETTINGS, queues_max=9)), born(1, 77)
    objects = PlanQueue(queue=other, spec=OBJECTS_SPEC, lineage=((3, 1),), next=1, held=0)
    node = backup(PLAN, EMPTY, objects, PlanEnd(position=1, queues=3), node=node)
    made = QueueObject(queue=LOCAL, spec=QueueSpec(name="q", kind="ring"), level=Level.CONFIGURATION)
    put = Enqueue(queue=other, first=1, batch=Batch.pack([made.encode()], props=[made.key]))
    more = Enqueue(queue=QUEUE, first=node.replica.queues[QUEUE].next, batch=Batch.pack([b"x"]))
    node.say(Operations(first=2, operations=((put, more),)))
    assert not node.closed and LOCAL not in node.replica.local
    node.check()


def test_a_primary_whose_configuration_has_no_keys_declares_nothing_by_it() -> None:
    node = Node(replace(SETTINGS, queues_max=9))
    objects = PlanQueue(queue=OBJECTS, spec=QueueSpec(name="c"), lineage=((3, 1),), next=1, held=0)
    node = backup(PLAN, EMPTY, objects, PlanEnd(position=1, queues=3), node=node)
    node.say(Operations(first=2, operations=((Enqueue(queue=OBJECTS, first=1, batch=Batch.pack([b"x"])),),)))
    assert not node.closed and len(node.replica.local) == 0
    node.check()
