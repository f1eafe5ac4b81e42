"""What the core refuses to its caller, saying why and changing nothing (P1, K1)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.candidate import check_promotable
from qpidha.core.chunks import split_for_move
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import CompareAndSet
from qpidha.core.replica import Replica
from qpidha.errors import CallerError, LocalProtocolError, PromotionRefused, UnknownQueue
from qpidha.journal import Insert, QueueImage, StoreImage, StoreStatus
from qpidha.types import Member, QueueSpec, Record, Role, Versioned
from tests.support.cores import BOOT, CLUSTER, EPOCH, ME, OTHER, PEER, QUEUE, Node

NOBODY = UUID(int=99)


def record(*members: Member, generation: int = 3) -> Record:
    return Record(cluster=CLUSTER, generation=generation, primary=None, members=frozenset(members))


def replica(*queues: QueueImage, cluster: UUID | None = None) -> Replica:
    status = StoreStatus(node="me", epoch=EPOCH, cluster=cluster)
    return Replica(node="me", boot=BOOT, image=StoreImage(status, queues))


# --- promotions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cluster", "members", "generation", "why"),
    [
        (NOBODY, [ME], 3, "is of cluster"),
        (CLUSTER, [PEER], 3, "is not a member"),
        (CLUSTER, [Member("me", NOBODY)], 3, "is not a member"),
        (CLUSTER, [ME], 4, "was reset"),
    ],
)
def test_who_may_not_be_promoted(cluster: UUID, members: list[Member], generation: int, why: str) -> None:
    with pytest.raises(PromotionRefused, match=why):
        check_promotable(record(*members), ME, cluster, generation)
    check_promotable(record(ME), ME, CLUSTER, 3)


def test_a_store_that_is_not_empty_founds_no_cluster() -> None:
    """The record is gone, and with it who held what was acknowledged (D7)."""
    for made in (
        replica(cluster=CLUSTER),
        replica(QueueImage(QUEUE, QueueSpec(name="q"), (), 1)),
    ):
        with pytest.raises(PromotionRefused, match="an operator must decide"):
            made.promote(found_as=NOBODY)
        assert made.ready(0.0).request is None


def test_a_primary_and_a_stopped_node_are_not_promoted() -> None:
    node = Node().promoted()
    with pytest.raises(LocalProtocolError, match="promote while recovering"):
        node.replica.promote(found_as=NOBODY)
    node.replica.stop()
    with pytest.raises(LocalProtocolError, match="promote while stopped"):
        node.replica.promote(found_as=NOBODY)


def test_a_backup_is_not_demoted() -> None:
    with pytest.raises(LocalProtocolError, match="demote while joining"):
        Node().following().replica.demote()


def test_one_attempt_at_a_time() -> None:
    made = replica()
    made.promote(found_as=NOBODY)
    first = made.ready(0.0).request
    made.promote(found_as=CLUSTER)
    assert isinstance(first, CompareAndSet)
    assert made.ready(0.0).request is None
    assert made.manager.in_flight == first


def test_whoever_loses_the_founding_to_another_does_not_go_on_to_be_primary() -> None:
    made = replica()
    made.promote(found_as=NOBODY)
    assert isinstance(made.ready(0.0).request, CompareAndSet)
    made.record_seen(Versioned(record(PEER, generation=0), 1), 0.1)
    assert made.ready(0.2).request is None
    assert made.role is Role.JOINING


def test_a_founding_that_counts_without_its_founder_stops_there() -> None:
    """The record is the one this node wrote, and an operator has taken it out of it since."""
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


def test_operations_that_are_refused() -> None:
    node = Node().promoted()
    primary = node.replica.primary
    assert primary is not None
    position = primary.position
    with pytest.raises(CallerError, match="exists already"):
        node.replica.declare(QUEUE, QueueSpec(name="again"))
    with pytest.raises(CallerError, match="were never given out"):
        node.replica.dequeue(QUEUE, SequenceSet([10]))
    with pytest.raises(UnknownQueue):
        node.replica.enqueue(NOBODY, Batch.pack([b"x"]))
    with pytest.raises(UnknownQueue):
        node.replica.portions(NOBODY, SequenceSet([1]))
    assert primary.position == position
    node.check()


def test_what_is_gone_needs_no_operation() -> None:
    node = Node().promoted()
    assert node.replica.primary is not None
    position = node.replica.primary.position
    assert node.replica.dequeue(QUEUE, SequenceSet([7])) == (position, SequenceSet())
    assert node.replica.move(QUEUE, SequenceSet([7]), OTHER) == (position, SequenceSet())
    assert node.replica.portions(QUEUE, SequenceSet([7])) == []
    node.check()


def test_a_moved_message_keeps_the_identity_that_its_publish_was_given() -> None:
    """Through every move, so that its fate can be judged (O3, W2): first 5@2, then in the other queue, then back."""
    node = Node().promoted()
    node.replica.move(QUEUE, SequenceSet([5, 6]), OTHER)
    _, ids = node.replica.move(OTHER, SequenceSet([1]), QUEUE)
    node.replica.enqueue(OTHER, Batch.pack([b"new"]))
    node.replica.move(OTHER, SequenceSet([2, 3]), QUEUE)
    origins = {
        id: batch.origin(index)
        for piece, batch in node.replica.queues[QUEUE].select(SequenceSet([(10, 12)]))
        for index, id in enumerate(piece)
    }
    assert ids == SequenceSet([10])
    assert origins == {10: (QUEUE.bytes, 2, 5), 11: (QUEUE.bytes, 2, 6), 12: (OTHER.bytes, 3, 3)}
    node.check()


def test_a_publish_has_no_origin_whatever_its_batch_says() -> None:
    """A copy of a moved message that somebody publishes is a message of its own: it may be lost, or not, by itself."""
    node = Node().promoted()
    moved = Batch.pack([b"a copy"], origins=[(OTHER.bytes, 1, 1)])
    _, ids = node.replica.enqueue(QUEUE, moved)
    ((_, batch),) = node.replica.queues[QUEUE].select(ids)
    assert (batch.data(0), batch.origin(0)) == (b"a copy", None)
    (insert,) = [change for change in node.replica.ready(1.0).persist if isinstance(change, Insert)]
    assert insert.batch == batch


def test_a_move_is_cut_where_a_frame_or_an_id_set_is_full() -> None:
    node = Node().promoted()
    queue = node.replica.queues[QUEUE]
    sparse = SequenceSet([1, 3, 5, 8])
    by_runs = split_for_move(queue, sparse, Settings(ids_runs_per_chunk_max=2))
    assert list(by_runs) == [SequenceSet([1, 3]), SequenceSet([5, 8])]
    small = Settings(
        frame_bytes_max=65_536,
        message_bytes_max=32_768,
        plan_chunk_bytes=32_768,
        operations_bytes=8_192,
        ids_runs_per_chunk_max=256,
    )
    large = ReplicatedQueue(QUEUE, queue.spec, queue.lineage, 1)
    large.append(Batch.pack([bytes(20_000)] * 5))
    by_bytes = split_for_move(large, SequenceSet([(1, 5)]), small)
    assert list(by_bytes) == [SequenceSet([1, 2]), SequenceSet([3, 4]), SequenceSet([5])]
