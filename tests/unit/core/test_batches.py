"""The batches of one queue: what is in the store only is read again, and what ends is not counted any more."""

from __future__ import annotations

from uuid import UUID

from qpidha.core.batches import NONE_HELD
from qpidha.core.bodies import Bodies
from qpidha.core.queue import ReplicatedQueue
from qpidha.seq import SequenceSet
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch


def test_a_queue_without_messages_shares_its_empty_set() -> None:
    assert ReplicatedQueue(UUID(int=1), QueueSpec(name="q"), ((1, 1),), 1).held is NONE_HELD


def test_what_is_left_of_a_batch_is_read_at_its_new_place() -> None:
    asked = []

    def read(queue: UUID, ids: SequenceSet) -> Batch:
        asked.append((queue, list(ids)))
        return Batch.pack([b"%d" % id for id in ids])

    queue = ReplicatedQueue(UUID(int=1), QueueSpec(name="q"), ((1, 1),), 1)
    queue.bodies = Bodies(1, read)
    queue.append(Batch.pack([b"%d" % id for id in range(1, 9)]))
    assert queue.absent_bytes == queue.bytes > 0, "all that is loaded is durable"
    queue.remove(SequenceSet([(1, 3), 7, 8]))
    assert next(queue.select(SequenceSet([5])))[1].data(0) == b"5"
    assert asked == [(UUID(int=1), [4, 5, 6])] and queue.absent_bytes == 0
    queue.check()
    queue.end()
    assert queue.bodies.nbytes == 0
