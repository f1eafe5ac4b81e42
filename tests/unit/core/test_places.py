"""Updated messages stand at their old places: the order of a queue is (place, id), however it is read (U1, S4)."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.copies import copied
from qpidha.core.places import Places, ascending, in_order
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import InvariantError
from qpidha.types import QueueSpec

ALL = 2**62


def made(count: int) -> ReplicatedQueue:
    """A queue with messages 1 to ``count``; the data of each is its first id."""
    queue = ReplicatedQueue(UUID(int=1), QueueSpec(name="q"), ((1, 1),), 1)
    queue.append(Batch.pack([b"%d" % id for id in range(1, count + 1)]))
    return queue


def update(queue: ReplicatedQueue, *ids: int) -> SequenceSet:
    """As an operation does it: first the copies, then their sources go."""
    batch = copied(queue, SequenceSet(ids), replacement=True, in_place=True, props=[b"p"] * len(ids))
    new = queue.append(batch)
    queue.remove(SequenceSet(ids))
    queue.check()
    return new


def read(queue: ReplicatedQueue, place: int = 0, messages: int = ALL, size: int = ALL) -> list[int]:
    pieces = list(queue.read(place, messages_max=messages, bytes_max=size))
    return [id for ids, _ in pieces for id in ids]


def test_a_queue_without_updates_has_no_places() -> None:
    queue = made(3)
    assert queue.places is None
    queue.append(Batch.pack([b"4"], order=[0]))
    queue.append(Batch.pack([b"5"], order=[5]))
    assert queue.places is None, "an order key that is not below the id is none"
    update(queue, 2)
    assert queue.places is not None
    queue.remove(SequenceSet([6]))
    assert queue.places is None


def test_an_updated_message_is_read_at_its_place() -> None:
    queue = made(5)
    update(queue, 2, 4)
    assert read(queue) == [1, 6, 3, 7, 5]
    update(queue, 6)
    assert read(queue) == [1, 8, 3, 7, 5]
    assert [read(queue, place) for place in (2, 3, 4, 5, 6)] == [[8, 3, 7, 5], [3, 7, 5], [7, 5], [5], []]
    data = [d for _, batch in queue.read(0, messages_max=ALL, bytes_max=ALL) for d in batch]
    assert data == [b"1", b"2", b"3", b"4", b"5"]


def test_limits_hold_among_updated_messages() -> None:
    queue = made(6)
    update(queue, 1, 2, 3, 4)
    assert read(queue, messages=2) == [7, 8]
    assert read(queue, messages=5) == [7, 8, 9, 10, 5]
    assert read(queue, messages=0) == read(queue, size=0) == []
    assert read(queue, size=1) == [7]


def test_a_piece_ends_where_ids_or_places_fall_apart() -> None:
    """In each piece ids and places ascend together, so that who reads can tell them apart."""
    queue = made(4)
    update(queue, 3)
    update(queue, 2)
    pieces = [list(ids) for ids, _ in queue.read(0, messages_max=ALL, bytes_max=ALL)]
    assert pieces == [[1], [6], [5], [4]]
    assert queue.places is not None
    assert queue.places.of_all(SequenceSet([1, 4, 5, 6])) == SequenceSet([1, 2, 3, 4])
    assert queue.places.of_all(untouched := SequenceSet([1, 4])) is untouched
    assert [queue.places.of(id) for id in (1, 5, 6)] == [1, 3, 2]


def test_the_holder_of_a_place_is_the_newest_message_there() -> None:
    queue = made(3)
    update(queue, *update(queue, 2))
    assert queue.places is not None
    assert (queue.places.holder(2), queue.places.holder(1)) == (5, None)
    batch = copied(queue, SequenceSet([5]), replacement=True, in_place=True)
    queue.append(batch)
    assert queue.places.holder(2) == 6, "within an operation, the successor"
    queue.remove(SequenceSet([6]))
    assert queue.places.holder(2) == 5
    queue.check()


def test_messages_of_one_place_come_in_the_order_of_ids() -> None:
    """No primary makes such messages; a store that has them loses none (D8)."""
    queue = made(3)
    queue.append(Batch.pack([b"x", b"y"], order=[2, 2]))
    queue.check()
    assert sorted(read(queue)) == [1, 2, 3, 4, 5] and read(queue)[-1] == 3


def test_sets_in_the_order_of_places() -> None:
    queue = made(4)
    assert in_order(queue.places, SequenceSet()) == []
    assert in_order(queue.places, everything := SequenceSet([1, 2])) == [everything]
    update(queue, 3)
    update(queue, 1)
    assert in_order(queue.places, SequenceSet([2, 4])) == [SequenceSet([2, 4])]
    assert in_order(queue.places, queue.held) == [SequenceSet([6]), SequenceSet([2, 5]), SequenceSet([4])]
    assert ascending(iter([3, 4, 1, 9, 2])) == [SequenceSet(ids) for ids in ([3, 4], [1, 9], [2])]


@pytest.mark.parametrize("seed", range(40))
def test_random_updates_keep_the_order(seed: int) -> None:
    """Compared with a dict from places to ids."""
    draw, queue = random.Random(seed), made(3)
    model = {place: place for place in range(1, 4)}
    for _ in range(30):
        some = sorted(draw.sample(sorted(model.values()), min(len(model), draw.randint(1, 4))))
        match draw.choice("publish update update remove".split()):
            case "publish":
                ids = queue.append(Batch.pack([b"%d" % (queue.next + i) for i in range(draw.randint(1, 4))]))
                model.update({id: id for id in ids})
            case "update" if some:
                places = {id: place for place, id in model.items()}
                model.update(zip((places[id] for id in some), update(queue, *some), strict=True))
            case "remove" if some:
                queue.remove(SequenceSet(some))
                model = {place: id for place, id in model.items() if id not in some}
        queue.check()
        assert read(queue) == [id for _, id in sorted(model.items())]
        first, most = draw.randint(0, queue.next), draw.randint(1, 5)
        expected = [id for place, id in sorted(model.items()) if place >= first]
        found = read(queue, first, most)
        assert found == expected[: len(found)] and (found or not expected)


def test_invariants_are_checked() -> None:
    places = Places()
    places.insert(SequenceSet([5]), Batch.pack([b"x"], order=[2]))
    places.check(SequenceSet([5]))
    with pytest.raises(InvariantError, match="not held"):
        places.check(SequenceSet([4]))
    queue = made(1)
    queue.places = Places()
    with pytest.raises(InvariantError, match="without messages"):
        queue.check()
