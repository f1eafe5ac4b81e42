"""Whole clusters keep every promise under random failures, and recover once the failures end.

Method: `qpidha.testing.walks.walk` draws a run from a seed: clients, crashes, cuts, pauses, slow and failing disks,
lost answers of the manager, wiped stores, promotions; then the faults end, and the cluster must converge and drain.
The checkers check every event. One seed is one exact run:

    python -m qpidha.testing SEED
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qpidha.core import lineage
from qpidha.testing import Walk

SAVED = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
RUNS = 300
PART = 50


def run(seed: int, *, wire: bool = True) -> Walk:
    walk = Walk(seed, wire=wire)
    try:
        walk.run()
    except Exception as error:
        raise AssertionError(f"python -m qpidha.testing {seed}") from error
    return walk


@pytest.mark.parametrize("seed", SAVED)
def test_seeds_that_once_found_something(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("first", range(0, RUNS, PART))
def test_random_walks(first: int) -> None:
    acknowledged = sum(len(run(seed).world.checker.acked) for seed in range(first, first + PART))
    assert acknowledged > 10 * PART, "the walks do too little"


def test_walks_with_trimmed_lineages(monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: the same with very short lineages. The only effect is that some fates are unknown."""
    monkeypatch.setattr(lineage, "ENTRIES_KEPT", 1)
    for seed in range(50_000, 50_000 + PART):
        run(seed)


def test_the_same_seed_is_the_same_run() -> None:
    for seed in range(5):
        assert run(seed).world.hash == run(seed).world.hash


def test_the_same_seed_is_the_same_run_in_another_process() -> None:
    """A run must not depend on the iteration order of sets, which differs between processes."""
    root = Path(__file__).parent.parent.parent
    outputs = [
        subprocess.run(
            [sys.executable, "-m", "qpidha.testing", "7"],
            env={**os.environ, "PYTHONHASHSEED": salt},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for salt in ("1", "2")
    ]
    assert "clean, hash" in outputs[0]
    assert outputs[0] == outputs[1]


def test_the_wire_changes_nothing() -> None:
    """Frames passed as objects give the same events as frames that were encoded, cut and decoded."""
    for seed in range(5):
        assert run(seed).world.hash == run(seed, wire=False).world.hash


def test_walks_reach_what_they_are_for() -> None:
    """Everything the protocol has a rule for happens in a few dozen walks."""
    seen: set[str] = set()
    words = (
        "resubscribe", "drop held", "drop staged", "hands over", "undone-move", "in doubt", "settle in doubt",
        "established", "refused:", "store failed", "dequeue", "skip", "| enqueue",
    )  # fmt: skip
    for seed in range(80):
        walk = Walk(seed)
        walk.world.listeners.append(lambda line: seen.update(w for w in words if w in line))
        walk.run()
    assert set(words) - seen == set()
