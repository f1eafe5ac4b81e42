"""Calls that the core refuses: it tells the reason and changes nothing (P1, K1)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.candidate import check_promotable
from qpidha.core.ready import CompareAndSet
from qpidha.core.replica import Replica
from qpidha.errors import LocalProtocolError, PromotionRefused
from qpidha.journal import QueueImage, StoreImage, StoreStatus
from qpidha.types import Member, QueueSpec, Record, Role, Versioned
from tests.support.cores import BOOT, CLUSTER, EPOCH, ME, PEER, QUEUE, Node, seen

OTHER = UUID(int=99)


def record(*members: Member, generation: int = 3) -> Record:
    return Record(cluster=CLUSTER, generation=generation, primary=None, members=frozenset(members))


def replica(*queues: QueueImage, cluster: UUID | None = None) -> Replica:
    status = StoreStatus(node="me", epoch=EPOCH, cluster=cluster)
    return Replica(node="me", boot=BOOT, image=StoreImage(status, queues))


# --- promotions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cluster", "members", "generation", "why"),
    [
        (OTHER, [ME], 3, "is of cluster"),
        (CLUSTER, [PEER], 3, "is not a member"),
        (CLUSTER, [Member("me", OTHER)], 3, "is not a member"),
        (CLUSTER, [ME], 4, "was reset"),
    ],
)
def test_a_promotion_that_a_rule_forbids_is_refused(
    cluster: UUID, members: list[Member], generation: int, why: str
) -> None:
    with pytest.raises(PromotionRefused, match=why):
        check_promotable(record(*members), ME, cluster, generation)
    check_promotable(record(ME), ME, CLUSTER, 3)


def test_a_store_that_is_not_empty_founds_no_cluster() -> None:
    """The record is gone, and with it the list of nodes that hold all that was acknowledged (D7)."""
    for made in (
        replica(cluster=CLUSTER),
        replica(QueueImage(QUEUE, QueueSpec(name="q"), (), 1)),
    ):
        with pytest.raises(PromotionRefused, match="an operator must decide"):
            made.promote(found_as=OTHER)
        assert made.ready(0.0).request is None


def test_a_primary_and_a_stopped_node_are_not_promoted() -> None:
    node = Node().promoted()
    with pytest.raises(LocalProtocolError, match="promote while recovering"):
        node.replica.promote(found_as=OTHER)
    node.replica.stop()
    with pytest.raises(LocalProtocolError, match="promote while stopped"):
        node.replica.promote(found_as=OTHER)


def test_a_backup_is_not_demoted() -> None:
    with pytest.raises(LocalProtocolError, match="demote while joining"):
        Node().following().replica.demote()


def test_one_attempt_at_a_time() -> None:
    made = replica()
    made.promote(found_as=OTHER)
    first = made.ready(0.0).request
    made.promote(found_as=CLUSTER)
    assert isinstance(first, CompareAndSet)
    assert made.ready(0.0).request is None
    assert made.manager.in_flight == first


def test_a_node_that_loses_the_founding_does_not_go_on_to_be_primary() -> None:
    made = replica()
    made.promote(found_as=OTHER)
    assert isinstance(made.ready(0.0).request, CompareAndSet)
    made.record_seen(Versioned(record(PEER, generation=0), 1), 0.1)
    assert made.ready(0.2).request is None
    assert made.role is Role.JOINING


def test_a_primary_that_stepped_down_does_not_begin_its_generation_again() -> None:
    """Its last change of the record is seen late. Ids of this generation may have been given out already (P2)."""
    node = Node().promoted().work()
    assert node.replica.primary is not None
    node.replica.step_down("its store hangs")
    late = replace(seen(3, ("me", BOOT), frozenset({ME})), version=4)
    node.replica.record_seen(late, 0.2)
    node.work()
    assert node.replica.record == late.record
    assert node.replica.primary is None
    assert node.contents.status.generation == 3


def test_a_founder_that_the_record_does_not_list_is_not_promoted() -> None:
    """The record is the one that this node wrote, but an operator has removed the node from its members since."""
    made = replica()
    made.promote(found_as=CLUSTER)
    request = made.ready(0.0).request
    assert isinstance(request, CompareAndSet)
    taken_out = Record(
        cluster=CLUSTER, generation=0, primary=None, members=frozenset({PEER}), nonce=request.new.nonce
    )
    made.record_seen(Versioned(taken_out, 2), 0.1)
    assert made.manager.in_flight is None
    assert made.ready(0.2).request is None


# --- operations ----------------------------------------------------------------------------------------


# --- messages beyond the memory for them ---------------------------------------------------------------


def test_what_was_performed_is_dropped_and_read_again() -> None:
    kept = {1: b"a" * 500, 2: b"b" * 500}

    def read(queue: UUID, ids: SequenceSet) -> Batch:
        return Batch.pack([kept[id] for id in ids])

    image = StoreImage(
        StoreStatus(node="me", epoch=EPOCH, cluster=CLUSTER, generation=2),
        [
            QueueImage(
                QUEUE, QueueSpec(name="full"), ((1, 1),), 2, [(SequenceSet([1]), Batch.pack([kept[1]]))]
            )
        ],
    )
    made = Replica(
        node="me", boot=BOOT, image=image, settings=replace(Settings(), memory_bytes_max=100), read=read
    )
    queue = made.queues[QUEUE]
    assert queue.absent_bytes >= 500, "what the store had may go as soon as all is loaded"
    made.record_seen(seen(3, ("me", BOOT), frozenset({ME})), 0.0)
    while made.ready(0.0):
        made.performed(0.0)
    before = queue.absent_bytes
    made.enqueue(QUEUE, Batch.pack([kept[2]]))
    made.ready(0.0)
    assert queue.absent_bytes == before, "it is on no disk yet"
    made.performed(0.0)
    assert queue.absent_bytes >= before + 500
    assert [batch.data(0) for _, batch in queue.select(SequenceSet([1, 2]))] == [kept[1], kept[2]]
    assert made.unreadable is None
