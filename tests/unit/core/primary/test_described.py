"""What is known of a queue of a backup before its catch-up: nothing is planned, nothing was told."""

from __future__ import annotations

from qpidha import SequenceSet
from qpidha.core.primary.described import Described, Resync
from qpidha.core.resync import History


def test_a_description_begins_without_a_plan() -> None:
    made = Described(History(((1, 1),), 4, SequenceSet([1, 3])))
    assert (made.keep, made.staged, made.cursor, made.told) == (None, None, 0, False)


def test_a_catch_up_begins_without_costs() -> None:
    assert (Resync().messages, Resync().bytes, Resync().dropped) == (0, 0, 0)
