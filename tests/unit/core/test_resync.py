"""What a returning backup keeps, drops and is sent, and what became of a discarded message (C4, W1)."""

from __future__ import annotations

import pytest

from qpidha import SequenceSet
from qpidha.core.lineage import Lineage
from qpidha.core.resync import History, had, judge, plan_resync


def test_the_verdict_over_a_discarded_message() -> None:
    lineage, ids = ((2, 4), (3, 8)), SequenceSet([(1, 9)])
    verdict = judge(lineage, 10, 2, ids)
    assert verdict.unknown == SequenceSet([(1, 3)]), "older than the lineage"
    assert verdict.dequeued == SequenceSet([(4, 7)]), "generation 2 gave these out"
    assert verdict.rewound == SequenceSet([(8, 9)]), "these are of generation 3 here"


def history(lineage: Lineage, next: int, *held: int) -> History:
    return History(lineage, next, SequenceSet(held))


def test_a_message_is_kept_only_if_the_same_generation_gave_its_id_out() -> None:
    """A reused id is another message (LM1b)."""
    plan = plan_resync(history(((1, 1), (2, 5)), 7, 3, 5, 6), history(((1, 1),), 7, 2, 3, 5))
    assert (list(plan.keep), list(plan.drop), list(plan.send)) == ([3], [2, 5], [5, 6])


def test_a_backup_that_has_nothing_is_sent_everything_and_drops_nothing() -> None:
    plan = plan_resync(history(((4, 1),), 4, 1, 3), history((), 0))
    assert (list(plan.keep), list(plan.drop), list(plan.send)) == ([], [], [1, 3])


def test_what_the_primary_does_not_hold_is_dropped_whatever_the_reason() -> None:
    plan = plan_resync(history(((1, 1),), 4), history(((1, 1),), 4, 1, 2, 3))
    assert (list(plan.keep), list(plan.drop), list(plan.send)) == ([], [1, 2, 3], [])


def test_equal_histories_need_no_resync() -> None:
    same = history(((1, 1), (3, 4)), 9, 2, 4, 8)
    plan = plan_resync(same, same)
    assert (plan.keep, list(plan.drop), list(plan.send)) == (same.held, [], [])


@pytest.mark.parametrize(
    ("generation", "id", "answer"), [(1, 3, None), (1, 5, True), (2, 5, False), (2, 8, True), (2, 9, False)]
)
def test_whether_a_history_ever_had_a_message(generation: int, id: int, answer: bool | None) -> None:
    """None: the lineage begins above it, so it cannot tell (G1)."""
    assert had(((1, 4), (2, 6)), 9, generation, id) is answer


@pytest.mark.parametrize(
    ("lineage", "next", "held", "kept"),
    [
        (((1, 1), (2, 3)), 6, [2, 4], [2, 4]),
        (((1, 1), (2, 3)), 6, [], []),
        ((), 6, [2], []),
        (((2, 3),), 6, [2, 4], [2, 4]),
        (((2, 3),), 3, [2], []),
        (((1, 1),), 4, [2, 4], [2]),
    ],
    ids=["same", "empty", "no-lineage", "older", "older-only", "beyond-next"],
)
def test_equal_descriptions_keep_what_both_gave_out(
    lineage: Lineage, next: int, held: list[int], kept: list[int]
) -> None:
    """Nothing is kept of which a peer only claims that it was given out."""
    one, other = (History(lineage, next, SequenceSet(held)) for _ in range(2))
    plan = plan_resync(one, other)
    assert (list(plan.keep), list(plan.drop)) == (kept, [id for id in held if id not in kept])
    assert plan.send == plan.drop
    assert plan.keep is not other.held
