"""Calls of clients to a primary: each is refused without any effect, or becomes operations (O1–O3)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.chunks import split_for_move
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import CallerError, UnknownQueue
from qpidha.journal import Insert
from qpidha.types import QueueSpec
from tests.support.cores import OTHER, QUEUE, Node

UNKNOWN = UUID(int=99)


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
        node.replica.enqueue(UNKNOWN, Batch.pack([b"x"]))
    with pytest.raises(UnknownQueue):
        node.replica.portions(UNKNOWN, SequenceSet([1]))
    assert primary.position == position
    node.check()


def test_ids_that_are_gone_need_no_operation() -> None:
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
    """A moved message that a client publishes again is a new message, with a fate independent of the old one."""
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
