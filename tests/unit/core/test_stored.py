"""One batch of a queue: single messages, parts and their sizes, with ids that have holes or not."""

from __future__ import annotations

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.stored import Outline, Stored

BATCH = Batch.pack([b"a", b"bb", b"ccc", b"dddd"])


@pytest.mark.parametrize("ids", [[3, 4, 5, 6], [3, 5, 8, 9]], ids=["one run", "holes"])
def test_each_message_is_found_by_its_id(ids: list[int]) -> None:
    stored = Stored(SequenceSet(ids), BATCH)
    assert [list(stored.one(id)) for id in ids] == [[b"a"], [b"bb"], [b"ccc"], [b"dddd"]]
    assert (stored.last, stored.live) == (ids[-1], 4)


def test_the_only_message_is_the_batch_itself() -> None:
    batch = Batch.pack([b"alone"])
    assert Stored(SequenceSet([7]), batch).one(7) is batch


def test_a_part_is_copied_and_all_of_them_are_not() -> None:
    stored = Stored(SequenceSet([3, 5, 8, 9]), BATCH)
    ids, batch = stored.pick(SequenceSet([5, 9]))
    assert (list(ids), list(batch)) == ([5, 9], [b"bb", b"dddd"])
    assert stored.pick(SequenceSet([3, 5, 8, 9]))[1] is BATCH


def test_sizes_are_those_of_the_data() -> None:
    stored = Stored(SequenceSet([3, 5, 8, 9]), BATCH)
    assert stored.data_nbytes_of(SequenceSet([5, 9])) == 6
    assert stored.data_nbytes_of(stored.ids) == BATCH.data_nbytes == 10


def test_an_outline_knows_what_can_be_asked_without_the_bytes() -> None:
    same = Batch.pack([b"same", b"size", b"each"], [b"a", b"bb", b""])
    for batch in (BATCH, same, Batch.pack([b"alone"], [b"props"], [7])):
        outline = Outline(batch)
        sizes = [outline.size(index) for index in range(len(outline))]
        assert sizes == [batch.size(index) for index in range(len(batch))]
        assert (outline.nbytes, outline.data_nbytes, outline.columns) == (
            batch.nbytes,
            batch.data_nbytes,
            batch.columns,
        )


def test_a_batch_that_only_the_store_has_is_not_used() -> None:
    stored = Stored(SequenceSet([3, 5, 8, 9]), BATCH)
    assert not stored.absent and stored.body is BATCH
    stored.batch = Outline(BATCH)
    assert stored.absent and stored.data_nbytes_of(SequenceSet([5, 9])) == 6
    with pytest.raises(AssertionError, match="is read before it is used"):
        stored.pick(SequenceSet([5]))
