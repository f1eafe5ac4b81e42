"""What a COPY makes of its sources: the first identity, its place in the order, new props (U1, U4, U6)."""

from __future__ import annotations

from uuid import UUID

from qpidha import Batch, SequenceSet
from qpidha.core.births import born
from qpidha.core.copies import copied, published
from qpidha.core.producers import IN_COMMIT, PUBLISHED, tagged
from qpidha.core.queue import ReplicatedQueue
from qpidha.types import QueueSpec

Q, OTHER = UUID(int=1), UUID(int=2)


def source(*, order: list[int] | None = None) -> ReplicatedQueue:
    """Messages 1 and 2 of generation 1, 3 of generation 2; 3 has an origin."""
    made = ReplicatedQueue(Q, QueueSpec(name="q"), ((1, 1), (2, 3)), 1)
    made.append(Batch.pack([b"1", b"2"], [b"p1", b"p2"], order[:2] if order else None))
    made.append(Batch.pack([b"3"], [b"p3"], order[2:] if order else None, [(OTHER.bytes, 1, 9)]))
    return made


def said(batch: Batch) -> list[tuple[bytes, bytes, int, object]]:
    return [(batch.data(i), batch.props(i), batch.order(i), batch.origin(i)) for i in range(len(batch))]


def test_a_move_carries_the_first_identity() -> None:
    made = copied(source(), SequenceSet([1, 3]), replacement=True, in_place=False)
    assert said(made) == [(b"1", b"p1", 0, (Q.bytes, 1, 1)), (b"3", b"p3", 0, (OTHER.bytes, 1, 9))]


def test_a_move_goes_to_the_end_of_its_queue_whatever_the_order_was() -> None:
    made = copied(source(order=[7, 0, 8]), SequenceSet([1, 3]), replacement=True, in_place=False)
    assert [made.order(i) for i in range(2)] == [0, 0]


def test_an_update_keeps_the_place_in_the_order_and_replaces_the_props() -> None:
    made = copied(source(), SequenceSet([2, 3]), replacement=True, in_place=True, props=[b"new", b""])
    assert said(made) == [(b"2", b"new", 2, (Q.bytes, 1, 2)), (b"3", b"", 3, (OTHER.bytes, 1, 9))]
    again = copied(source(order=[7, 0, 8]), SequenceSet([(1, 3)]), replacement=True, in_place=True)
    assert [(again.order(i), again.props(i)) for i in range(3)] == [(7, b"p1"), (2, b"p2"), (8, b"p3")]


def test_a_copy_whose_source_stays_is_a_new_message() -> None:
    made = copied(source(), SequenceSet([(1, 3)]), replacement=False, in_place=False)
    assert said(made) == [(b"1", b"p1", 0, None), (b"2", b"p2", 0, None), (b"3", b"p3", 0, None)]
    ordered = copied(
        source(order=[7, 6, 8]), SequenceSet([1]), replacement=False, in_place=False, props=[b"x"]
    )
    assert said(ordered) == [(b"1", b"x", 7, None)]
    plain = copied(source(), SequenceSet([1]), replacement=False, in_place=False, props=[b"y"])
    assert said(plain) == [(b"1", b"y", 0, None)]


def test_a_copy_of_a_commit_with_a_sequence_has_the_sequence() -> None:
    """EO7: it is a part of the same commit, and its producer repeats all of it."""
    made = ReplicatedQueue(Q, QueueSpec(name="q"), ((1, 1),), 1)
    made.append(tagged(Batch.pack([b"1", b"2"]), (1, 9), 4, in_commit=True))
    copy = copied(made, SequenceSet([(1, 2)]), replacement=False, in_place=False)
    assert [copy.origin(i) for i in (0, 1)] == [(born(1, 9).bytes, IN_COMMIT, 4)] * 2


def test_a_replacement_keeps_the_sequence() -> None:
    """EO7: as it keeps the first identity, through every move and update."""
    made = ReplicatedQueue(Q, QueueSpec(name="q"), ((1, 1),), 1)
    made.append(tagged(Batch.pack([b"1"]), (1, 9), 4, in_commit=False))
    for in_place in (True, False):
        copy = copied(made, SequenceSet([1]), replacement=True, in_place=in_place)
        assert copy.origin(0) == (born(1, 9).bytes, PUBLISHED, 4)


def test_a_publisher_says_neither_where_a_message_stands_nor_what_it_is_a_copy_of() -> None:
    """Places are ids that a queue gave out, each once: an order key of a publisher could be the place of another one."""
    plain = Batch.pack([b"1"], [b"p"])
    assert published(plain) is plain
    origin = (Q.bytes, 1, 9)
    assert said(published(Batch.pack([b"1"], [b"p"], [7], [origin]))) == [(b"1", b"p", 0, None)]
    assert said(published(Batch.pack([b"1"], None, [7]))) == [(b"1", b"", 0, None)]
    assert said(published(Batch.pack([b"1"], None, None, [origin]))) == [(b"1", b"", 0, None)]
