"""Many random walks: on all cores, with everything counted, and what fails made short."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from qpidha.testing.walks.profile import ORDINARY, Profile
from qpidha.testing.walks.shrink import attempt
from qpidha.testing.walks.sightings import Sightings
from qpidha.testing.walks.walk import Walk

PART = 50
"""Number of seeds of one task of a process."""


@dataclass
class Sweep:
    """The results of a range of seeds."""

    first: int
    runs: int = 0
    events: int = 0
    acknowledged: int = 0
    """Number of messages whose publish was answered OK."""
    failures: dict[int, str] = field(default_factory=dict)
    """Errors by seed."""
    sightings: Sightings = field(default_factory=Sightings)
    apart: Counter[str] = field(default_factory=Counter)
    """Runs that ended early outside of what the protocol promises, by reason: no failures, and no successes."""
    seconds: float = 0.0
    """Elapsed wall-clock time, for all processes together."""

    @property
    def failovers(self) -> int:
        """How many failovers came to a served client (`Sightings.failovers`)."""
        return self.sightings.failovers

    def add(self, other: Sweep) -> None:
        """Add the results of other seeds, except their time."""
        self.runs += other.runs
        self.events += other.events
        self.acknowledged += other.acknowledged
        self.failures.update(other.failures)
        self.apart.update(other.apart)
        self.sightings.counts.update(other.sightings.counts)


def part(first: int, runs: int, profile: Profile = ORDINARY) -> Sweep:
    """Run ``runs`` seeds from ``first`` on, one after the other."""
    found = Sweep(first)
    for seed in range(first, first + runs):
        walk = Walk(seed, profile=profile)
        found.sightings.watch(walk.world)
        if error := attempt(walk):
            found.failures[seed] = error
        elif walk.apart:
            found.apart[walk.apart] += 1
        found.runs += 1
        found.events += walk.world.scheduler.steps
        found.acknowledged += len(walk.world.checker.acked)
        found.sightings.counts.update(walk.world.counts)
    found.sightings.let_go()
    return found


def sweep(
    first: int,
    runs: int,
    *,
    jobs: int = 1,
    seconds_max: float | None = None,
    on_failure: Callable[[int, str], None] = lambda seed, error: None,
    on_part: Callable[[int, int], None] = lambda done, runs: None,
    profile: Profile = ORDINARY,
) -> Sweep:
    """All seeds from ``first`` on; fewer if the time is over before.

    Args:
        first: The first seed.
        runs: How many.
        jobs: Processes; 0 for one a core. With one, nothing is forked.
        seconds_max: No part is begun after this time.
        on_failure: Called with the seed and the error of each failure, as its task ends.
        on_part: Called with the number of seeds that were run so far, and ``runs``.
        profile: What walks are drawn.
    """
    began = time.perf_counter()
    total = Sweep(first)
    for found in _parts(first, runs, jobs or os.cpu_count() or 1, began, seconds_max, profile):
        total.add(found)
        on_part(total.runs, runs)
        for seed, error in found.failures.items():
            on_failure(seed, error)
    total.seconds = time.perf_counter() - began
    return total


def _parts(
    first: int, runs: int, jobs: int, began: float, seconds_max: float | None, profile: Profile
) -> Iterator[Sweep]:
    work = [(at, min(PART, first + runs - at), profile) for at in range(first, first + runs, PART)]

    def is_over() -> bool:
        return seconds_max is not None and time.perf_counter() - began > seconds_max

    if jobs == 1:
        for some in work:
            if is_over():
                return
            yield part(*some)
        return
    with ProcessPoolExecutor(jobs) as pool:
        rest = iter(work)
        running = {pool.submit(part, *some) for _, some in zip(range(2 * jobs), rest, strict=False)}
        while running:
            done = next(as_completed(running))
            running.remove(done)
            yield done.result()
            if not is_over() and (more := next(rest, None)) is not None:
                running.add(pool.submit(part, *more))
