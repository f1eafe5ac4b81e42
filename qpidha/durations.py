"""How long something took, counted: enough for an average, a quantile and a histogram of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets, in seconds; one more bucket has none."""


@dataclass(frozen=True, slots=True)
class DurationCounts:
    """What was counted since the node was made. Plain data."""

    count: int
    sum_s: float
    max_s: float
    buckets: tuple[int, ...]
    """How many took at most ``BOUNDS_S[i]`` and longer than the bound before it; the last one counts all longer ones."""


class Durations:
    """Counts durations. One call is about half a microsecond."""

    __slots__ = ("_buckets", "_max_s", "_sum_s")

    def __init__(self) -> None:
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = self._max_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds
        self._max_s = max(self._max_s, seconds)

    def counts(self) -> DurationCounts:
        """What was counted until now."""
        return DurationCounts(sum(self._buckets), self._sum_s, self._max_s, tuple(self._buckets))
