"""The index of rows: slots, rows interleaved with others, ids that are inserted again."""

from __future__ import annotations

import copy
from uuid import UUID

import pytest

from qpidha import ordered
from qpidha.errors import InvariantError
from qpidha.seq import SequenceSet
from qpidha.stores.queue import Queue
from qpidha.stores.row import PackedRows, Row
from qpidha.stores.rows import NO_ROWS, RowIndex
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch


def ids(*items: int | tuple[int, int]) -> SequenceSet:
    return SequenceSet(items)


def index_of(*sets: SequenceSet) -> RowIndex:
    index = RowIndex()
    for key, of in enumerate(sets):
        index.add(Row(key, of, None))
        index.check()
    return index


def lives(index: RowIndex) -> dict[int, SequenceSet]:
    return {row.key: row.live for row in index}


def test_taking_whole_rows_leaves_nothing() -> None:
    index = index_of(ids((1, 10)), ids((11, 20)))
    (row,) = index.take(ids((1, 10)))
    assert (row.key, len(row.live), index.held) == (0, 0, 10)
    assert lives(index) == {1: ids((11, 20))}
    index.take(ids((1, 99)))
    index.check()
    assert not lives(index) and index.held == 0


def test_taking_parts_of_several_rows() -> None:
    index = index_of(ids((1, 10)), ids((11, 20)), ids((31, 40)))
    touched = index.take(ids(1, (9, 12), 25, (35, 50)))
    index.check()
    assert [row.key for row in touched] == [0, 1, 2]
    assert lives(index) == {0: ids((2, 8)), 1: ids((13, 20)), 2: ids((31, 34))}


def test_a_row_is_found_by_each_of_its_live_ids() -> None:
    index = index_of(ids((1, 4), (8, 10)), ids(6, 12))
    index.take(ids(2))
    found = {id: row.key for id in range(14) if (row := index.find(id)) is not None}
    assert found == {1: 0, 3: 0, 4: 0, 6: 1, 8: 0, 9: 0, 10: 0, 12: 1}


def test_taking_absent_ids_changes_nothing() -> None:
    index = index_of(ids((5, 10)))
    assert index.take(ids((1, 4), (11, 20))) == []
    index.take(ids(7))
    assert index.take(ids(7)) == []


def test_a_row_interleaved_with_others_stays_one_row() -> None:
    index = index_of(ids(1, 3, (20, 29)), ids((40, 49)), ids(2, 4, (30, 35), 60))
    assert len(lives(index)) == 3
    index.take(ids((1, 3)))
    index.check()
    assert lives(index) == {0: ids((20, 29)), 1: ids((40, 49)), 2: ids(4, (30, 35), 60)}
    index.take(ids(4, (30, 60)))
    index.check()
    assert lives(index) == {0: ids((20, 29))}


def test_removed_ids_are_inserted_again_in_another_row() -> None:
    """A rewind removes ids 6..10; ids 6..12 of the new primary replace them."""
    index = index_of(ids((1, 10)))
    index.take(ids((6, 10)))
    index.add(Row(9, ids((6, 12)), None))
    index.check()
    index.take(ids((1, 8)))
    index.check()
    assert lives(index) == {9: ids((9, 12))}
    index.take(ids((9, 10)))
    index.check()
    index.take(ids((11, 12)))
    index.check()
    assert not lives(index)


def test_an_id_cannot_be_live_in_two_rows() -> None:
    index = index_of(ids((1, 10)))
    with pytest.raises(InvariantError):
        index.add(Row(1, ids((10, 12)), None))


def test_the_index_does_not_change_the_sets_it_is_given() -> None:
    mine = ids((1, 10))
    index = index_of(mine)
    index.take(ids(5))
    assert mine == ids((1, 10))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered, "SMALL_MAX", 4)
    monkeypatch.setattr(ordered, "BLOCK_MAX", 4)


def stretch(count: int) -> RowIndex:
    """So many rows of ten messages, each with its key as digest, packed."""
    index = RowIndex()
    for key in range(count):
        row = Row(key, ids((10 * key + 1, 10 * key + 10)), None)
        row.digest = 1000 + key
        index.add(row)
        index.pack()
    return index


def packed_blocks(index: RowIndex) -> int:
    assert index._slots._large is not None
    return sum(isinstance(values, PackedRows) for values in index._slots._large.values)


@pytest.mark.usefixtures("small_blocks")
def test_long_stretches_of_rows_are_packed_and_lose_nothing() -> None:
    index = stretch(20)
    assert packed_blocks(index) >= 3
    index.check()
    assert {row.key: (row.digest, row.live) for row in index} == {
        key: (1000 + key, ids((10 * key + 1, 10 * key + 10))) for key in range(20)
    }
    before = packed_blocks(index)
    for id in (0, 1, 15, 110, 200, 201):
        row = index.find(id)
        assert (None if row is None else row.key) == ((id - 1) // 10 if 0 < id < 201 else None)
    assert packed_blocks(index) == before, "to find a row unpacks nothing"
    touched = index.take(ids((5, 12)))
    assert {row.key: (row.digest, row.live) for row in touched} == {
        0: (1000, ids((1, 4))),
        1: (1001, ids((13, 20))),
    }
    assert packed_blocks(index) == before - 1, "only one block was needed"
    index.check()
    assert index.held == 192
    assert [row.key for row in index.take(ids((1, 200)))] == list(range(20))
    assert index.held == 0 and list(index) == []


@pytest.mark.usefixtures("small_blocks")
def test_rows_that_are_not_whole_or_not_on_a_disk_are_not_packed() -> None:
    index = RowIndex()
    for key in range(30):
        given = ids((10 * key + 1, 10 * key + 3)) if key != 7 else ids(71, 73)
        index.add(Row(key, given, Batch.pack([b"x"] * 3) if 11 < key < 16 else None))
    index.take(ids(2))
    index.pack()
    index.check()
    kept = [values for values in index._slots._large.values if isinstance(values, list)]  # type: ignore[union-attr]
    assert {0, 7, 12, 15} <= {slot.rows[0].key for values in kept for slot in values} < set(range(30))


def test_a_queue_without_rows_shares_an_index_that_stays_empty() -> None:
    assert (NO_ROWS.held, list(NO_ROWS), NO_ROWS.take(ids(1))) == (0, [], [])
    assert copy.deepcopy(NO_ROWS) is NO_ROWS
    with pytest.raises(TypeError, match="shared"):
        NO_ROWS.add(Row(1, ids(1), None))
    queue = Queue(1, UUID(int=1), QueueSpec(name="q"), (), 2)
    assert queue.rows is NO_ROWS
    queue.add(Row(1, ids(1), None))
    assert (queue.rows.held, NO_ROWS.held) == (1, 0)
