"""What one node has answered of late, and what follows from two answers: rates, latencies, how late a backup is.

Invariants:
  - samples are in the order of time, and no older than KEPT_S
  - a rate is taken between two answers of one process in one generation: counters begin again with either
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Any

from qpidha.cli.text import View, number
from qpidha.durations import BOUNDS_S

KEPT_S = 600.0
"""Positions are kept for so long: how late a backup is can be said up to this."""
RATE_S = 5.0
"""Rates are averages of this time."""
ID_TURN = 2**32
"""Ids of a queue begin again after so many."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long something took, in the last seconds."""

    mean_s: float
    p99_s: float
    """At most this in 99 of 100 cases, as exactly as the buckets of the counter are."""


@dataclass(frozen=True, slots=True)
class Lag:
    """For how long an operation that a backup lacks has been there."""

    seconds: float
    at_least: bool = False
    """It was there before the first answer."""


class Samples:
    """The answers of one node."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, dict[str, Any]]] = deque()
        """Whole answers of the last RATE_S, and the newest one before."""
        self._positions: deque[tuple[float, float]] = deque()
        """Of the present generation."""
        self._term: tuple[object, ...] = ()

    @property
    def newest(self) -> dict[str, Any] | None:
        """The newest answer; None: there is none."""
        return self._recent[-1][1] if self._recent else None

    @property
    def span_s(self) -> float:
        """The time between the answers that rates are taken from; 0: there are no two."""
        return self._recent[-1][0] - self._recent[0][0] if self._recent else 0.0

    def add(self, at: float, status: dict[str, Any]) -> None:
        """The node has answered. O(1)."""
        term = (status.get("generation"), status.get("role") in ("active", "recovering"))
        if term != self._term or self._restarted(status):
            self._recent.clear()
            self._positions.clear()
            self._term = term
        self._recent.append((at, status))
        while len(self._recent) > 2 and at - self._recent[1][0] >= RATE_S:
            self._recent.popleft()
        position = number(status.get("position"))
        if position is not None:
            self._positions.append((at, position))
        while self._positions and at - self._positions[0][0] > KEPT_S:
            self._positions.popleft()

    def _restarted(self, status: dict[str, Any]) -> bool:
        """Whether a counter that only grows is smaller than it was: this is another process."""
        if not self._recent:
            return False
        was = self._recent[-1][1]
        pairs = [(View(was.get(key)).raw("count"), View(status.get(key)).raw("count"))
                 for key in ("store_commits", "manager_answers")]  # fmt: skip
        pairs.append((was.get("position"), status.get("position")))
        return any((number(old) or 0) > (number(new) or 0) for old, new in pairs)

    # --- rates -----------------------------------------------------------------------------------

    def rate(self, key: str) -> float | None:
        """How fast a counter grows, per second. None: that is not known yet."""
        if self.span_s <= 0:
            return None
        first, last = (number(status.get(key)) for _, status in (self._recent[0], self._recent[-1]))
        return None if first is None or last is None else max(0.0, last - first) / self.span_s

    def queue_rate(self, id: object) -> float | None:
        """How many messages a second a queue takes."""
        if self.span_s <= 0:
            return None
        first, last = (_next_id(status, id) for _, status in (self._recent[0], self._recent[-1]))
        return None if first is None or last is None else (last - first) % ID_TURN / self.span_s

    def latency(self, key: str) -> Latency | None:
        """How long what `qpidha.durations` counts has taken. None: nothing was counted."""
        if self.span_s <= 0:
            return None
        first, last = (View(status.get(key)) for _, status in (self._recent[0], self._recent[-1]))
        count, total = (_difference(first, last, part) for part in ("count", "sum_s"))
        if not count or total is None:
            return None
        old, new = (view.items("buckets") for view in (first, last))
        grown = [(number(b) or 0) - (number(a) or 0) for a, b in zip(old, new, strict=False)]
        if len(grown) != len(BOUNDS_S) + 1:  # A node of another version has other buckets.
            return Latency(total / count, total / count)
        longest = number(last.raw("max_s")) or 0.0
        return Latency(total / count, min(_quantile(grown, 0.99), max(longest, total / count)))

    # --- lag -------------------------------------------------------------------------------------

    def lag(self, behind: float | None) -> Lag | None:
        """How late a backup is that lacks so many operations of this primary, when it answered last. O(log samples)."""
        if behind is None or not self._positions:
            return None
        if behind <= 0:
            return Lag(0.0)
        now, position = self._positions[-1]
        has = position - behind
        after = bisect_right(self._positions, has, key=lambda sample: sample[1])
        if after == 0:
            return Lag(now - self._positions[0][0], at_least=True)
        if after == len(self._positions):  # It lacks nothing after all: a forged answer.
            return None
        (t0, p0), (t1, p1) = self._positions[after - 1], self._positions[after]
        return Lag(now - (t0 + (has - p0) / (p1 - p0) * (t1 - t0)))


def _next_id(status: dict[str, Any], id: object) -> int | None:
    for queue in View(status).views("queues"):
        if queue.same("id", id):
            found = queue.raw("next_id")
            return found if type(found) is int else None
    return None


def _difference(first: View, last: View, key: str) -> float | None:
    was, now = number(first.raw(key)), number(last.raw(key))
    return None if was is None or now is None else now - was


def _quantile(buckets: list[float], part: float) -> float:
    """The upper bound of the bucket in which this part of all is reached. Infinite in the last one."""
    left = part * sum(buckets)
    for bound, count in zip(BOUNDS_S, buckets, strict=False):
        left -= count
        if left <= 1e-9:
            return bound
    return float("inf")
