"""What is known of a queue of a backup before its catch-up: nothing is planned, nothing was told."""

from __future__ import annotations

from uuid import UUID

from qpidha import Batch, SequenceSet
from qpidha.core.primary.described import Described, Resync, wanted_bytes
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.resync import History
from qpidha.types import QueueSpec


def test_a_description_begins_without_a_plan() -> None:
    made = Described(History(((1, 1),), 4, SequenceSet([1, 3])))
    assert (made.keep, made.staged, made.cursor, made.told) == (None, None, 0, False)


def test_a_catch_up_begins_without_costs() -> None:
    assert (Resync().messages, Resync().bytes, Resync().dropped) == (0, 0, 0)


def test_what_is_wanted_is_estimated_by_the_average_size() -> None:
    queue = ReplicatedQueue(UUID(int=1), QueueSpec(name="q"), ((1, 1),), 1)
    queue.append(Batch.pack([b"x" * 90] * 10))
    assert wanted_bytes(queue, None) == queue.bytes
    described = Described(History(((1, 1),), 5, SequenceSet([(1, 4)])))
    assert wanted_bytes(queue, described) == queue.bytes * 6 // 10, "not planned yet: what it holds is kept"
    described.keep = SequenceSet([(1, 2)])
    assert wanted_bytes(queue, described) == queue.bytes * 8 // 10
    described.cursor = 6
    assert wanted_bytes(queue, described) == queue.bytes * 5 // 10
    more = Described(History(((1, 1),), 99, SequenceSet([(1, 50)])))
    assert wanted_bytes(queue, more) == 0, "it claims to hold more than there is"
