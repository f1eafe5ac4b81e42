"""Lineages: the cases of the protocol, each with its numbers (N1, G1, G2, W1)."""

from __future__ import annotations

import pytest

from qpidha import SequenceSet
from qpidha.core import lineage as lineages
from qpidha.core.lineage import Lineage, advance, by_generation, common_point, generation_of, spans, trim
from qpidha.core.resync import History, plan_resync


def test_each_id_has_the_generation_that_gave_it_out() -> None:
    lineage = ((1, 1), (3, 6), (4, 6), (7, 9))
    assert [generation_of(lineage, id) for id in (1, 5, 6, 8, 9, 100)] == [1, 1, 4, 4, 7, 7]
    assert list(spans(lineage, 12)) == [(1, 1, 5), (4, 6, 8), (7, 9, 11)]


def test_ids_older_than_the_lineage_have_no_generation() -> None:
    assert generation_of(((5, 10),), 9) == 0
    assert list(by_generation(((5, 10),), SequenceSet([8, 9, 10]))) == [
        (0, SequenceSet([8, 9])),
        (5, SequenceSet([10])),
    ]


@pytest.mark.parametrize(
    ("ours", "our_next", "theirs", "their_next", "expected"),
    [
        (((1, 1),), 5, ((1, 1),), 9, 5),  # One is behind.
        (((1, 1), (2, 5)), 6, ((1, 1),), 6, 5),  # T01: 5@2 and 5@1.
        (((1, 1), (3, 3)), 4, ((1, 1), (2, 3)), 4, 3),  # T02: neither knows the other's last generation.
        (((1, 1), (2, 3), (3, 3)), 4, ((1, 1), (3, 3)), 5, 4),  # A generation that gave out nothing.
        (((1, 1),), 3, ((2, 1),), 3, 0),  # Nothing shared.
        (((1, 1),), 1, ((1, 1),), 1, 0),  # Nothing given out.
        (((3, 10),), 20, ((2, 5), (3, 10)), 15, 15),  # Trimmed at the front.
        (((1, 1),), 2**33, ((1, 1),), 2**32, 2**32),  # 64 bits (T21, T23).
        (
            ((1, 1), (2, 5)),
            6,
            ((1, 7), (2, 9)),
            10,
            0,
        ),  # The same generations with other ids: a peer's nonsense.
    ],
)
def test_the_common_point(
    ours: Lineage, our_next: int, theirs: Lineage, their_next: int, expected: int
) -> None:
    assert common_point(ours, our_next, theirs, their_next) == expected
    assert common_point(theirs, their_next, ours, our_next) == expected


def test_matching_only_the_last_generation_would_keep_the_wrong_message() -> None:
    """The example of rule G2: P [(1,1),(3,1)] holds m1@3, B [(1,1),(2,1)] holds m1@2."""
    one = SequenceSet([1])
    plan = plan_resync(History(((1, 1), (3, 1)), 2, one), History(((1, 1), (2, 1)), 2, one))
    assert (plan.keep, plan.drop, plan.send) == (SequenceSet(), one, one)


def test_the_last_entry_is_kept_even_if_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: without it the next id would seem to be of the generation before."""
    monkeypatch.setattr(lineages, "ENTRIES_KEPT", 1)
    lineage = advance(((1, 1),), 2, 2)
    assert trim(lineage, 2) == ((2, 2),)
    assert trim(lineage, 1) == ((1, 1), (2, 2)), "id 1 is still held"
    assert trim(((1, 1), (2, 5), (3, 5), (4, 5)), 1) == ((1, 1), (4, 5)), "empty inner entries go"
