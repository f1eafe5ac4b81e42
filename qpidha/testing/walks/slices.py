"""A search that takes hours: in slices, each of which leaves one line in a log and is not run again.

Stopped and started with the same arguments, it goes on after the last slice that was finished; at its end the
sum is that of all slices, whoever ran them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from qpidha.testing.command import facts_of
from qpidha.testing.walks.profile import ORDINARY, Profile
from qpidha.testing.walks.sightings import Sightings
from qpidha.testing.walks.sweep import Sweep, sweep

Key: TypeAlias = tuple[int, int, str]
"""First seed, how many, which profile: what a line of the log is about."""


def in_slices(
    log: Path,
    first: int,
    runs: int,
    *,
    size: int,
    jobs: int = 1,
    failovers: int = 0,
    profile: Profile = ORDINARY,
    on_failure: Callable[[int, str], None] = lambda seed, error: None,
) -> Sweep:
    """All seeds from ``first`` on, with a line in ``log`` for each ``size`` of them.

    Args:
        log: Lines of JSON, one for each slice. Slices that are in it already are not run again.
        first: The first seed.
        runs: How many.
        size: Seeds of one slice.
        jobs: Processes; 0 for one a core.
        failovers: Begin no slice after this many failovers; 0: run all seeds.
        profile: What walks are drawn.
        on_failure: Called with the seed and the error of each failure.
    """
    known, total = read(log), Sweep(first)
    for at in range(first, first + runs, size):
        count = min(size, first + runs - at)
        found = known.get((at, count, profile.name))
        if found is None:
            found = sweep(at, count, jobs=jobs, profile=profile, on_failure=on_failure)
            write(log, found, profile)
        total.add(found)
        total.seconds += found.seconds
        if failovers and total.failovers >= failovers:
            break
    return total


def read(log: Path) -> dict[Key, Sweep]:
    """Return the finished slices of a log; an incomplete last line is ignored."""
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []:
        if line.endswith("\n"):
            facts = json.loads(line)
            found[facts["from"], facts["seeds"], facts["profile"]] = restored(facts)
    return found


def write(log: Path, found: Sweep, profile: Profile) -> None:
    """Append one line, in place of an incomplete last one."""
    with log.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps({"profile": profile.name, **facts_of(found)}).encode() + b"\n")


def restored(facts: dict[str, Any]) -> Sweep:
    """Return the sweep that `facts_of` wrote as a dictionary."""
    sightings = Sightings()
    sightings.counts.update(facts["counts"])
    return Sweep(
        first=facts["from"],
        runs=facts["seeds"],
        events=facts["events"],
        acknowledged=facts["acknowledged"],
        failures={failure["seed"]: failure["error"] for failure in facts["failures"]},
        sightings=sightings,
        apart=Counter(facts["apart"]),
        seconds=facts["seconds"],
    )
