"""The messages of a store while it is read: small batches are joined, and images are made when they are asked for."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from qpidha.journal import Insert, PutQueue, PutStatus, QueueImage, Remove, Skip
from qpidha.seq import SequenceSet
from qpidha.stores import SqliteStore
from qpidha.stores.pieces import JOINED, JOINED_BYTES_MAX, Pieces, QueueImages, Room
from qpidha.stores.queue import Queue
from qpidha.stores.row import Row
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch

QUEUE, OTHER = UUID(int=1), UUID(int=2)
SPEC = QueueSpec(name="orders")
STATUS = PutStatus(UUID(int=9), 1, primary=False)


def message(id: int, size: int = 0) -> Batch:
    return Batch.pack([b"%d" % id + b"x" * size])


def pieces_of(*rows: tuple[SequenceSet, Batch]) -> list[tuple[list[int], list[bytes]]]:
    pieces = Pieces()
    for n, (ids, batch) in enumerate(rows):
        pieces.add(Row(n, ids, batch), batch)
    return [(list(ids), list(batch)) for ids, batch in pieces.all() if batch is not None]


def one(id: int, size: int = 0) -> tuple[SequenceSet, Batch]:
    return SequenceSet([id]), message(id, size)


def test_small_batches_that_come_one_after_the_other_are_one_piece() -> None:
    found = pieces_of(*[one(id) for id in range(1, 2 * JOINED + 3)])
    assert [len(ids) for ids, _ in found] == [JOINED, JOINED, 2]
    assert all(b"%d" % id == data for ids, batch in found for id, data in zip(ids, batch, strict=True))


def test_a_large_batch_is_a_piece_and_so_are_those_before_and_after_it() -> None:
    large = JOINED_BYTES_MAX
    found = pieces_of(one(1), one(2), one(3, large), one(4), one(5, large), one(6, large))
    assert [ids for ids, _ in found] == [[1, 2], [3], [4], [5], [6]]


def test_ids_that_do_not_ascend_begin_another_piece_and_pieces_are_sorted() -> None:
    holes = SequenceSet([(11, 12), 20]), Batch.pack([b"11", b"12", b"20"])
    found = pieces_of(one(5), holes, one(15), one(30), one(1))
    assert [ids for ids, _ in found] == [[1], [5, 11, 12, 20], [15, 30]]
    assert found[1][1] == [b"5", b"11", b"12", b"20"]


def test_what_there_is_no_room_for_is_read_whenever_it_is_asked_for() -> None:
    large = JOINED_BYTES_MAX
    pieces = Pieces(Room(3 * large))
    for n, (ids, batch) in enumerate([one(1, large), one(2, 2 * large), one(3), one(4, large)]):
        pieces.add(Row(n, ids, batch), batch)
    kept = [None if batch is None else len(batch) for _, batch in pieces.all()]
    assert kept == [1, None, None, None], "what comes later in a queue is not kept instead"
    asked: list[list[int]] = []

    def read(queue: UUID, ids: SequenceSet) -> Batch:
        asked.append(list(ids))
        return message(ids.first)

    (image,) = QueueImages([Queue(3, QUEUE, SPEC, ((1, 1),), 5)], {3: pieces}, read)
    assert [list(ids) for ids, _ in image.held] == [[1], [2], [3], [4]] and asked == [[2], [3], [4]]
    assert image.held[1] == image.held[1:3][0] == (SequenceSet([2]), message(2))
    assert asked == [[2], [3], [4], [2], [2], [3]]
    assert image.held != 5 and len(image.held) == 4


def images() -> tuple[QueueImages, Queue]:
    queue, pieces = Queue(3, QUEUE, SPEC, ((1, 1),), 2), Pieces()
    pieces.add(Row(1, *one(1)), message(1))
    return QueueImages([queue, Queue(4, OTHER, SPEC, (), 1)], {3: pieces}), queue


@pytest.mark.parametrize("settled", [False, True])
def test_images_are_a_sequence_of_values(settled: bool) -> None:
    found, queue = images()
    values = [
        QueueImage(QUEUE, SPEC, ((1, 1),), 2, [(SequenceSet([1]), message(1))]),
        QueueImage(OTHER, SPEC, (), 1, []),
    ]
    if settled:
        found.settle()
        queue.next = 9
        found.settle()
    assert list(found) == values and list(found) == values, "any number of times"
    assert (found[0], found[-1], found[:1], len(found)) == (values[0], values[1], values[:1], 2)
    assert found == values and found != values[:1] and found != 5
    with pytest.raises(IndexError):
        found[2]


def test_an_image_that_is_still_in_use_does_not_change_with_the_store(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open("a")
    rows = [Insert(QUEUE, *one(id)) for id in range(1, 4)]
    store.commit([STATUS, PutQueue(QUEUE, SPEC, ((1, 1),), 1), *rows])
    store.close(clean=True)
    image = store.open("a")
    store.commit([Skip(QUEUE, 50), Remove(QUEUE, SequenceSet([(1, 3)]))])
    (queue,) = image.queues
    assert queue.next == 4 and [list(ids) for ids, _ in queue.held] == [[1, 2, 3]]
    store.commit([Skip(QUEUE, 60)])
    store.close(clean=True)
