"""Lanes: the order of delivery within a priority and between priorities."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from qpidha.queues.lanes import Lane, Lanes
from qpidha.seq import SequenceSet


def deliver(lanes: Lanes, taken: SequenceSet, count: int, at_once: int = 1) -> list[int]:
    """The next places, as a consumer would get them."""
    got = list[int]()
    while len(got) < count and (lane := lanes.next()) is not None:
        places = lane.peek(lanes.room(at_once))
        lane.take(places)
        taken |= places
        lanes.delivered(len(places))
        got += places
    return got


def levels(*places: Sequence[int]) -> list[SequenceSet]:
    """The places of each level, the lowest first."""
    return [SequenceSet(some) for some in places]


def test_the_highest_level_comes_first_and_each_is_in_order() -> None:
    taken = SequenceSet()
    lanes = Lanes(levels([1, 4], [2], [3, 5]), taken)
    assert deliver(lanes, taken, 10) == [3, 5, 2, 1, 4]
    assert lanes.next() is None


def test_a_lane_without_messages_has_no_next_places() -> None:
    lane = Lane(SequenceSet([1]), SequenceSet([1]))
    assert lane.next() is None
    assert not lane.peek(10)


def test_what_comes_later_with_a_higher_priority_goes_first() -> None:
    taken, some = SequenceSet(), levels([1, 2], [])
    lanes = Lanes(some, taken)
    assert deliver(lanes, taken, 1) == [1]
    some[1].add(3)
    assert deliver(lanes, taken, 5) == [3, 2]


def test_what_is_given_back_comes_before_new_ones() -> None:
    taken = SequenceSet()
    lanes = Lanes(levels([1, 2, 3, 4]), taken)
    assert deliver(lanes, taken, 3) == [1, 2, 3]
    taken -= SequenceSet([1, 3])
    lanes.give_back(SequenceSet([1, 3]))
    assert deliver(lanes, taken, 10, at_once=10) == [1, 3, 4]


def test_what_has_left_the_queue_is_passed_over() -> None:
    taken, some = SequenceSet(), levels([1, 2, 3])
    lanes = Lanes(some, taken)
    deliver(lanes, taken, 2)
    taken -= SequenceSet([1, 2])
    lanes.give_back(SequenceSet([1, 2]))
    some[0].discard(1)
    assert deliver(lanes, taken, 10) == [2, 3]


def test_a_place_that_somebody_has_is_not_delivered_in_another_lane() -> None:
    """Its message got another priority while a consumer had it."""
    taken, some = SequenceSet(), levels([1], [2])
    lanes = Lanes(some, taken)
    assert deliver(lanes, taken, 1) == [2]
    some[1].discard(2)
    some[0].add(2)
    assert deliver(lanes, taken, 10) == [1]
    taken -= SequenceSet([2])
    lanes.give_back(SequenceSet([2]))
    assert deliver(lanes, taken, 10) == [2]


def test_a_fair_share_gives_each_level_its_turn() -> None:
    taken = SequenceSet()
    lanes = Lanes(levels([1, 2, 3], [4, 5, 6, 7, 8]), taken, fair_share=2)
    assert deliver(lanes, taken, 20, at_once=10) == [4, 5, 1, 2, 6, 7, 3, 8]


def test_a_fair_share_does_not_wait_for_a_level_that_has_none() -> None:
    taken = SequenceSet()
    lanes = Lanes(levels([], [1, 2, 3], []), taken, fair_share=1)
    assert deliver(lanes, taken, 20) == [1, 2, 3]


PLACES = st.lists(st.sets(st.integers(1, 60)), min_size=1, max_size=4)


@given(PLACES, st.none() | st.integers(1, 4), st.integers(1, 9))
def test_every_place_is_delivered_once(some: list[set[int]], fair_share: int | None, at_once: int) -> None:
    taken, seen, own = SequenceSet(), set[int](), list[SequenceSet]()
    for level in some:
        own.append(SequenceSet(level - seen))
        seen |= level
    lanes = Lanes(own, taken, fair_share)
    got = deliver(lanes, taken, 1000, at_once)
    assert sorted(got) == sorted(seen)
    for level in own:
        assert [place for place in got if place in level] == list(level)
