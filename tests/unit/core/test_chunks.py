"""Messages and ids in pieces that fit a frame: nothing is lost or sent twice, and no piece is too large."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.chunks import (
    plan_chunks,
    publish_bytes_max,
    split_batch,
    split_count,
    split_for_copy,
    split_ids,
    stored_pieces,
)
from qpidha.core.copies import copied
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import ArgumentError
from qpidha.types import QueueSpec


def queue(*batches: list[bytes], lineage: tuple[tuple[int, int], ...] = ((1, 1),)) -> ReplicatedQueue:
    made = ReplicatedQueue(UUID(int=1), QueueSpec(name="q"), lineage, 1)
    for messages in batches:
        made.append(Batch.pack(messages))
    return made


def test_an_empty_set_has_no_pieces() -> None:
    assert list(split_ids(SequenceSet(), 3)) == []


@pytest.mark.parametrize("runs_max", [1, 2, 3, 100])
def test_ids_are_split_by_runs_and_add_up(runs_max: int) -> None:
    ids = SequenceSet([1, 3, 4, 5, 9, 12, 20, 21])
    parts = list(split_ids(ids, runs_max))
    assert all(part.run_count <= runs_max for part in parts)
    assert [id for part in parts for id in part] == list(ids)
    assert len(parts) == split_count(ids, runs_max)


def test_a_stored_batch_is_sent_unchanged() -> None:
    made = queue([b"x" * 10] * 3, [b"y" * 10] * 3)
    chunks = list(plan_chunks(made, made.held, 60, 10))
    assert [list(ids) for _, ids, _ in chunks] == [[1, 2, 3], [4, 5, 6]]
    stored = [batch for _, batch in made.select(made.held)]
    assert all(sent is kept for (_, _, sent), kept in zip(chunks, stored, strict=True))


def test_small_batches_share_a_chunk_until_it_is_full() -> None:
    made = queue([b"x"], [b"y"], [b"z"])
    whole = list(plan_chunks(made, made.held, 10_000, 10))
    assert len(whole) == 1
    assert [whole[0][2].data(i) for i in range(3)] == [b"x", b"y", b"z"]
    assert len(list(plan_chunks(made, made.held, 1, 10))) == 3


def test_of_nothing_there_is_no_chunk() -> None:
    assert list(plan_chunks(queue([b"x"]), SequenceSet(), 60, 10)) == []


def test_a_chunk_holds_messages_of_one_generation() -> None:
    made = queue([b"a", b"b"], [b"c"], lineage=((1, 1), (2, 3)))
    assert [(generation, list(ids)) for generation, ids, _ in plan_chunks(made, made.held, 10_000, 10)] == [
        (1, [1, 2]),
        (2, [3]),
    ]


def test_a_batch_with_more_holes_than_a_frame_can_name_is_cut() -> None:
    made = queue([b"%d" % n for n in range(10)])
    made.remove(SequenceSet([2, 4, 6, 8]))
    cut = list(stored_pieces(made, made.held, 2))
    assert all(ids.run_count <= 2 and len(ids) == len(batch) for ids, batch in cut)
    said = {id: batch.data(i) for ids, batch in cut for i, id in enumerate(ids)}
    assert said == {id: b"%d" % (id - 1) for id in made.held}


def test_a_large_batch_is_published_in_pieces_that_add_up() -> None:
    batch = Batch.pack([bytes(100)] * 9)
    pieces = list(split_batch(batch, 300))
    assert all(piece.nbytes <= 300 for piece in pieces) and sum(map(len, pieces)) == 9
    assert list(split_batch(batch, batch.nbytes)) == [batch]
    with pytest.raises(ArgumentError, match="at most 50 bytes"):
        list(split_batch(batch, 50))


def test_a_published_batch_has_at_most_half_a_frame() -> None:
    assert publish_bytes_max(Settings()) == Settings().frame_bytes_max // 2


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("size", [0, 1, 100])
def test_copies_are_stored_in_batches_that_a_plan_can_carry(size: int, in_place: bool) -> None:
    """A copy has an origin, and maybe an order: copies of a batch that fits a frame may need several (C4)."""
    source = queue([bytes(size)] * 1000, [bytes(size)] * 3, [bytes(9_000)])
    source.remove(SequenceSet([5, 7]))
    ids = source.held - SequenceSet([1])
    parts = list(split_for_copy(source, ids, 10_000, 2))
    assert [id for part in parts for id in part] == list(ids)
    assert all(part.run_count <= 2 for part in parts)
    copies = [copied(source, part, replacement=True, in_place=in_place) for part in parts]
    assert max(batch.nbytes for batch in copies) <= 10_000
    assert not [part for part in parts if part.first <= 1000 < part.last], "no stored batches are joined"


def test_new_props_count_for_the_batch_that_they_make() -> None:
    source = queue([b"data"] * 100)
    parts = list(split_for_copy(source, source.held, 10_000, 64, props_bytes=1000))
    props = [[bytes(1000)] * len(part) for part in parts]
    copies = [
        copied(source, part, replacement=True, in_place=True, props=new)
        for part, new in zip(parts, props, strict=True)
    ]
    assert max(batch.nbytes for batch in copies) <= 10_000
    assert sum(map(len, parts)) == 100 and len(parts) < 20
