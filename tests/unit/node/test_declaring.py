"""What an embedder declares: checked, given a level, and compared with the queue or table that exists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpidha import ArgumentError, QueueMismatch, Settings, Settle
from qpidha.core.births import born, own_id
from qpidha.core.keyed import TABLE
from qpidha.node.declaring import level_for, queue_spec, require_same, table_spec
from qpidha.types import Level, QueueSpec

SPEC = QueueSpec(name="q")
QUEUE, SHARED, OWN = born(1, 1), born(1, 1, Level.CONFIGURATION), own_id(1, 1)


def test_kinds_of_the_library_are_for_tables_only() -> None:
    assert queue_spec("q", Settle.REPLICATED, "fifo") == SPEC
    assert table_spec("t") == QueueSpec(name="t", kind=TABLE)
    for kind in (TABLE, "$x"):
        with pytest.raises(ArgumentError, match="kinds"):
            queue_spec("q", Settle.REPLICATED, kind)
    for declare in (lambda: queue_spec("", Settle.REPLICATED, "fifo"), lambda: table_spec("")):
        with pytest.raises(ArgumentError, match="queue name"):
            declare()


@pytest.mark.parametrize("name", ["$configuration", "$objects"])
def test_nothing_is_called_like_a_queue_of_the_library(name: str) -> None:
    for declare in (lambda: queue_spec(name, Settle.REPLICATED, "fifo"), lambda: table_spec(name)):
        with pytest.raises(ArgumentError, match="a queue of the library itself has this name"):
            declare()
    assert queue_spec("$x", Settle.REPLICATED, "fifo").name == "$x"


def test_a_level_that_is_named_counts_more_than_the_patterns() -> None:
    settings = Settings(replicate={"temp.*": "none"})
    assert level_for("temp.1", None, settings) is Level.NONE
    assert level_for("temp.1", Level.CONFIGURATION, settings) is Level.CONFIGURATION
    assert level_for("q", None, settings) is Level.MESSAGES
    for wrong in ("none", 0, True):
        with pytest.raises(ArgumentError, match="replicate must be"):
            level_for("q", wrong, settings)  # type: ignore[arg-type]


def test_an_existing_queue_is_the_same_if_its_spec_is_and_the_level_if_one_is_named() -> None:
    for queue, level in ((QUEUE, Level.MESSAGES), (SHARED, Level.CONFIGURATION), (OWN, Level.NONE)):
        require_same(queue, SPEC, SPEC, None)
        require_same(queue, SPEC, SPEC, level)
        for other in set(Level) - {level}:
            with pytest.raises(QueueMismatch, match=f"level {level.name}; .* level {other.name}"):
                require_same(queue, SPEC, SPEC, other)
    with pytest.raises(ArgumentError, match="replicate must be"):
        require_same(QUEUE, SPEC, SPEC, "none")  # type: ignore[arg-type]


def test_a_mismatch_says_both() -> None:
    asked = replace(SPEC, settle=Settle.IMMEDIATE)
    with pytest.raises(QueueMismatch, match=r"REPLICATED.*IMMEDIATE") as refused:
        require_same(QUEUE, SPEC, asked, None)
    assert (refused.value.existing, refused.value.asked) == (SPEC, asked)
    with pytest.raises(QueueMismatch, match="'q' is a queue, no table"):
        require_same(QUEUE, SPEC, table_spec("q"), None)
    with pytest.raises(QueueMismatch, match="'q' is a table, no queue"):
        require_same(QUEUE, table_spec("q"), SPEC, None)
