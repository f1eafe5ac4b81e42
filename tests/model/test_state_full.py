"""The large search of the state model judges its findings: what is not as expected is called wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.state import full
from tests.model.state.options import configure
from tests.model.state.table import CLEAN, REMOVED, WALKS, Clean, Removed


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    configure()


def test_the_names_of_searches_differ() -> None:
    names = [r.rule for r in REMOVED] + [c.name for c in CLEAN] + [name for name, _ in WALKS]
    assert len(set(names)) == len(names)
    assert sorted(name for _, name, _ in full.jobs([], 1.0)) == sorted(names)
    assert [name for _, name, _ in full.jobs(["ring"], 1.0)] == ["ring"]


def test_a_removed_rule_that_nothing_misses_is_wrong() -> None:
    unneeded = Removed(
        "ring_group", "S1", dict(queues=1, pub=1), bfs=True
    )  # Without a ring the rule is not needed.
    text, right = full.search_without(unneeded, 60.0)
    assert not right
    assert "NOTHING FOUND" in text


def test_a_removed_rule_that_is_missed_is_right() -> None:
    text, right = full.search_without(Removed("upd_pend", "S1", dict(queues=1, pub=1, upd=1), bfs=True), 60.0)
    assert right
    assert "S1 acked" in text
    assert "[pub 0 ; upd 0 1 0]" in text


def test_other_numbers_of_states_are_wrong() -> None:
    small = dict(queues=1, pub=1)
    text, right = full.search_clean(Clean("small", small, 1, 1), 60.0)
    assert not right
    assert "BUT NOT 1 states and depth 1" in text
    text, right = full.search_clean(Clean("small", small, 0, 0), 60.0)
    assert right
    assert text.startswith("clean: ")


def test_a_violation_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"err": "S1 acked v1 is nowhere", "trace": [("pub", 0)]}
    monkeypatch.setattr(full, "bfs", lambda **limits: found)
    assert full.search_clean(CLEAN[0], 60.0) == ("VIOLATION: S1 acked v1 is nowhere [pub 0]", False)


def test_the_whole_search_tells_what_was_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert full.full(["drop_keep", "jobs=1", "limit=10"]) == 0
    assert "not as expected: none" in capsys.readouterr().out
