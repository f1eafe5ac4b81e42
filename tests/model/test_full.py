"""The large search judges its findings: each rule has a search, and what is not as expected is called wrong."""

from __future__ import annotations

from collections.abc import Iterator

import full
import model
import pytest


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    model.configure()


def test_each_rule_has_one_search() -> None:
    assert sorted(r.rule for r in full.REMOVED) == sorted(model.RULES)


def test_a_removed_rule_that_nothing_misses_is_wrong() -> None:
    unneeded = full.Removed(
        "epoch", "S1", full.SMALL, bfs=True
    )  # Without a lost disk the rule is not needed.
    text, right = full.search_without(unneeded, 60.0)
    assert not right
    assert "NOTHING FOUND" in text


def test_a_removed_rule_that_is_missed_is_right() -> None:
    text, right = full.search_without(full.Removed("wait_all", "S1", {}), 60.0)
    assert right
    assert "S1 acked" in text


def test_other_numbers_of_states_are_wrong() -> None:
    small = full.Clean("small", dict(pub=1, reconn=1), 1, 1)
    assert full.search_clean(small, 60.0) == (
        "clean, BUT NOT 1 states and depth 1: " + _numbers(small), False
    )  # fmt: skip


def _numbers(clean: full.Clean) -> str:
    model.configure(**{**full.NONE, **clean.options})
    found = model.bfs()
    return f"{found['states']:,} states, {found['trans']:,} transitions, depth {found['depth']}"


def test_a_violation_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "bfs", lambda **limits: {"err": "S1 acked v1 is nowhere"})
    assert full.search_clean(full.CLEAN[0], 60.0) == ("VIOLATION: S1 acked v1 is nowhere", False)
