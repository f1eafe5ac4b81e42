"""The example broker keeps its promises in rehearsals, and brokers with a planted bug are found out."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

import pytest

from qpidha.testing import Violation
from qpidha.testing.rehearsal import NodeParts, Rehearsal, Report, Workload
from tests.rehearsal.example import Forgetful, Hasty, Swapped, consume, example, node, publish

SEEDS = range(20)
VALUES = 200


@cache
def rehearse(seed: int, client: type[example.Client] = example.Client, dump: Path | None = None) -> Report:
    return Rehearsal(node(client), publish, consume, seed=seed, values=VALUES, dump=dump).run()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_example_broker_loses_nothing(seed: int) -> None:
    report = rehearse(seed)
    assert report.confirmed == VALUES
    out_of_reach = [text for text in report.raised if "ended: Unavailable" in text]
    assert report.raised == out_of_reach, "started without the manager; nothing else goes wrong"


def test_every_kind_of_fault_happens() -> None:
    kinds = {kind for seed in SEEDS for kind in rehearse(seed).faults}
    assert len(kinds) == 10


@pytest.mark.parametrize(("client", "rule"), [(Hasty, "S1"), (Forgetful, "S1"), (Swapped, "S4")], ids=str)
def test_a_planted_bug_is_found(client: type[example.Client], rule: str, tmp_path: Path) -> None:
    """Hasty confirms what is not safe, Forgetful settles what it has only sent, Swapped reorders."""
    for seed in SEEDS:
        try:
            rehearse(seed, client, tmp_path)
        except Violation as violation:
            if str(violation).startswith(rule):
                assert f"seed {seed}" in str(violation)
                return
    pytest.fail(f"no seed in {SEEDS} finds that {client.__name__} breaks {rule}")


def test_a_broker_that_never_serves_is_stuck(tmp_path: Path) -> None:
    async def idle(parts: NodeParts) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Violation, match="S5: of 5 values"):
        Rehearsal(idle, publish, consume, seed=1, values=5, faults_s=1, patience_s=20, dump=tmp_path).run()


def test_what_a_client_raises_comes_out() -> None:
    async def broken(workload: Workload) -> None:
        raise KeyError("no such client")

    with pytest.raises(KeyError, match="no such client"):
        Rehearsal(node(), broken, consume, seed=1, values=5, faults_s=1).run()


def test_threads_are_refused() -> None:
    async def threaded(workload: Workload) -> None:
        await asyncio.to_thread(print)

    with pytest.raises(NotImplementedError, match="no threads"):
        Rehearsal(node(), threaded, consume, seed=1, values=5, faults_s=1).run()
