"""A queue with an index: the index is told of every message that comes and goes, and of nothing else."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpidha.core.indexed import IndexedQueue
from qpidha.errors import InvariantError, ensure
from qpidha.seq import SequenceSet
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch


class Sizes:
    """The size of the message at each place, and their sum as the queue tells it."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.nbytes = 0

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        for index, id in enumerate(ids):
            self.sizes[batch.order(index) or id] = batch.size(index)
        self.nbytes += batch.data_nbytes

    def removed(self, places: SequenceSet, data_nbytes: int) -> None:
        assert sum(self.sizes.pop(place) for place in places) <= data_nbytes
        self.nbytes -= data_nbytes

    def check(self, ids: SequenceSet, batch: Batch) -> None:
        for index, id in enumerate(ids):
            ensure(self.sizes.get(id) == batch.size(index), "the index differs from what is held")


def queue() -> tuple[IndexedQueue, Sizes]:
    index = Sizes()
    return IndexedQueue(UUID(int=1), QueueSpec(name="q"), ((1, 1),), 1, index), index


def test_the_index_has_what_the_queue_holds() -> None:
    made, index = queue()
    made.append(Batch.pack([b"a", b"bb", b"ccc"]))
    assert made.remove(SequenceSet([2, 9])) == SequenceSet([2])
    assert (index.sizes, index.nbytes) == ({1: 1, 3: 3}, 4)
    made.check()


def test_a_replaced_message_leaves_no_empty_place() -> None:
    """The one that replaces it is there, twice over."""
    made, index = queue()
    made.append(Batch.pack([b"a", b"bb"]))
    for id in (3, 4):
        made.insert(SequenceSet([id]), Batch.pack([b"a"], order=[1]))
        made.remove(SequenceSet([1, id - 1] if id > 3 else [1]))
    assert (set(index.sizes), index.nbytes) == ({1, 2}, 3)
    made.remove(SequenceSet([4]))
    assert set(index.sizes) == {2}


def test_what_is_gone_already_is_not_told() -> None:
    made, index = queue()
    made.append(Batch.pack([b"a"]))
    made.remove(SequenceSet([1]))
    made.remove(SequenceSet([1]))  # `Sizes` raises if it is told twice.
    assert index.sizes == {}


def test_a_message_that_the_index_misses_breaks_an_invariant() -> None:
    made, index = queue()
    made.append(Batch.pack([b"a"]))
    index.sizes.clear()
    with pytest.raises(InvariantError, match="differs"):
        made.check()


STEPS = st.lists(
    st.one_of(
        st.lists(st.integers(0, 5000), min_size=1, max_size=6),
        st.sets(st.integers(1, 40), min_size=1, max_size=12),
    ),
    max_size=30,
)


@given(STEPS)
def test_sizes_agree_however_messages_come_and_go(steps: list[list[int] | set[int]]) -> None:
    made, index = queue()
    for step in steps:
        if isinstance(step, list):
            made.append(Batch.pack([b"x" * size for size in step]))
        else:
            made.remove(SequenceSet(step))
    made.check()
    assert set(index.sizes) == set(made.held)
    assert index.nbytes == made.data_nbytes_of(made.held)
