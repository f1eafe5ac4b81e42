"""A queue whose next id falls at a rewind still gives every id its own message.

Method: the sequences of a rewind are played by hand, the rest is left to tests/property/test_core_twins.py,
whose queues only grow.
"""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.queue import ReplicatedQueue
from qpidha.types import MESSAGE_ID_MAX, QueueSpec


def made() -> ReplicatedQueue:
    return ReplicatedQueue(UUID(int=1), QueueSpec(name="q"), ((1, 1),), 1)


def batch(*values: str) -> Batch:
    return Batch.pack([value.encode() for value in values])


def content(queue: ReplicatedQueue) -> dict[int, str]:
    return {
        id: data.decode()
        for ids, piece in queue.select(queue.held)
        for id, data in zip(ids, piece, strict=True)
    }


def rewind(queue: ReplicatedQueue, drop: SequenceSet, next: int) -> None:
    """What a flip does to a queue before it inserts (`qpidha.core.backup.flip`)."""
    queue.remove(drop)
    queue.next = next


def test_ids_given_out_again_do_not_read_as_the_rewound_messages() -> None:
    queue = made()
    queue.append(batch("one", "two", "three"))
    rewind(queue, SequenceSet([(2, 3)]), 2)
    queue.append(batch("new two", "new three"))
    queue.check()
    assert content(queue) == {1: "one", 2: "new two", 3: "new three"}
    assert queue.remove(SequenceSet([(1, 3)])) == SequenceSet([(1, 3)])
    queue.check()
    assert queue.bytes == 0


def test_the_rest_of_a_sparse_batch_is_taken_in_several_runs() -> None:
    """The first run leaves less than half of the batch, which is then rewritten; the second takes that."""
    queue = made()
    queue.append(Batch.pack([bytes(1000)] * 10))
    queue.remove(SequenceSet([7]))
    queue.remove(SequenceSet([(1, 6), (8, 10)]))
    queue.check()
    assert (len(queue), queue.bytes) == (0, 0)


def test_a_batch_that_was_rewritten_gives_up_more_in_the_same_step() -> None:
    queue = made()
    queue.append(Batch.pack([bytes(1000)] * 10))
    queue.append(batch("eleven"))
    queue.remove(SequenceSet([(2, 7), 9, 11]))
    queue.check()
    assert queue.held == SequenceSet([1, 8, 10])
    assert queue.bytes < 5000


@pytest.mark.parametrize("compact_bytes", [1, 4096])
def test_any_mixture_of_rewinds_and_publishes_agrees_with_a_dict(
    compact_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpidha.core.queue.COMPACT_BYTES_MIN", compact_bytes)
    random_ = random.Random(7)
    for _ in range(200):
        queue, twin = made(), dict[int, str]()
        for step in range(25):
            match random_.randrange(4):
                case 0 | 1:
                    values = [f"{step}.{n}" for n in range(random_.randint(1, 5))]
                    ids = queue.append(batch(*values))
                    twin.update(zip(ids, values, strict=True))
                case 2:
                    gone = SequenceSet(i for i in twin if random_.random() < 0.3)
                    assert queue.remove(gone) == gone
                    twin = {i: v for i, v in twin.items() if i not in gone}
                case 3:
                    next = random_.randint(1, queue.next)
                    rewind(queue, SequenceSet(i for i in twin if i >= next), next)
                    twin = {i: v for i, v in twin.items() if i < next}
            queue.check()
            assert content(queue) == twin


def test_unknown_ids_that_are_removed_count_as_given_out() -> None:
    """O2: a dequeue may come to a backup that never had the message."""
    queue = made()
    assert queue.remove(SequenceSet([7])) == SequenceSet()
    assert queue.next == 8
    assert queue.append(batch("eight")) == SequenceSet([8])


def test_reading_ends_at_either_limit_and_returns_at_least_one_message() -> None:
    queue = made()
    queue.append(batch(*"abcd"))
    queue.append(batch(*"efgh"))
    queue.append(batch("x" * 100))
    queue.remove(SequenceSet([2, 5, 6]))

    def read(first: int, messages_max: int, bytes_max: int) -> list[list[int]]:
        found = list(queue.read(first, messages_max=messages_max, bytes_max=bytes_max))
        twin = content(queue)
        for ids, piece in found:
            assert [data.decode() for data in piece] == [twin[id] for id in ids]
        return [list(ids) for ids, _ in found]

    assert read(1, 100, 10_000) == [[1, 3, 4], [7, 8], [9]]
    assert read(4, 100, 10_000) == [[4], [7, 8], [9]]
    assert read(5, 1, 10_000) == [[7]]
    assert read(1, 4, 10_000) == [[1, 3, 4], [7]]
    assert read(1, 3, 10_000) == [[1, 3, 4]]
    assert read(1, 100, 1) == [[1]]
    assert read(9, 100, 1) == [[9]]
    assert read(10, 100, 10_000) == []
    assert read(1, 0, 10_000) == []
    queue.remove(SequenceSet([1, 3]))
    assert read(1, 100, 10_000) == [[4], [7, 8], [9]]
    assert read(2, 100, 10_000) == [[4], [7, 8], [9]]


def test_stored_batches_are_found_by_an_id_in_them_or_before_them() -> None:
    queue = made()
    assert list(queue.stored_from(1)) == []
    queue.insert(SequenceSet([(2, 4)]), Batch.pack([b"2", b"3", b"4"]))
    queue.insert(SequenceSet([(8, 9)]), Batch.pack([b"8", b"9"]))
    queue.remove(SequenceSet([3]))
    found = [[list(ids) for ids, _ in queue.stored_from(id)] for id in (0, 2, 4, 5, 9, 10)]
    both = [[2, 3, 4], [8, 9]]
    assert found == [both, both, both, both[1:], both[1:], []]
    assert [list(batch) for _, batch in queue.stored_from(4)] == [[b"2", b"3", b"4"], [b"8", b"9"]]


def test_the_first_messages_at_some_places_are_of_one_batch_and_ascend() -> None:
    """An updated message stands at its old place, alone: its id is above those of the messages around it."""
    queue = made()
    queue.append(batch("a", "b", "c", "d"))
    queue.append(batch("e"))

    def first(*places: int) -> tuple[list[int], list[str]] | None:
        found = queue.first_at(SequenceSet(places))
        return None if found is None else (list(found[0]), [data.decode() for data in found[1]])

    assert first(1, 2, 5) == ([1, 2], ["a", "b"])
    assert first(9) is None
    queue.append(Batch.pack([b"C"], order=[3]))
    queue.remove(SequenceSet([3]))
    assert first(1, 3, 4) == ([1], ["a"]), "up to the updated one"
    assert first(3, 4) == ([6], ["C"])
    assert first(3) == ([6], ["C"])
    assert first(4, 5) == ([4], ["d"])
    assert first(6) is None, "the id of an updated message is not its place"


def test_the_size_of_some_messages_is_that_of_their_data() -> None:
    queue = made()
    queue.append(Batch.pack([b"1", b"22", b"333"], props=[b"props"] * 3))
    queue.append(batch("4444"))
    assert queue.data_nbytes_of(SequenceSet()) == 0
    assert queue.data_nbytes_of(SequenceSet([1, 3])) == 4
    assert queue.data_nbytes_of(SequenceSet([2, 3, 4])) == 9
    queue.remove(SequenceSet([2]))
    assert queue.data_nbytes_of(queue.held) == 8


@pytest.mark.parametrize("seed", range(20))
def test_one_message_is_read_as_the_first_of_many(seed: int) -> None:
    """Also with holes, batches of one, updated messages, and from a place behind all of them."""
    draw, queue = random.Random(seed), made()
    for _ in range(draw.randrange(6)):
        queue.append(Batch.pack([b"%d" % draw.randrange(100) for _ in range(draw.randint(1, 5))]))
    queue.remove(SequenceSet(id for id in range(1, queue.next) if draw.random() < 0.4))
    for place in (*range(queue.next + 1), MESSAGE_ID_MAX, MESSAGE_ID_MAX + 1):
        found = queue.read_one(place)
        assert found == next(queue.read(place, messages_max=1, bytes_max=1), None)
        if found is not None:
            found[0].add(99)  # These ids are the caller's.
    queue.check()
