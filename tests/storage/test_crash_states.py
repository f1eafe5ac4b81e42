"""E02–E08, E24, E25: whatever files a power cut leaves can be opened, and show what was promised.

A state that a disk may legally leave is never damage: each must open without an operator.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from qpidha.errors import QpidhaError
from tests.storage.crash import Effort, crash_states
from tests.storage.disk import Disk, Image, put
from tests.storage.oracle import CHECKS, Broken, Promise, promised
from tests.storage.shim import Action, Bench, Fault, Op
from tests.storage.workload import COMMITS, RECORDS

FEW = Effort(exhaustive=4, last=2, samples=8, cuts=0)
"""Effort for tests in which a fault must be found."""
RECOVERED = 6
"""Number of states that are recovered under the shim again, to crash during recovery."""


def broken(
    workload: str, states: Iterable[tuple[Image, Promise]], memory: Path
) -> tuple[list[str], set[int]]:
    """Return what is wrong with these states, and the numbers of commits that the correct ones show."""
    wrong, shown = [], set()
    for image, promise in states:
        with TemporaryDirectory(dir=memory) as name:
            put(image, Path(name))
            try:
                shown.add(CHECKS[workload](Path(name), promise))
            except (Broken, QpidhaError) as error:
                wrong.append(f"{type(error).__name__}: {error}; {describe(image)}")
    return wrong, shown


def describe(image: Image) -> str:
    return ", ".join(f"{name}: {len(content)}" for name, content in image.items() if content is not None)


def recorded(
    bench: Bench, workload: str, place: Path, effort: Effort, *, sabotage: str = ""
) -> list[tuple[Image, Promise]]:
    """Run a workload and yield its crash states."""
    calls = bench.run(workload, place, sabotage=sabotage)
    assert bench.signal == 0
    assert not promised(calls).failed
    return crash_states(calls, Disk(), effort)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("workload", "last"), [("live", len(COMMITS)), ("elect", RECORDS)])
def test_every_crash_state_keeps_its_promises(
    bench: Bench, place: Path, memory: Path, effort: Effort, workload: str, last: int
) -> None:
    states = recorded(bench, workload, place, effort)
    wrong, shown = broken(workload, states, memory)
    print(f"{workload}: {len(states)} crash states")
    assert not wrong, f"{len(wrong)} of {len(states)}, the first: {wrong[0]}"
    assert shown == set(range(last + 1)), "a crash can leave the state after each commit"


@pytest.mark.timeout(3600)
def test_a_crash_during_recovery(bench: Bench, place: Path, memory: Path, effort: Effort, full: bool) -> None:
    """E24: a second crash hits the recovery from the first one."""
    states = recorded(bench, "live", place, effort)
    tried = 0
    for image, promise in random.Random(24).sample(states, 25 * RECOVERED if full else RECOVERED):
        with TemporaryDirectory(dir=memory) as name:
            put(image, Path(name))
            disk = Disk(Path(name))
            calls = bench.run("recover", Path(name))
        again = crash_states(calls, disk, effort, given=promise)
        wrong, _ = broken("recover", again, memory)
        assert not wrong, f"after {describe(image)}: {wrong[0]}"
        tried += len(again)
    print(f"recover: {tried} crash states")


# --- the checks detect stores and disks that lose writes ---------------------------------------------


@pytest.mark.parametrize(
    ("workload", "sabotage"),
    [("live", "hurried"), ("live", "eager"), ("live", "nameless"), ("elect", "careless")],
)
def test_a_store_that_loses_writes_is_caught(
    bench: Bench, place: Path, memory: Path, workload: str, sabotage: str
) -> None:
    wrong, _ = broken(workload, recorded(bench, workload, place, FEW, sabotage=sabotage), memory)
    kinds = Counter(line.split(":")[0] for line in wrong)
    print(f"{sabotage}: {dict(kinds)}")
    assert kinds["Broken"] or kinds["ClusterError"], "neither lost data nor damage was detected"


@pytest.mark.parametrize("workload", ["live", "elect"])
def test_a_disk_that_ignores_fsync_is_caught(bench: Bench, place: Path, memory: Path, workload: str) -> None:
    """Every fsync reports success and does nothing: the test must see that promised data can be lost."""
    calls = bench.run(workload, place, Fault(Action.LOSE, ops=(Op.SYNC,)))
    known = [call for call in calls if call.hit is not Action.LOSE]
    wrong, _ = broken(workload, crash_states(known, Disk(), FEW), memory)
    assert len(known) < len(calls)
    assert any(line.startswith("Broken") for line in wrong)
