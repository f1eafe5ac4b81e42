"""What SequenceSet and SequenceTracker cost, in the steady state and at 500,000 runs.

Method: pytest-benchmark, no timed assertions. A round of a benchmark of single calls makes as many calls as
its ``extra_info`` says: divide by that. Compare between sizes: nothing may grow with the set.

    python -m pytest benchmarks/test_bench_seq.py --benchmark-columns=min,median,rounds
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from typing import Any

import pytest

from qpidha.seq import SequenceSet, SequenceTracker, serial_lt

CALLS = 10_000
MANY = 500_000
ALGEBRA = 100_000


def evens(runs: int) -> SequenceSet:
    return SequenceSet(range(0, 2 * runs, 2))


def scattered(seed: int, runs: int) -> SequenceSet:
    """Runs of 1 to 9 ids with gaps of 1 to 10, so that two of these overlap in every possible way."""
    rng, s, id = random.Random(seed), SequenceSet(), 0
    for _ in range(runs):
        first = id + rng.randrange(2, 12)
        id = first + rng.randrange(9)
        s.add(first, id)
    return s


def per_call(benchmark: Any, work: Callable[..., None], setup: Callable[[], tuple[Any, ...]]) -> None:
    benchmark.extra_info["calls per round"] = CALLS
    benchmark.pedantic(work, setup=lambda: (setup(), {}), rounds=30, warmup_rounds=2)


# --- the steady state -----------------------------------------------------------------------------


def test_add_the_next_id(benchmark: Any) -> None:
    def work(s: SequenceSet) -> None:
        add = s.add
        for id in range(CALLS):
            add(id)

    per_call(benchmark, work, lambda: (SequenceSet(),))


def test_add_a_run_at_the_end(benchmark: Any) -> None:
    def work(s: SequenceSet) -> None:
        add = s.add
        for id in range(0, 2 * CALLS, 2):
            add(id)

    per_call(benchmark, work, lambda: (SequenceSet(),))


def test_contains_in_the_newest_run(benchmark: Any) -> None:
    s = SequenceSet([3, (10, 10 + CALLS)])

    def work() -> None:
        for id in range(10, 10 + CALLS):
            id in s  # noqa: B015

    per_call(benchmark, work, tuple)


@pytest.mark.parametrize("runs", [100, 10_000, MANY])
def test_first_in_first_out(benchmark: Any, runs: int) -> None:
    """One call adds at the end and one removes the first run."""

    def work(s: SequenceSet) -> None:
        add, discard = s.add, s.discard
        for id in range(0, 2 * CALLS, 2):
            add(id + 2 * runs)
            discard(id)

    per_call(benchmark, work, lambda: (evens(runs),))


def test_allocate(benchmark: Any) -> None:
    def work(t: SequenceTracker) -> None:
        allocate = t.allocate
        for _ in range(CALLS):
            allocate()

    per_call(benchmark, work, lambda: (SequenceTracker(),))


def test_receive_in_order(benchmark: Any) -> None:
    def work(t: SequenceTracker) -> None:
        receive = t.receive
        for id in range(1, CALLS + 1):
            receive(id)

    per_call(benchmark, work, lambda: (SequenceTracker(),))


def test_unwrap(benchmark: Any) -> None:
    t = SequenceTracker(2**32 - CALLS // 2)

    def work() -> None:
        unwrap = t.unwrap
        for wire in range(CALLS):
            unwrap(wire)

    per_call(benchmark, work, tuple)


def test_serial_lt(benchmark: Any) -> None:
    def work() -> None:
        for number in range(CALLS):
            serial_lt(number, 2**31 - 1)

    per_call(benchmark, work, tuple)


# --- many runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [10_000, MANY])
def test_contains_at_random(benchmark: Any, runs: int) -> None:
    s, rng = evens(runs), random.Random(1)
    ids = [rng.randrange(2 * runs) for _ in range(CALLS)]

    def work() -> None:
        for id in ids:
            id in s  # noqa: B015

    per_call(benchmark, work, tuple)


@pytest.mark.parametrize("runs", [20_000, MANY])
def test_remove_the_first_run(benchmark: Any, runs: int) -> None:
    """Qpid's C++ RangeSet takes 10.9 us at 200,000 runs, because it shifts them all."""

    def work(s: SequenceSet) -> None:
        discard = s.discard
        for id in range(0, 2 * CALLS, 2):
            discard(id)

    whole = evens(runs)
    per_call(benchmark, work, lambda: (whole.copy(),))


@pytest.mark.parametrize("runs", [20_000, MANY])
@pytest.mark.parametrize("change", ["add", "discard"])
def test_change_at_random(benchmark: Any, runs: int, change: str) -> None:
    rng, whole = random.Random(1), evens(runs)
    ids = rng.sample(range(0, 2 * runs, 2), CALLS)
    if change == "add":
        for id in ids:
            whole.discard(id)

    def work(s: SequenceSet) -> None:
        call = getattr(s, change)
        for id in ids:
            call(id)

    per_call(benchmark, work, lambda: (whole.copy(),))


@pytest.mark.parametrize("runs", [0, MANY])
def test_add_descending(benchmark: Any, runs: int) -> None:
    above = SequenceSet(range(4 * CALLS, 4 * CALLS + 2 * runs, 2))

    def work(s: SequenceSet) -> None:
        add = s.add
        for id in range(2 * CALLS, 0, -2):
            add(id)

    per_call(benchmark, work, lambda: (above.copy(),))


def test_build_at_random_to_500k_runs(benchmark: Any) -> None:
    ids = list(range(0, 2 * MANY, 2))
    random.Random(1).shuffle(ids)

    def work() -> None:
        add = SequenceSet().add
        for id in ids:
            add(id)

    benchmark.extra_info["calls per round"] = MANY
    benchmark.pedantic(work, rounds=3)


# --- whole sets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("combine", [operator.or_, operator.and_, operator.sub, operator.xor])
@pytest.mark.parametrize("other", ["unrelated", "similar", "one run"])
def test_algebra_on_100k_runs(benchmark: Any, combine: Callable[..., SequenceSet], other: str) -> None:
    a = scattered(1, ALGEBRA)
    b = {
        "unrelated": lambda: scattered(2, ALGEBRA),
        "similar": lambda: SequenceSet((first + 1, last + 1) for first, last in a.runs()),
        "one run": lambda: SequenceSet.from_range(a.last // 2, a.last // 2 + 9),
    }[other]()
    kept = a.copy()  # Keeps the heap from being trimmed between rounds, as in a node that runs.
    benchmark(combine, a, b)
    assert kept == a


def test_subset_of_100k_runs(benchmark: Any) -> None:
    a = scattered(1, ALGEBRA)
    whole = a | scattered(2, ALGEBRA)
    assert benchmark(a.issubset, whole)


def test_encode_100k_runs(benchmark: Any) -> None:
    assert benchmark(scattered(1, ALGEBRA).encode)


def test_decode_100k_runs(benchmark: Any) -> None:
    assert benchmark(SequenceSet.decode, scattered(1, ALGEBRA).encode())


def test_encode_and_decode_an_acknowledgement(benchmark: Any) -> None:
    s = SequenceSet([(2**40, 2**40 + 60), 2**40 + 63])
    assert benchmark(lambda: SequenceSet.decode(s.encode())) == s
