"""Virtual time: one queue of events, ordered by (time, order of scheduling). The only source of order."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Action = Callable[[], None]


class Scheduler:
    """Runs actions at virtual times. Two runs that schedule the same do the same."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        """Actions run so far."""
        self._queue: list[tuple[float, int, Action]] = []
        self._order = 0

    def after(self, delay_s: float, action: Action) -> None:
        """Run this later; actions of the same instant run in the order in which they were scheduled."""
        self._order += 1
        heappush(self._queue, (self.now + delay_s, self._order, action))

    def _run_next(self) -> None:
        at, _, action = heappop(self._queue)
        self.now = max(self.now, at)
        self.steps += 1
        action()

    def run_until(self, time: float) -> None:
        """Run everything that is due until this instant, and stop there."""
        while self._queue and self._queue[0][0] <= time:
            self._run_next()
        self.now = max(self.now, time)

    def run_for(self, seconds: float) -> None:
        self.run_until(self.now + seconds)

    def run_while(self, condition: Callable[[], bool], *, limit_s: float) -> bool:
        """Run as long as the condition holds, at most this long. Says whether it ceased to hold."""
        end = self.now + limit_s
        while condition():
            if not self._queue or self._queue[0][0] > end:
                return False
            self._run_next()
        return True
