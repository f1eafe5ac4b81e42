"""Rehearsals with several clients, of a broker with objects, keys, queues, transactions and producers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from qpidha.testing import Violation
from qpidha.testing.rehearsal import Quiet, Rehearsal, Report
from tests.rehearsal import example, wide

SEEDS = range(8)
VALUES = 90


def rehearsal(seed: int, session: type[wide.Session] = wide.Session, **parameters: Any) -> Rehearsal:
    parameters = {"rounds": 2, "requests": wide.Requests, "publishers": 2, "consumers": 3, **parameters}
    return Rehearsal(wide.node(session), wide.publish, wide.consume, seed=seed, values=VALUES, **parameters)


@cache
def rehearse(seed: int) -> Report:
    return rehearsal(seed).run()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_broker_with_everything_keeps_it(seed: int) -> None:
    report = rehearse(seed)
    assert report.confirmed > VALUES, "values, and what was committed or published once"
    assert report.requests > 20
    assert report.reads > 5


@pytest.mark.parametrize("seed", range(4))
def test_the_example_broker_has_several_publishers_and_consumers(seed: int) -> None:
    report = Rehearsal(
        example.node(),
        example.publish,
        example.consume,
        seed=seed,
        values=VALUES,
        publishers=3,
        consumers=2,
        rounds=2,
    ).run()
    assert report.confirmed == VALUES


@pytest.mark.parametrize(
    ("session", "rules"),
    [
        (wide.TellsEarly, {"S1", "S3"}),
        (wide.ForgetsAnObject, {"S1", "Q7"}),
        (wide.DeliversTwice, {"S3"}),
        (wide.CommitsInParts, {"TX1"}),
        (wide.ForgetsProducers, {"EO1", "S3"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "-".join(sorted(value)),
)
def test_a_planted_bug_is_found(session: type[wide.Session], rules: set[str], tmp_path: Path) -> None:
    for seed in range(20):
        try:
            rehearsal(seed, session, dump=tmp_path).run()
        except Violation as violation:
            if str(violation).partition(":")[0] in rules:
                assert (tmp_path / f"seed-{seed}" / "violation.txt").exists()
                return
    pytest.fail(f"no seed finds that {session.__name__} breaks one of {rules}")


def test_a_broker_that_answers_reads_without_a_barrier_is_found(tmp_path: Path) -> None:
    for seed in range(20):
        made = rehearsal(
            seed, wide.ReadsAtOnce, dump=tmp_path, rounds=1, consumers=1, requesters=3, readers=3
        )
        made.faults.kinds = [made.faults.cut_off]
        try:
            made.run()
        except Violation as violation:
            assert str(violation).startswith("Q7: ")
            assert " should be " in str(violation)
            return
    pytest.fail("no seed finds an answer of a primary that was replaced")


def test_a_dump_says_everything(tmp_path: Path) -> None:
    parent = tmp_path / "new" / "dumps"
    for name in ("seed-0", "seed-0.2"):
        with pytest.raises(Violation, match="S3: ") as found:
            rehearsal(0, wide.DeliversTwice, dump=parent).run()
        directory = parent / name
        assert f"seed 0, everything is in {directory}" in str(found.value)
    texts = {path.name: path.read_text() for path in directory.iterdir()}
    assert texts["violation.txt"].startswith("S3: ")
    assert "Rehearsal(…, seed=0, nodes=3, values=90" in texts["violation.txt"]
    assert texts["schedule.txt"].count(" start ") >= 3
    assert "confirmed value 0.0" in texts["clients.txt"]
    assert "VIOLATION S3: " in texts["clients.txt"]
    assert json.loads(texts["report.json"])["seed"] == 0
    assert "generation=" in texts["record.txt"]
    assert all("queue 'work' " in texts[f"node-{node}.txt"] for node in "abc")
    statuses = [json.loads(text) for name, text in texts.items() if name.startswith("status-")]
    assert statuses
    assert all({"node", "role", "queues"} <= status.keys() for status in statuses)


def test_own_checks_are_called_at_rest_and_named_when_they_fail(tmp_path: Path) -> None:
    seen: list[Quiet] = []

    async def users_are_alike(quiet: Quiet) -> None:
        seen.append(quiet)
        users = [node.configuration.objects("user") for node in quiet.nodes.values()]
        assert len(users) == 3
        assert all(found == users[0] for found in users)
        assert quiet.ledger.at_rest

    async def everything_is_lost(quiet: Quiet) -> None:
        assert not quiet.final, "what was published is still here"

    report = rehearsal(1, rounds=3, checks=[users_are_alike]).run()
    assert [quiet.final for quiet in seen] == [False, False, True]
    assert report.checks == 3
    with pytest.raises(Violation, match=r"\Aeverything_is_lost: what was published is still here"):
        rehearsal(1, checks=[everything_is_lost], dump=tmp_path).run()


def test_a_client_has_only_the_abilities_that_it_says() -> None:
    class Objects(wide.Client):
        put_object = wide.Requests.put_object
        delete_object = wide.Requests.delete_object
        get_object = wide.Requests.get_object

    made = rehearsal(2, requests=Objects)
    report = made.run()
    assert report.requests > 20
    assert report.confirmed == VALUES
    assert not any(" key r" in event or " queue r" in event for event in made.clients.ledger.events)
    nothing = rehearsal(2, requests=wide.Client).run()
    assert nothing.requests == nothing.reads == 0
    assert rehearsal(2, readers=0).run().reads == 0


def test_the_same_seed_has_the_same_kinds_of_faults() -> None:
    one, other, third = (rehearsal(seed) for seed in (3, 3, 4))
    kinds = [[kind.__name__ for kind in made.faults.kinds] for made in (one, other, third)]
    assert kinds[0] == kinds[1] != kinds[2]
    assert one.network.delay_s == other.network.delay_s
