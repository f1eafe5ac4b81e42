"""Rates, latencies and lag of two answers are those of a counter that was watched; a restart begins anew."""

from __future__ import annotations

from typing import Any

import pytest

from qpidha.cli.text import number
from qpidha.cli.top.samples import KEPT_S, Lag, Samples
from qpidha.durations import Durations


def status(position: object = 0, generation: int = 1, role: str = "active", **more: Any) -> dict[str, Any]:
    return {"position": position, "generation": generation, "role": role, **more}


def filled(*answers: tuple[float, dict[str, Any]]) -> Samples:
    samples = Samples()
    for at, answer in answers:
        samples.add(at, answer)
    return samples


def counted(*seconds: float) -> dict[str, Any]:
    durations = Durations()
    for each in seconds:
        durations.observe(each)
    found = durations.counts()
    return {"count": found.count, "sum_s": found.sum_s, "max_s": found.max_s, "buckets": list(found.buckets)}


def test_a_rate_is_an_average_of_the_last_seconds() -> None:
    samples = filled(*((float(at), status(100 * at)) for at in range(20)))
    assert samples.rate("position") == 100
    assert samples.span_s == 5.0
    samples.add(20.0, status(1900))
    assert samples.rate("position") == 80


def test_one_answer_is_no_rate() -> None:
    samples = filled((1.0, status(7)))
    assert samples.rate("position") is None and samples.latency("store_commits") is None
    assert samples.queue_rate("q") is None and Samples().rate("position") is None and Samples().newest is None


@pytest.mark.parametrize(
    "after",
    [
        status(5, generation=2),
        status(500, role="ready"),
        status(5),
        status(200, store_commits=counted(0.1)),
        status(200, manager_answers=counted()),
    ],
)
def test_counters_that_begin_again_are_not_compared(after: dict[str, Any]) -> None:
    commits = {"store_commits": counted(0.1, 0.1), "manager_answers": counted(0.1)}
    samples = filled((1.0, status(10, **commits)), (2.0, status(110, **commits)))
    assert samples.rate("position") == 100
    samples.add(3.0, after)
    assert samples.rate("position") is None
    assert samples.lag(1.0) == Lag(0.0, at_least=True)


def test_the_ids_of_a_queue_turn() -> None:
    def queues(next_id: int) -> dict[str, Any]:
        return status(queues=[{"id": "p", "next_id": 1}, {"id": "q", "next_id": next_id}])

    samples = filled((1.0, queues(2**32 - 5)), (2.0, queues(5)))
    assert samples.queue_rate("q") == 10
    assert samples.queue_rate("p") == 0
    assert samples.queue_rate("unknown") is None


def test_latencies_are_those_of_the_last_seconds() -> None:
    fast, slow = [0.001] * 200, [0.2]
    samples = filled(
        (1.0, status(store_commits=counted(5.0))), (2.0, status(store_commits=counted(5.0, *fast, *slow)))
    )
    found = samples.latency("store_commits")
    assert found is not None
    assert found.mean_s == pytest.approx(0.4 / 201) and found.p99_s == 0.001
    samples.add(3.0, status(store_commits=counted(5.0, *fast, *slow * 100)))
    found = samples.latency("store_commits")
    assert found is not None and found.p99_s == 0.25
    assert samples.latency("manager_answers") is None


def test_a_latency_without_the_known_buckets_is_its_mean() -> None:
    one, two = ({"count": n, "sum_s": n / 10, "max_s": 1.0, "buckets": [n]} for n in (1, 3))
    found = filled((1.0, status(store_commits=one)), (2.0, status(store_commits=two))).latency(
        "store_commits"
    )
    assert found is not None and found.mean_s == found.p99_s == pytest.approx(0.1)


def test_the_longest_is_not_longer_than_the_maximum() -> None:
    found = filled(
        (1.0, status(store_commits=counted())), (2.0, status(store_commits=counted(42.0)))
    ).latency("store_commits")
    assert found is not None and found.p99_s == 42.0


def test_the_lag_is_the_age_of_the_oldest_operation_that_is_missing() -> None:
    samples = filled((0.0, status(100)), (1.0, status(200)), (2.0, status(400)), (3.0, status(400)))
    assert samples.lag(0.0) == Lag(0.0)
    assert samples.lag(100.0) == Lag(pytest.approx(1.5))  # type: ignore[arg-type] # Half of the second second.
    assert samples.lag(200.0) == Lag(2.0)
    assert samples.lag(350.0) == Lag(3.0, at_least=True)
    assert samples.lag(None) is None and samples.lag(-1.0) == Lag(0.0)
    assert Samples().lag(1.0) is None


def test_positions_are_forgotten() -> None:
    samples = filled(*((float(at), status(at)) for at in range(0, 2000, 10)))
    assert samples.lag(1000.0) == Lag(KEPT_S, at_least=True)


@pytest.mark.parametrize("value", [None, True, "7", 10**40, float("inf"), float("nan"), [1]])
def test_what_is_no_number(value: object) -> None:
    assert number(value) is None
    assert filled((1.0, status(value)), (2.0, status(value))).rate("position") is None
