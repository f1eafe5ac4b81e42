"""Durations are counted in buckets: a bound belongs to the bucket below it, as in Prometheus."""

from __future__ import annotations

from qpidha.durations import BOUNDS_S, Durations


def test_nothing_was_counted() -> None:
    counts = Durations().counts()
    assert (counts.count, counts.sum_s, counts.max_s) == (0, 0.0, 0.0)
    assert counts.buckets == (0,) * (len(BOUNDS_S) + 1)


def test_each_duration_is_in_one_bucket() -> None:
    durations = Durations()
    for seconds in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, BOUNDS_S[-1], BOUNDS_S[-1] + 1.0):
        durations.observe(seconds)
    counts = durations.counts()
    assert counts.count == 5 and counts.max_s == BOUNDS_S[-1] + 1.0
    assert (counts.buckets[0], counts.buckets[1], counts.buckets[-2], counts.buckets[-1]) == (2, 1, 1, 1)
    assert counts.sum_s == sum((0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, BOUNDS_S[-1], BOUNDS_S[-1] + 1.0))


def test_what_was_read_does_not_change_any_more() -> None:
    durations = Durations()
    before = durations.counts()
    durations.observe(1.0)
    assert before.count == 0 and durations.counts().count == 1
