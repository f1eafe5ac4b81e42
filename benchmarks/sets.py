"""What a SequenceSet costs beside others: pyroaring's bitmaps, and a sorted vector in C++ as Qpid has it.

All in one process and one thread, nanoseconds a call, the best of a few rounds; the C++ figures are without Python.

Two kinds of sets. *Single ids*, every fourth one: the holes of a queue at their worst, and a bitmap at its best, since
it is dense. *Runs* of 500 ids on average with gaps as long: what out-of-order consumption by batches leaves. A
SequenceSet costs by the run, a bitmap by the 65,536 ids.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qpidha import SequenceSet

CALLS = 10_000
ROUNDS = 7
STEP = 4
"""Distance of the single ids: there is room between them."""
LENGTH_MAX = 999

Runs = list[tuple[int, int]]
Sets = Callable[[Runs], Any]
"""Makes a set of runs, each (first, last)."""


def single_ids(count: int) -> Runs:
    return [(id, id) for id in range(0, STEP * count, STEP)]


def long_runs(count: int, seed: int = 1) -> Runs:
    chance, found, id = random.Random(seed), [], 0
    for _ in range(count):
        first = id + chance.randint(2, LENGTH_MAX)
        id = first + chance.randint(0, LENGTH_MAX - 1)
        found.append((first, id))
    return found


def ours(runs: Runs) -> SequenceSet:
    return SequenceSet(runs)


def roaring(runs: Runs) -> Any:
    from pyroaring import BitMap64

    made = BitMap64()
    for first, last in runs:
        made.add_range(first, last + 1)
    made.run_optimize()
    return made


def has_roaring() -> bool:
    return importlib.util.find_spec("pyroaring") is not None


def has_compiler() -> bool:
    return shutil.which("c++") is not None


def best(calls: int, prepare: Callable[[], Any], work: Callable[[Any], object]) -> float:
    """Nanoseconds a call."""
    found = []
    for _ in range(ROUNDS):
        prepared = prepare()
        started = time.perf_counter()
        work(prepared)
        found.append((time.perf_counter() - started) / calls * 1e9)
    return min(found)


def add_next(make: Sets) -> float:
    """The id after the last one, as a queue gives them out."""

    def work(s: Any) -> None:
        add = s.add
        for id in range(CALLS):
            add(id)

    return best(CALLS, lambda: make([]), work)


def contains(make: Sets) -> float:
    """An id of the newest run."""

    def work(s: Any) -> None:
        for id in range(CALLS):
            id in s  # noqa: B015

    return best(CALLS, lambda: make([(0, CALLS)]), work)


def remove_first(make: Sets, runs: int) -> float:
    """The first single id goes, then the next: consumption in order out of a queue full of holes."""

    def work(s: Any) -> None:
        discard = s.discard
        for id in range(0, STEP * CALLS, STEP):
            discard(id)

    whole = make(single_ids(runs))
    return best(CALLS, whole.copy, work)


def put_between(make: Sets, runs: int) -> float:
    """Put a separate run between two single ids, at random."""
    chance = random.Random(1)
    ids = [STEP * chance.randrange(runs) + 2 for _ in range(CALLS)]

    def work(s: Any) -> None:
        add = s.add
        for id in ids:
            add(id)

    whole = make(single_ids(runs))
    return best(CALLS, whole.copy, work)


def algebra(make: Sets, combine: Callable[[Any, Any], Any], runs: int) -> float:
    """Milliseconds for two unrelated sets of so many long runs."""
    a, b = make(long_runs(runs, 1)), make(long_runs(runs, 2))
    return best(1, lambda: None, lambda _: combine(a, b)) / 1e6


@cache
def cpp(runs: int) -> tuple[float, float]:
    """Nanoseconds of the C++ vector: a removal of the first run, an insertion at random."""
    with TemporaryDirectory() as home:
        program = Path(home) / "rangeset"
        source = Path(__file__).with_name("rangeset.cpp")
        subprocess.run(["c++", "-O2", "-o", str(program), str(source)], check=True)
        done = subprocess.run(
            [str(program), str(runs), str(CALLS)], check=True, capture_output=True, text=True
        )
    removal, insertion, _ = done.stdout.split()
    return float(removal), float(insertion)
