"""The index of rows: slots, rows interleaved with others, ids that are inserted again."""

from __future__ import annotations

import pytest

from qpidha.errors import InvariantError
from qpidha.seq import SequenceSet
from qpidha.stores.rows import Row, RowIndex


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
