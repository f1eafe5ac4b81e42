"""A backup's session: plans and operations that contradict themselves cost the primary its link (Z2, C5, C6)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.primary.session import BackupSession
from qpidha.core.ready import QueueRemoved
from qpidha.errors import RemoteProtocolError
from qpidha.journal import DropQueue
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
    PlanWithdraw,
    Progress,
    SkipIds,
    Subscribe,
)
from tests.support.cores import (
    GENERATION,
    LINK,
    OTHER,
    PEER_EPOCH,
    QUEUE,
    SETTINGS,
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
