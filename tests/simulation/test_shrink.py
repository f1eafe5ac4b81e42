"""A failing walk is made short, fails in the same way, and can be repeated from what is printed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qpidha.testing.__main__ import main, missed
from qpidha.testing.walks.profile import CHANGES
from qpidha.testing.walks.shrink import Walk, attempt, reduced, rule_of, shrink
from qpidha.testing.walks.sightings import CHANGED_RUNS, COMPLETE_RUNS, Sightings
from qpidha.testing.walks.sweep import Sweep, sweep
from tests.simulation.test_mutations import waits_for_the_attached_only


def first_failing() -> int:
    return next(seed for seed in range(200) if attempt(Walk(seed)))


def test_only_what_is_needed_is_left() -> None:
    def run(steps: Sequence[int]) -> str:
        return "Violation: S1: lost" if {3, 77, 78} <= set(steps) else ""

    left, runs = reduced(run, tuple(range(140)), "Violation: S1", 1000)
    assert left == (3, 77, 78)
    assert runs < 200


def test_another_failure_is_not_the_same() -> None:
    def run(steps: Sequence[int]) -> str:
        return "Violation: S1: lost" if 5 in steps else "KeyError: 5"

    assert reduced(run, tuple(range(20)), "Violation: S1", 1000)[0] == (5,)


def test_a_planted_bug_is_shown_in_few_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits_for_the_attached_only(monkeypatch)
    seed = first_failing()
    error = attempt(Walk(seed))
    shrunk = shrink(seed)
    assert shrunk is not None
    assert rule_of(shrunk.error) == rule_of(error)
    assert len(shrunk.steps) < 40
    assert f"seed {seed}: {shrunk.error}" in shrunk.report()
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the bug leads to.
        main([str(seed), "--only", ",".join(map(str, shrunk.steps))])
    assert shrunk.trace[-1] in capsys.readouterr().out


def test_a_walk_that_holds_is_not_shrunk() -> None:
    assert shrink(0) is None


def test_leaving_steps_out_is_a_run_as_well() -> None:
    walk = Walk(3, only=range(0, 140, 7))
    walk.run()
    assert walk.world.hash != Walk(3).run().hash


def test_a_sweep_counts_the_same_on_any_number_of_processes() -> None:
    one, two = sweep(100, 60), sweep(100, 60, jobs=2)
    assert (one.runs, one.events, one.acknowledged) == (two.runs, two.events, two.acknowledged)
    assert one.sightings.counts == two.sightings.counts
    assert one.failovers > 0


def test_a_sweep_ends_in_time() -> None:
    assert sweep(0, 1000, seconds_max=0.0).runs < 100


def test_kinds_of_steps_that_never_happened_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "frame Fenced" in Sightings().never()
    assert main(["--runs", "1", "--jobs", "1", "--complete"]) == 0, "one walk proves nothing"
    assert f"it needs {COMPLETE_RUNS} to be sure" in capsys.readouterr().out
    assert missed(Sweep(first=0, runs=COMPLETE_RUNS))
    assert "never happened: frame Fenced\n" in capsys.readouterr().out


def test_a_kind_of_change_that_was_never_drawn_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With its own number of walks: what ordinary walks leave out is no failure of this profile."""
    found = Sweep(first=0, runs=CHANGED_RUNS)
    expected = found.sightings.never(CHANGES)
    assert {"step redeclare", "commit with spread", "commit refused", "frame PlanWithdraw"} <= set(expected)
    found.sightings.counts.update(expected)
    assert not missed(found, CHANGES)
    found.sightings.counts["commit with spread"] = 0
    assert missed(found, CHANGES)
    assert capsys.readouterr().out == "never happened: commit with spread\n"
    found.runs -= 1
    assert not missed(found, CHANGES)
    assert "never happened: commit with spread (in" in capsys.readouterr().out
