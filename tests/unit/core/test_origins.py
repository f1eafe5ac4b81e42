"""The search for the copy of a message: it finds what is there however the queues change meanwhile."""

from __future__ import annotations

from collections.abc import Generator
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.explanation import Place
from qpidha.core.keyed import CONFIGURATION, KeyedQueue
from qpidha.core.origins import LOOKS, find_copy
from qpidha.core.queue import ReplicatedQueue
from qpidha.types import QueueId, QueueSpec

SOURCE, A, B, C = (UUID(int=n) for n in (1, 2, 3, 4))
WANTED = (SOURCE, 2, 7)


def queue_of(queue: QueueId) -> ReplicatedQueue:
    return ReplicatedQueue(queue, QueueSpec(name=f"q{queue.int}"), ((1, 1),), 1)


def copies(*ids: int, generation: int = 2, source: UUID = SOURCE) -> Batch:
    return Batch.pack([b""] * len(ids), origins=[(source.bytes, generation, id) for id in ids])


def queues_of(*queues: QueueId) -> dict[QueueId, ReplicatedQueue]:
    return {queue: queue_of(queue) for queue in queues}


def finished(search: Generator[None, None, Place | None]) -> tuple[Place | None, int]:
    """What was found, and how often the search stopped."""
    stops = 0
    while True:
        try:
            next(search)
        except StopIteration as end:
            return end.value, stops
        stops += 1


def place(queue: ReplicatedQueue, id: int) -> Place:
    return Place(queue=queue.queue, queue_name=queue.spec.name, id=id)


def test_the_message_itself_comes_first() -> None:
    queues = queues_of(SOURCE)
    queue = queues[SOURCE]
    queue.lineage = ((1, 1), (2, 6))
    queue.append(Batch.pack([b""] * 7))
    assert finished(find_copy(queues, WANTED)) == (place(queue, 7), 0)
    assert finished(find_copy(queues, (SOURCE, None, 7))) == (place(queue, 7), 0)
    assert finished(find_copy(queues, (SOURCE, 1, 7))) == (None, 0), "another message"
    queue.remove(SequenceSet([7]))
    assert finished(find_copy(queues, WANTED)) == (None, 0)


@pytest.mark.parametrize("others", [0, 1, 5])
def test_a_copy_is_found_by_source_generation_and_id(others: int) -> None:
    queues = queues_of(A, B)
    queues[A].append(Batch.pack([b"plain"]))
    queues[B].append(copies(*range(100, 100 + others), 7))
    queues[B].append(copies(7, generation=3))
    queues[B].append(copies(7, source=C))
    queues[B].append(Batch.join([Batch.pack([b"plain"]), copies(8)]))
    assert finished(find_copy(queues, WANTED)) == (place(queues[B], others + 1), 0)
    assert finished(find_copy(queues, (SOURCE, None, 7)))[0] == place(queues[B], others + 1)
    assert finished(find_copy(queues, (SOURCE, 3, 7)))[0] == place(queues[B], others + 2)
    assert finished(find_copy(queues, (SOURCE, 4, 7)))[0] is None
    queues[B].remove(SequenceSet([others + 1]))
    assert finished(find_copy(queues, WANTED))[0] is None, "it was accepted"


def test_keyed_queues_have_no_copies() -> None:
    table = KeyedQueue(A, QueueSpec(name="t", kind=CONFIGURATION), ((1, 1),), 1)
    table.append(copies(7))
    assert finished(find_copy({A: table}, WANTED)) == (None, 0)


def long(queues: dict[QueueId, ReplicatedQueue]) -> Generator[None, None, Place | None]:
    """A search that has stopped once, in queue A."""
    for first in range(1000, 1000 + 3 * LOOKS, 50):
        queues[A].append(copies(*range(first, first + 50)))
    search = find_copy(queues, WANTED)
    next(search)
    return search


def test_a_long_search_stops_again_and_again() -> None:
    queues = queues_of(A, B)
    search = long(queues)
    queues[B].append(copies(7))
    assert finished(search) == (place(queues[B], 1), 2)


@pytest.mark.parametrize("columns", [copies(9), Batch.pack([b""])])
def test_many_batches_take_several_slices(columns: Batch) -> None:
    queues = queues_of(A)
    for _ in range(2 * LOOKS + 1):
        queues[A].append(columns)
    assert finished(find_copy(queues, WANTED)) == (None, 2)


def test_many_queues_take_several_slices() -> None:
    queues = queues_of(*(UUID(int=n) for n in range(10, 10 + 2 * LOOKS)))
    queues[UUID(int=9 + 2 * LOOKS)].append(copies(7))
    assert finished(find_copy(queues, WANTED)) == (place(queues[UUID(int=9 + 2 * LOOKS)], 1), 1)
    assert finished(find_copy(queues, (SOURCE, 2, 8))) == (None, 2)


def test_a_message_that_moves_behind_the_search_is_found() -> None:
    """It was in B, which the search had not reached, and goes to the end of A, which it has passed."""
    queues = queues_of(A, B, C)
    queues[C].append(copies(7))
    search = long(queues)
    next(search)
    next(search)
    queues[C].remove(SequenceSet([1]))
    queues[A].append(copies(7))
    assert finished(search)[0] == place(queues[A], 3 * LOOKS + 1)


def test_a_rewound_queue_is_searched_again() -> None:
    """A flip gives it another lineage, and messages at ids that the search has passed."""
    queues = queues_of(A, B)
    search = long(queues)
    next(search)
    next(search)
    queue = queues[A]
    queue.remove(queue.held.copy())
    queue.lineage, queue.next = ((1, 1), (2, 5)), 5
    queue.append(copies(7))
    assert finished(search)[0] == place(queue, 5)


def test_messages_that_a_flip_brings_back_under_the_same_lineage_are_found() -> None:
    """The new primary still has what this node had dequeued, and its generation gave out no id of the queue yet (P3)."""
    queues = queues_of(A, B)
    queue = queues[A]
    queue.append(copies(7))
    queue.remove(SequenceSet([1]))
    search = long(queues)
    next(search)
    next(search)
    queue.insert(SequenceSet([1]), copies(7))
    assert finished(search)[0] == place(queue, 1)


def test_a_batch_that_is_rewritten_during_a_stop_is_read_to_its_end() -> None:
    queues = queues_of(A)
    queue = queues[A]
    queue.append(copies(*range(1000, 1000 + 2 * LOOKS), 7))
    search = find_copy(queues, WANTED)
    next(search)
    queue.remove(SequenceSet.from_range(1, LOOKS + 500))
    assert finished(search)[0] == place(queue, 2 * LOOKS + 1)


def test_a_queue_that_is_deleted_during_a_stop_holds_nothing() -> None:
    queues = queues_of(A)
    queues[A].append(copies(*range(1000, 1000 + LOOKS), 7))
    search = find_copy(queues, WANTED)
    next(search)
    del queues[A]
    assert finished(search)[0] is None
