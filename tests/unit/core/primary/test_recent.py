"""Accepts that are not safe, and what the last round of completions did: known until the next round."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import SequenceSet
from qpidha.core.primary.recent import Recent
from qpidha.errors import InvariantError

A, B = UUID(int=1), UUID(int=2)


def test_an_accept_is_known_until_the_round_after_the_one_that_found_it_safe() -> None:
    recent = Recent()
    recent.accepted(A, SequenceSet([1, 2]), 5)
    recent.accepted(B, SequenceSet([3]), 6)
    recent.check(4)
    assert [recent.accepted_at(A, id, 0) for id in (1, 2, 3)] == [5, 5, None]
    assert recent.accepted_at(B, 3, 0) == 6
    recent.begin(5)
    recent.check(5)
    assert (recent.accepted_at(A, 1, 0), recent.accepted_at(B, 3, 0)) == (5, 6)
    recent.begin(6)
    assert (recent.accepted_at(A, 1, 0), recent.accepted_at(B, 3, 0)) == (None, 6)
    recent.begin(6)
    assert recent.accepted_at(B, 3, 0) is None


def test_a_completion_is_known_until_the_next_round() -> None:
    recent = Recent()
    assert not recent.just_completed(A, 1)
    recent.completed(A, 4, 7)
    recent.completed(A, 7, 9)
    assert [id for id in range(12) if recent.just_completed(A, id)] == [5, 6, 7, 8, 9]
    assert not recent.just_completed(B, 5)
    recent.begin(3)
    assert not recent.just_completed(A, 5)


def test_accepts_are_in_order_and_above_what_is_safe() -> None:
    recent = Recent()
    recent.accepted(A, SequenceSet([4]), 7)
    with pytest.raises(InvariantError, match="safe is kept"):
        recent.check(7)
    recent.accepted(A, SequenceSet([5]), 6)  # As in a local queue, whose declaration is safe earlier.
    recent.check(5)
    assert [recent.accepted_at(A, id, 6) for id in (4, 5)] == [7, None]
    recent._accepts.reverse()
    with pytest.raises(InvariantError, match="out of order"):
        recent.check(5)
