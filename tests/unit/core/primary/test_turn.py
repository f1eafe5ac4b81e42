"""How long a backup that does not stream yet waits for its primary: since its first unanswered request."""

from __future__ import annotations

from qpidha.core.primary.turn import Turn


def test_a_backup_that_asked_nothing_waits_for_nothing() -> None:
    assert Turn().since(5.0) == 5.0


def test_it_waits_since_the_first_request_that_has_no_answer() -> None:
    turn = Turn()
    turn.asked(1.0)
    turn.asked(2.0)
    assert turn.since(5.0) == 1.0


def test_an_answer_under_way_counts_until_it_has_left() -> None:
    turn = Turn()
    turn.asked(1.0)
    turn.answered_since, turn.asked_at = turn.asked_at, None
    turn.asked(3.0)
    assert turn.since(5.0) == 1.0
    turn.answered_since = None
    assert turn.since(5.0) == 3.0
