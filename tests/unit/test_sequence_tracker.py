"""SequenceTracker never reuses an id, never mis-sorts one, and says exactly what it has not seen.

Method: one test per promise, at the edges of 32 and 64 bits and of the span guard (I2, I3, I4),
with the rewind of LM1b and the stored state. For random operations see the model test in tests/property.
"""

from __future__ import annotations

import pickle

import pytest

from qpidha.seq import (
    SequenceDecodeError,
    SequenceError,
    SequenceOrderError,
    SequenceSet,
    SequenceSpanError,
    SequenceTracker,
)

LAST = 2**64 - 2


def test_a_new_tracker() -> None:
    t = SequenceTracker()
    assert (t.base, t.next_id, t.watermark, t.missing, t.duplicates) == (1, 1, 0, 0, 0)
    assert (t.lowest_live, t.span, t.span_limit, t.room) == (1, 0, 2**31 - 2**16, 2**31 - 2**16 - 1)
    assert t.gaps() == SequenceSet() and 0 in t and 1 not in t and -1 not in t and 2**64 not in t
    assert SequenceTracker(0).watermark == -1
    assert repr(t) == "SequenceTracker(next_id=1, watermark=0, missing=0, lowest_live=1)"


@pytest.mark.parametrize("wrong", [-1, 2**64])
def test_next_id_has_a_range(wrong: int) -> None:
    for call in (
        SequenceTracker,
        SequenceTracker().advance,
        SequenceTracker().rewind,
        SequenceTracker().retain,
    ):
        with pytest.raises(SequenceError, match="not a next id"):
            call(wrong)


@pytest.mark.parametrize("wrong", [-1, 0, 1, 2**31 + 1])
def test_span_limit_has_a_range(wrong: int) -> None:
    with pytest.raises(SequenceError, match="span limit"):
        SequenceTracker(span_limit=wrong)


def test_allocation_counts_as_seen() -> None:
    t = SequenceTracker(2**32 - 2)
    assert [t.allocate(), t.allocate(4), t.allocate()] == [2**32 - 2, 2**32 - 1, 2**32 + 3]
    assert t.next_id == 2**32 + 4 and t.watermark == 2**32 + 3 and t.missing == 0
    assert t.receive(2**32) == 0 and t.duplicates == 1


def test_allocation_refuses_no_ids() -> None:
    t = SequenceTracker()
    with pytest.raises(SequenceError, match="0 ids"):
        t.allocate(0)
    with pytest.raises(SequenceError):
        t.allocate(-1)
    with pytest.raises(TypeError):
        t.allocate(None)  # type: ignore[arg-type]
    assert t.next_id == 1


def test_the_end_of_64_bits() -> None:
    t = SequenceTracker(LAST - 1)
    with pytest.raises(OverflowError, match="used up"):
        t.allocate(3)
    assert t.room == 2
    assert t.allocate(2) == LAST - 1
    assert t.next_id == LAST + 1 and t.watermark == LAST and t.room == 0
    with pytest.raises(OverflowError):
        t.allocate()
    with pytest.raises(OverflowError):
        t.allocate(LAST)
    t.check()
    assert t.unwrap(t.wrap(LAST)) == LAST
    assert SequenceTracker.resume(t.state()).next_id == LAST + 1
    assert not t.rewind(LAST + 1)
    assert t.rewind(LAST) == SequenceSet([LAST])


# --- the span guard (I3) --------------------------------------------------------------------------


def test_publish_is_held_before_wire_ids_become_ambiguous() -> None:
    t = SequenceTracker(span_limit=100)
    first = t.allocate(99)
    assert (t.span, t.room) == (99, 0)
    with pytest.raises(SequenceSpanError, match="lowest live id 1"):
        t.allocate()
    assert t.next_id == 100
    t.retain(first + 10)
    assert t.room == 10 and t.allocate(10) == 100
    with pytest.raises(SequenceSpanError):
        t.allocate()
    t.retain(t.next_id)  # Nothing is alive.
    assert t.span == 0 and t.allocate(99) == 110


def test_the_default_limit_works_at_full_size() -> None:
    t = SequenceTracker(2**32 - 7)
    limit = t.span_limit
    lowest = t.allocate(limit - 1)
    with pytest.raises(SequenceSpanError):
        t.allocate()
    # Every live id still has an unambiguous wire form.
    for id in (lowest, lowest + 1, 2**32, lowest + limit // 2, t.next_id - 1):
        assert t.unwrap(t.wrap(id)) == id


def test_the_largest_limit_is_still_unambiguous() -> None:
    t = SequenceTracker(5, span_limit=2**31)
    assert t.allocate(2**31 - 1) == 5
    assert t.unwrap(t.wrap(5)) == 5
    with pytest.raises(SequenceSpanError):
        t.allocate()


def test_lowest_live_in_the_same_call() -> None:
    t = SequenceTracker(span_limit=10)
    t.allocate(9)
    with pytest.raises(SequenceSpanError):
        t.allocate(5, lowest_live=3)
    assert t.lowest_live == 1  # Refused as a whole.
    assert t.allocate(5, lowest_live=6) == 10
    assert t.lowest_live == 6
    assert t.allocate(lowest_live=t.next_id) == 15
    with pytest.raises(SequenceError, match="lowest live id"):
        t.retain(t.next_id + 1)
    with pytest.raises(SequenceError, match="lowest live id"):
        t.allocate(1, t.next_id + 1)


def test_received_ids_are_alive_too() -> None:
    t = SequenceTracker(100, span_limit=50)
    t.receive(1000, 1005)  # A jump while nothing is alive does not widen the span.
    assert (t.lowest_live, t.span) == (1000, 6)
    t.receive(990)
    assert (t.lowest_live, t.span) == (990, 16)
    t.retain(1006)
    t.receive(1000)  # Seen before: it does not come alive again.
    assert t.span == 0
    t.receive(950)
    assert t.span == 56 and t.room == 0
    with pytest.raises(SequenceSpanError):
        t.allocate()


def test_a_huge_count_does_not_wrap_the_guard() -> None:
    t = SequenceTracker(0, span_limit=100)
    t.allocate(50)
    for count in (2**64 - 60, 2**63, 2**64 - 51):
        with pytest.raises((SequenceSpanError, OverflowError)):
            t.allocate(count)
    assert t.next_id == 50


# --- following ------------------------------------------------------------------------------------


def test_watermark_stops_at_the_first_gap() -> None:
    t = SequenceTracker(10)
    assert t.watermark == 9
    assert t.receive(12) == 1
    assert (t.watermark, t.missing, t.next_id) == (9, 2, 13)
    assert t.gaps() == SequenceSet([10, 11])
    assert t.receive(10) == 1 and t.watermark == 10
    assert t.receive(10, 15) == 4
    assert (t.watermark, t.missing, t.duplicates) == (15, 0, 2)


def test_ids_below_the_base_are_duplicates() -> None:
    t = SequenceTracker(10)
    assert t.receive(3) == 0 and t.receive(8, 11) == 2
    assert t.duplicates == 3 and 3 in t and 11 in t and 12 not in t
    assert t.lowest_live == 10
    t.check()


def test_a_promoted_backup_allocates_above_everything_received() -> None:
    t = SequenceTracker()
    t.receive(1, 5)
    t.receive(9)
    assert t.allocate(2) == 10
    assert t.watermark == 5 and t.gaps() == SequenceSet([(6, 8)])


def test_advance_leaves_gaps_and_never_goes_back() -> None:
    t = SequenceTracker()
    t.advance(5)
    assert (t.next_id, t.missing, t.span) == (5, 4, 0)
    t.advance(3)
    assert t.next_id == 5
    t.allocate()
    t.advance(10)
    assert (t.next_id, t.span) == (10, 5)
    assert t.gaps() == SequenceSet([(1, 4), (6, 9)])


def test_reversed_and_impossible_ids_are_refused() -> None:
    t = SequenceTracker()
    for first, last in ((5, 4), (-1, None), (0, 2**64 - 1)):
        with pytest.raises(SequenceError):
            t.receive(first, last)
    assert t.state() == SequenceTracker().state()


# --- rewind (LM1b) --------------------------------------------------------------------------------


def test_rewind_forgets_what_the_new_primary_never_had() -> None:
    t = SequenceTracker()
    t.receive(1, 100)
    t.receive(110, 120)
    assert t.rewind(95) == SequenceSet([(95, 100), (110, 120)])
    assert (t.next_id, t.watermark, t.missing) == (95, 94, 0)
    assert t.receive(95) == 1  # The new primary's message 95 is not taken for the old one.
    t.check()


def test_rewind_keeps_gaps_below() -> None:
    t = SequenceTracker()
    t.receive(5, 9)
    assert t.rewind(7) == SequenceSet([7, 8, 9])
    assert t.gaps() == SequenceSet([(1, 4)])
    assert t.rewind(3) == SequenceSet([5, 6])
    assert t.gaps() == SequenceSet([1, 2]) and t.next_id == 3 and t.span == 0


def test_rewind_below_the_base_follows_from_there() -> None:
    t = SequenceTracker(50)
    t.allocate(5)
    assert t.rewind(40) == SequenceSet([(50, 54)])
    assert (t.base, t.next_id, t.watermark, t.lowest_live) == (40, 40, 39, 40)
    assert t.receive(45) == 1
    t.check()


def test_rewind_does_not_go_forward() -> None:
    t = SequenceTracker(5)
    with pytest.raises(SequenceError, match="cannot rewind to 6"):
        t.rewind(6)
    assert not t.rewind(5)


# --- the wire -------------------------------------------------------------------------------------


def test_unwrap_is_relative_to_the_next_id() -> None:
    t = SequenceTracker(2**32 - 5)
    assert t.unwrap(0) == 2**32 and t.unwrap(2**32 - 1) == 2**32 - 1
    assert t.unwrap(7, reference=2**40) == 2**40 + 7
    assert SequenceTracker.wrap(2**40 + 7) == 7
    with pytest.raises(SequenceOrderError):
        t.unwrap(t.wrap(t.next_id + 2**31))
    with pytest.raises(SequenceError):
        t.unwrap(2**32)
    with pytest.raises(SequenceError):
        t.unwrap(0, reference=-1)


# --- stored state ---------------------------------------------------------------------------------


def test_state_round_trip() -> None:
    t = SequenceTracker(2**32 - 3, span_limit=5000)
    t.receive(2**32, 2**32 + 5)
    t.receive(2**32)
    t.advance(2**32 + 9)
    t.retain(2**32 + 1)
    twin = SequenceTracker.resume(t.state(), span_limit=5000)
    twin.check()
    assert twin.state() == t.state()
    assert (twin.next_id, twin.watermark, twin.duplicates) == (t.next_id, t.watermark, 1)
    assert twin.gaps() == t.gaps() and twin.lowest_live == t.lowest_live and twin.span_limit == 5000
    assert SequenceTracker.resume(list(t.state())).state() == t.state()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        (),
        (1, 2, 3),
        (2, 1, 1, 1, 0, b"\0"),  # A form we do not know.
        (1, 5, 4, 4, 0, b"\0"),  # next_id below base.
        (1, 1, 4, 5, 0, b"\0"),  # lowest_live above next_id.
        (1, 1, 4, 1, 0, b"\1\4\0"),  # A gap at next_id.
        (1, 1, 4, 1, 0, b"\1\0\0"),  # A gap below base.
        (1, 0, 0, 0, 0, b"\1\0\0"),  # A gap where there is nothing.
        (1, 1, 4, 1, 0, b""),
        (1, 1, 4, 1, 0, "text"),
        (1, -1, 4, 1, 0, b"\0"),
        (1, 1, 2**64, 1, 0, b"\0"),
        (1, 1, 4, 1, -1, b"\0"),
        (1, "1", 4, 1, 0, b"\0"),
    ],
)
def test_what_is_not_a_state_is_refused(wrong: object) -> None:
    with pytest.raises(SequenceDecodeError):
        SequenceTracker.resume(wrong)  # type: ignore[arg-type]


def test_a_wrong_limit_is_not_the_fault_of_the_state() -> None:
    with pytest.raises(SequenceError, match="span limit") as caught:
        SequenceTracker.resume(SequenceTracker().state(), span_limit=0)
    assert not isinstance(caught.value, SequenceDecodeError)


def test_not_pickled() -> None:
    with pytest.raises(TypeError, match="state"):
        pickle.dumps(SequenceTracker())
