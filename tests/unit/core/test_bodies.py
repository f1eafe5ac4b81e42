"""Message bodies beyond the limit are dropped once they are durable, and read again when something needs them."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from qpidha.core.bodies import READ_AHEAD_BYTES, Bodies
from qpidha.core.indexed import IndexedQueue
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import Inserted
from qpidha.core.stored import INDEX_BYTES
from qpidha.errors import CallerError, StoreFailed
from qpidha.seq import SequenceSet
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch
from tests.support.cores import Node

QUEUE, SPEC = UUID(int=1), QueueSpec(name="q")


class Room:
    """A queue with a limit, and a store that has everything that the queue ever held."""

    def __init__(self, bytes_max: int) -> None:
        self.store: dict[int, tuple[bytes, int, tuple[bytes, int, int] | None]] = {}
        self.reads: list[list[int]] = []
        self.bodies = Bodies(bytes_max, self.read)
        self.bodies.loaded()
        self.bodies.ahead_bytes = READ_AHEAD_BYTES
        self.queue = ReplicatedQueue(QUEUE, SPEC, ((1, 1),), 1)
        self.queue.bodies = self.bodies

    def read(self, queue: UUID, ids: SequenceSet) -> Batch:
        self.reads.append(list(ids))
        found = [self.store[id] for id in ids]
        return Batch.pack(
            [data for data, _, _ in found],
            order=[order for _, order, _ in found] if any(order for _, order, _ in found) else None,
            origins=[origin for _, _, origin in found] if any(origin for _, _, origin in found) else None,
        )

    def keep(self, ids: SequenceSet, batch: Batch) -> None:
        for index, id in enumerate(ids):
            self.store[id] = batch.data(index), batch.order(index), batch.origin(index)

    def publish(self, *data: bytes) -> SequenceSet:
        batch = Batch.pack(data)
        ids = self.queue.append(batch)
        self.keep(ids, batch)
        return ids

    def perform(self) -> None:
        self.bodies.taken()
        self.bodies.performed()

    def check(self) -> None:
        self.queue.check()
        items = list(self.queue._stored.values())
        assert self.bodies.nbytes == sum(item.batch.nbytes for item in items if not item.absent)
        assert self.queue.absent_bytes == sum(item.batch.nbytes for item in items if item.absent)
        assert self.queue.bytes == self.bodies.nbytes + self.queue.absent_bytes

    def content(self) -> dict[int, bytes]:
        pieces = self.queue.select(self.queue.held)
        return {id: data for ids, batch in pieces for id, data in zip(ids, batch, strict=True)}

    @property
    def absent(self) -> list[int]:
        return [item.ids.first for item in self.queue._stored.values() if item.absent]


def test_only_what_is_durable_is_dropped_the_oldest_first() -> None:
    room = Room(25_000)
    for _ in range(4):
        room.publish(bytes(9988))
    assert room.absent == [] and room.bodies.nbytes == 40_000, "nothing of it is durable"
    room.bodies.taken()
    room.publish(bytes(9988))
    room.bodies.performed()
    assert room.absent == [1, 2, 3] and room.bodies.nbytes == 20_000
    room.publish(bytes(9988))
    assert room.absent == [1, 2, 3, 4], "what is durable makes room for what is not"
    room.perform()
    assert room.absent == [1, 2, 3, 4]
    room.check()
    assert room.content() == {id: bytes(9988) for id in range(1, 7)}
    room.check()


def test_what_came_after_a_ready_was_taken_is_not_durable_with_it() -> None:
    room = Room(0)
    room.publish(b"one")
    room.bodies.taken()
    room.publish(b"two")
    room.bodies.performed()
    assert room.absent == [1]


def test_what_a_flip_inserts_waits_until_all_of_it_is_persisted() -> None:
    room = Room(0)
    room.bodies.hold()
    room.publish(b"one")
    room.perform()
    assert room.absent == []
    room.queue.remove(SequenceSet([1]))
    room.publish(b"two")
    room.check()
    room.bodies.release()
    assert room.absent == []
    room.perform()
    assert room.absent == [2]
    room.check()


def test_small_batches_are_read_together_and_only_what_is_left_of_them() -> None:
    room = Room(0)
    for id in range(1, 101):
        room.publish(b"%d" % id)
    room.perform()
    assert len(room.absent) == 100
    room.queue.remove(SequenceSet([2, 99, 100]))
    room.check()
    found = list(room.queue.read(1, messages_max=1000, bytes_max=1 << 20))
    assert room.reads == [[1, *range(3, 99)]]
    assert [len(ids) for ids, _ in found] == [97]
    room.check()
    large = Room(0)
    for _ in range(3):
        large.publish(bytes(READ_AHEAD_BYTES // 2))
    large.perform()
    assert large.content().keys() == {1, 2, 3} and large.reads == [[1], [2], [3]]


def test_no_more_is_read_ahead_than_a_quarter_of_the_limit() -> None:
    assert [Bodies(n, Room(0).read).ahead_bytes for n in (0, 400, 1 << 30)] == [0, 100, READ_AHEAD_BYTES]
    room = Room(0)
    room.bodies.ahead_bytes = 200
    for _ in range(3):
        room.publish(bytes(88))
    room.perform()
    assert room.content().keys() == {1, 2, 3} and room.reads == [[1, 2], [3]]


def test_what_was_read_stays_until_there_is_no_room() -> None:
    room = Room(15_000)
    for _ in range(3):
        room.publish(bytes(9988))
    room.perform()
    assert room.absent == [1, 2]
    room.queue.data_nbytes_of(SequenceSet([1]))
    assert not room.reads, "sizes are known"
    ((_, one),) = room.queue.select(SequenceSet([1]))
    assert one.data(0) == bytes(9988) and room.reads == [[1, 2]]
    list(room.queue.select(SequenceSet([2])))
    assert len(room.reads) == 1
    room.check()


def test_what_is_known_of_absent_batches_counts_and_gets_half_of_the_limit_at_most() -> None:
    room = Room(10_000)
    for _ in range(4):
        room.publish(bytes(2488))
    room.perform()
    assert room.absent == [], "it just fits"
    room.publish(bytes(2488))
    room.perform()
    assert room.absent == [1, 2], "what is known of the first one leaves too little room for four"
    assert room.bodies.index_nbytes == 2 * INDEX_BYTES
    for _ in range(100):
        room.publish(bytes(88))
    room.perform()
    assert room.bodies.index_nbytes > 5000 >= room.bodies.nbytes > 4500
    room.queue.remove(SequenceSet([(1, 200)]))
    assert room.bodies.index_nbytes == room.bodies.nbytes == 0


def test_a_queue_that_ends_takes_its_bodies_with_it() -> None:
    room = Room(150)
    for _ in range(3):
        room.publish(bytes(88))
    room.perform()
    room.queue.end()
    assert room.bodies.nbytes == 0 and room.queue.absent_bytes == 0
    room.bodies.performed()
    plain = ReplicatedQueue(QUEUE, SPEC, ((1, 1),), 1)
    plain.append(Batch.pack([b"one"]))
    plain.end()


def test_ids_that_are_given_out_again_do_not_read_as_the_rewound_messages() -> None:
    room = Room(0)
    room.publish(b"one", b"two", b"three", b"four")
    room.perform()
    room.queue.remove(SequenceSet([(2, 3)]))
    new = Batch.pack([b"new two"])
    room.queue.insert(SequenceSet([2]), new)
    room.keep(SequenceSet([2]), new)
    room.check()
    assert room.content() == {1: b"one", 2: b"new two", 4: b"four"}
    room.perform()
    assert room.content() == {1: b"one", 2: b"new two", 4: b"four"}
    room.check()


def test_updated_messages_and_those_with_origins_are_read_where_they_stand() -> None:
    room = Room(0)
    room.publish(b"one", b"two")
    batch = Batch.pack([b"one again"], order=[1], origins=[(QUEUE.bytes, 1, 1)])
    ids = room.queue.append(batch)
    room.keep(ids, batch)
    room.queue.remove(SequenceSet([1]))
    room.perform()
    room.check()
    seen = [bytes(data) for _, piece in room.queue.read(0, messages_max=9, bytes_max=999) for data in piece]
    assert seen == [b"one again", b"two"]
    room.publish(bytes(READ_AHEAD_BYTES))
    room.perform()
    room.reads.clear()
    room.queue.remove(SequenceSet([2]))
    origins = [isinstance(batch, Batch) for _, batch in room.queue.stored_from(0)]
    assert origins == [True, False] and room.reads == [[3]], "only those with origins are read"


def test_a_read_that_fails_is_remembered() -> None:
    room = Room(0)
    room.publish(b"one")
    room.publish(bytes(READ_AHEAD_BYTES))
    room.perform()
    del room.store[1]
    with pytest.raises(StoreFailed, match="the store raised KeyError"):
        room.content()
    assert isinstance(room.bodies.failed, StoreFailed)
    with pytest.raises(StoreFailed, match="an earlier read failed"):
        list(room.queue.select(SequenceSet([2])))
    room.check()


def test_a_store_that_gives_too_few_has_failed() -> None:
    room = Room(0)
    room.publish(b"one", b"two")
    room.perform()
    room.bodies._read = lambda queue, ids: Batch.pack([b"one"])
    with pytest.raises(StoreFailed, match="gave 1 messages back instead of 2"):
        room.content()
    failed = room.bodies.failed
    other = Room(0)
    other.publish(b"one")
    other.perform()

    def fails(queue: UUID, ids: SequenceSet) -> Batch:
        raise StoreFailed("the disk")

    other.bodies._read = fails
    with pytest.raises(StoreFailed, match="the disk"):
        other.content()
    assert isinstance(failed, StoreFailed) and str(other.bodies.failed) == "the disk"


class Sizes:
    """An index that counts the bytes of its messages."""

    def __init__(self) -> None:
        self.nbytes = 0

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        self.nbytes += batch.data_nbytes

    def removed(self, places: SequenceSet, data_nbytes: int) -> None:
        self.nbytes -= data_nbytes

    def check(self, ids: SequenceSet, batch: Batch) -> None:
        """Nothing to compare."""


def test_a_notice_without_messages_is_read_again() -> None:
    replica, room = Node().replica, Room(0)
    ids = room.publish(b"one", b"two")
    batch = Batch.pack([b"here"])
    assert replica.read_again(Inserted(QUEUE, SequenceSet([1]), batch)) is batch
    with pytest.raises(CallerError, match="has all in memory"):
        replica.read_again(Inserted(QUEUE, ids, None))
    replica.state.bodies = room.bodies
    assert list(replica.read_again(Inserted(QUEUE, ids, None))) == [b"one", b"two"]


def test_sizes_are_known_without_reading() -> None:
    room, index = Room(0), Sizes()
    room.queue = IndexedQueue(QUEUE, SPEC, ((1, 1),), 1, index)
    room.queue.bodies = room.bodies
    room.publish(*[bytes(n) for n in range(100)])
    room.publish(bytes(7))
    room.perform()
    room.queue.remove(SequenceSet([(3, 5), 9, 101]))
    assert index.nbytes == sum(range(100)) - 2 - 3 - 4 - 8 and not room.reads
    room.queue.remove(SequenceSet([(1, 100)]))
    assert index.nbytes == 0 and not room.reads
    room.check()


@pytest.mark.parametrize("seed", range(30))
def test_any_changes_leave_what_a_queue_without_a_limit_has(seed: int) -> None:
    rng = random.Random(seed)
    room = Room(rng.choice([0, 300, 2000]))
    plain = ReplicatedQueue(QUEUE, SPEC, ((1, 1),), 1)
    for step in range(200):
        match rng.randrange(6):
            case 0 | 1:
                data = [b"%d" % step + bytes(rng.choice([1, 50, 900])) for _ in range(rng.randint(1, 8))]
                plain.append(Batch.pack(data))
                room.publish(*data)
            case 2 if plain.held:
                first = rng.randint(plain.held.first, plain.held.last)
                gone = SequenceSet([(first, first + rng.randrange(12))]) & plain.held
                plain.remove(gone)
                room.queue.remove(gone)
            case 3 if plain.next > 6 and not rng.randrange(4):  # A rewind.
                next = plain.next - rng.randint(1, 5)
                doomed = SequenceSet([(next, plain.next)]) & plain.held
                for queue in (plain, room.queue):
                    queue.remove(doomed)
                    queue.next = next
                    queue.fills += 1
            case 4:
                room.perform()
            case 5 if plain.held:
                place = rng.randint(plain.held.first, plain.held.last)
                limits = {"messages_max": rng.randint(1, 40), "bytes_max": rng.randint(1, 5000)}
                read = [
                    (id, d)
                    for ids, b in room.queue.read(place, **limits)
                    for id, d in zip(ids, b, strict=True)
                ]
                every = [
                    (id, d)
                    for ids, b in plain.select(plain.held)
                    for id, d in zip(ids, b, strict=True)
                    if id >= place
                ]
                assert read == every[: len(read)] and read
        room.check()
        plain.check()
        assert room.queue.held == plain.held
    expected = {
        id: data for ids, batch in plain.select(plain.held) for id, data in zip(ids, batch, strict=True)
    }
    assert room.content() == expected
