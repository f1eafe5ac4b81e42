"""When messages expire: never too early, and at most a tenth of a second late."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from qpidha.queues.expiry import SLOT_S, Expiry
from qpidha.seq import SequenceSet


def test_nothing_is_due_before_its_time() -> None:
    expiry = Expiry()
    assert expiry.next_at is None
    expiry.add(1, 100.0)
    expiry.add(2, 200.0)
    assert expiry.take_due(99.99) == SequenceSet()
    assert expiry.take_due(100.0) == SequenceSet([1])
    assert expiry.next_at == 200.0


def test_what_is_no_time_never_expires() -> None:
    expiry = Expiry()
    for never in (math.inf, math.nan):
        expiry.add(1, never)
        assert expiry.has(1, never)
    assert expiry.next_at is None


def test_nothing_is_due_when_nothing_is_held() -> None:
    expiry = Expiry()
    expiry.add(1, 100.0)
    assert expiry.has(1, 100.0) and not expiry.has(1, 300.0) and not expiry.has(2, 100.0)
    expiry.clear()
    assert expiry.take_due(1e9) == SequenceSet()


@given(st.lists(st.floats(0, 1e6), max_size=30), st.floats(0, 1e6))
def test_what_is_due_is_what_has_expired_but_for_one_slot(times: list[float], now: float) -> None:
    expiry = Expiry()
    for place, expires_at in enumerate(times):
        expiry.add(place, expires_at)
    due = set(expiry.take_due(now))
    for place, expires_at in enumerate(times):
        if place in due:
            assert expires_at <= now + 1e-6
        else:
            assert expires_at > now - SLOT_S - 1e-6


def test_what_was_due_is_returned_once_more_when_it_is_asked_for_again() -> None:
    expiry = Expiry()
    for place in (1, 2, 3):
        expiry.add(place, 100.0)
    assert expiry.take_due(100.0) == SequenceSet([1, 2, 3]) and expiry.next_at is None
    assert all(expiry.has(place, 100.0) for place in (1, 2, 3))
    expiry.again(SequenceSet([2, 9]))
    assert expiry.take_due(100.0) == SequenceSet([2])
    expiry.discard(3)
    expiry.restart()
    assert expiry.take_due(100.0) == SequenceSet([1, 2])


def test_a_message_has_one_time_of_expiry_and_none_when_it_is_gone() -> None:
    expiry = Expiry()
    for n in range(100):
        expiry.add(1, 100.0 + n)
    expiry.add(2, 150.0)
    assert len(expiry) == 2 and expiry.next_at == 150.0
    expiry.discard(2)
    expiry.discard(2)
    expiry.add(1, 1e300)
    assert len(expiry) == 0 and expiry.next_at is None and expiry.has(1, 1e300)


def test_another_message_of_the_slot_stays() -> None:
    expiry = Expiry()
    expiry.add(1, 100.0)
    expiry.add(2, 100.0)
    expiry.discard(1)
    assert expiry.take_due(100.0) == SequenceSet([2])
