"""Walks that do little else than fail over, what counts as a failover, and long searches in slices."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from qpidha.testing import Walk
from qpidha.testing.__main__ import main
from qpidha.testing.walks.profile import FAILOVERS
from qpidha.testing.walks.sightings import Sightings
from qpidha.testing.walks.slices import in_slices, read
from qpidha.testing.walks.sweep import Sweep, part


def test_most_steps_of_these_walks_are_failovers() -> None:
    found = part(0, 20, FAILOVERS)
    assert not found.failures
    assert found.failovers > 20 * FAILOVERS.steps / 3
    assert found.acknowledged > found.failovers, "there is traffic between them"
    assert found.events / found.failovers < 120


def test_failover_walks_have_all_faults_of_ordinary_walks() -> None:
    plain = next(seed for seed in range(20) if not FAILOVERS.changes_of(seed))
    walk, ordinary = Walk(plain, profile=FAILOVERS), Walk(plain)
    assert walk.weights.keys() - ordinary.weights.keys() == {"relay"}
    assert {name for name, weight in ordinary.weights.items() if weight} <= set(walk.weights)


def test_half_of_the_failover_walks_change_more_than_messages() -> None:
    walks = [Walk(seed, profile=FAILOVERS) for seed in range(100)]
    changing = [walk for walk in walks if "commit" in walk.weights]
    assert 30 < len(changing) < 70
    for name in (
        "commit",
        "update",
        "delete",
        "local",
    ):  # Each is left out by some of them, and drawn by others.
        assert {bool(walk.weights[name]) for walk in changing} == {False, True}
    assert 0 < sum("produce" in walk.plan for walk in changing) < len(changing)
    assert not any("produce" in walk.plan for walk in walks if walk not in changing)


def test_a_promotion_counts_as_failover_only_after_an_answer_to_a_client() -> None:
    walk = Walk(0, only=[])
    world, seen = walk.world, Sightings()
    seen.watch(world)
    world.start()
    first, second = list(world.nodes.values())[:2]
    first.promote()
    world.scheduler.run_for(5.0)
    world.declare(first, "q", walk.settle)
    world.clients.publish(first, world.queue_id("q"), world.clients.fresh(1))
    world.scheduler.run_for(1.0)
    assert seen.counts["client answers ok"] == 1
    assert seen.failovers == 0, "the first primary replaces no other"
    first.crash()
    second.promote()
    world.scheduler.run_for(1.0)
    assert seen.counts["record promotion"] == 2
    assert seen.failovers == 0, "it is primary, and has not answered a client yet"
    for _ in range(2):
        world.clients.publish(second, world.queue_id("q"), world.clients.fresh(1))
        world.scheduler.run_for(5.0)
    assert seen.counts["client answers ok"] == 3
    assert seen.failovers == 1


def test_a_search_in_slices_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    whole = part(100, 5)
    in_slices(log, 100, 4, size=2)
    with log.open("a", encoding="utf-8") as file:
        file.write('{"from": 104, "se')  # As if the process was killed while it wrote.
    assert sorted(read(log)) == [(100, 2, "ordinary"), (102, 2, "ordinary")]
    found = in_slices(log, 100, 5, size=2)
    assert (found.runs, found.events, found.failovers) == (5, whole.events, whole.failovers)
    assert found.sightings.counts == whole.sightings.counts

    monkeypatch.setattr("qpidha.testing.walks.slices.sweep", lambda *args, **kwargs: pytest.fail("run again"))
    assert in_slices(log, 100, 5, size=2).events == whole.events


def test_a_search_ends_when_there_were_enough_failovers(tmp_path: Path) -> None:
    found = in_slices(tmp_path / "log", 0, 10, size=1, failovers=30, profile=FAILOVERS)
    assert found.runs < 10
    assert found.failovers >= 30


def test_faults_that_too_few_walks_left_out_are_named_and_are_no_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--runs", "1", "--jobs", "1", "--complete"]) == 0
    assert "never happened: refusal 3 (in 1 walks; it needs 3000 to be sure)" in capsys.readouterr().out
    monkeypatch.setattr("qpidha.testing.walks.sightings.COMPLETE_RUNS", 1)
    assert main(["--runs", "1", "--jobs", "1", "--complete"]) == 1
    assert "never happened: refusal 3\n" in capsys.readouterr().out


def test_what_a_part_of_a_sweep_has_found_goes_to_another_process() -> None:
    """Also if its last walk ended while a backup waited for the comparison of its queues."""
    found = Sweep(0)
    found.sightings.watch(Walk(0, profile=FAILOVERS).world)
    found.sightings._groups[object()] = 3  # type: ignore[index]
    found.sightings.let_go()
    assert not found.sightings._groups
    whole = part(0, 3, FAILOVERS)
    assert not whole.sightings._groups
    assert pickle.loads(pickle.dumps(whole)).sightings.counts == whole.sightings.counts
