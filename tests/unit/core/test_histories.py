"""What a history says of a queue that it does not have: deleted, never declared, or that cannot be told (Q4, Q5)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha.core.births import born
from qpidha.core.histories import Histories
from qpidha.types import Entry

OLD = UUID("12345678-1234-4678-9234-567812345678")
PAST = (((1, 1), (3, 5)), 9)
"""Ids 1 to 4 of generation 1, 5 to 8 of generation 3."""


@pytest.mark.parametrize(
    ("queue", "birth", "deleted"),
    [
        (born(1, 4), None, True),
        (born(3, 5), None, True),
        (born(2, 5), None, False),
        (born(3, 9), None, False),
        (born(1, 5), None, False),
        (OLD, None, None),
        (OLD, (3, 6), True),
        (OLD, (2, 6), None),
    ],
    ids=["first", "last", "another generation", "not given out", "rewound", "old", "old, born", "old, born again"],
)  # fmt: skip
def test_a_queue_that_is_missing_is_judged_by_its_birth(
    queue: UUID, birth: Entry | None, deleted: bool | None
) -> None:
    assert Histories(lambda _: None, PAST).deleted(queue, birth) is deleted


def test_a_history_without_configuration_has_deleted_nothing_and_tells_nothing() -> None:
    assert Histories(lambda _: None, None).deleted(born(1, 1)) is None


@pytest.mark.parametrize(("epoch", "forgotten"), [((1, 4), True), ((2, 5), False)])
def test_a_producer_that_is_missing_is_judged_by_its_registration(epoch: Entry, forgotten: bool) -> None:
    """EO6: registered in this history, and forgotten since; or rewound."""
    made = Histories(lambda _: None, PAST)
    assert made.forgotten(epoch) is forgotten and made.producer(epoch) is None
    assert Histories(lambda _: None, None).forgotten(epoch) is None
