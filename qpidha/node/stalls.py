"""Measures stalls of the event loop: while one callback runs, heartbeats and all other work wait.

A timer fires every TICK_S; its delay is the length of the stall. The longest stalls since the start and of the last
minute are in the status; a stall of more than LOGGED_S is logged, at most once in LOG_INTERVAL_S, with the
number of stalls since the last line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from qpidha.events import LoopStalled

TICK_S = 0.05
RECENT_S = 60.0
LOGGED_S = 0.2
LOG_INTERVAL_S = 60.0


class Stalls:
    """The stalls of one event loop, as one node sees them.

    Args:
        tell: Called with an event.
        now: Monotonic seconds, the clock of the loop's timers.
    """

    def __init__(self, tell: Callable[[LoopStalled], None], now: Callable[[], float]) -> None:
        self.worst_s = 0.0
        """Since the start."""
        self._tell = tell
        self._now = now
        self._recent: deque[tuple[float, float]] = deque()
        """(when it ended, how long) of stalls of the last minute, each longer than all behind it."""
        self._count = 0
        """Stalls worth a line since the last line."""
        self._worst_unlogged_s = 0.0
        self._logged_at: float | None = None
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measure from now on. Called in the event loop."""
        self._due = self._now()
        self._wait()

    def stop(self) -> None:
        """Measure no more. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def recent_worst_s(self) -> float:
        """Of the last minute."""
        self._forget()
        return self._recent[0][1] if self._recent else 0.0

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = self._now() + TICK_S
        self._timer = loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self.saw(max(0.0, self._now() - self._due))
        self._wait()

    def saw(self, late_s: float) -> None:
        """The timer fired so late."""
        self.worst_s = max(self.worst_s, late_s)
        recent = self._recent
        while recent and recent[-1][1] <= late_s:
            recent.pop()
        recent.append((self._now(), late_s))
        self._forget()
        if late_s > LOGGED_S:
            self._count += 1
            self._worst_unlogged_s = max(self._worst_unlogged_s, late_s)
        if self._count and (self._logged_at is None or self._now() - self._logged_at >= LOG_INTERVAL_S):
            self._tell(LoopStalled(self._worst_unlogged_s, self._count))
            self._count, self._worst_unlogged_s, self._logged_at = 0, 0.0, self._now()

    def _forget(self) -> None:
        oldest = self._now() - RECENT_S
        while self._recent and self._recent[0][0] < oldest:
            self._recent.popleft()
