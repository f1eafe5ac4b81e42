"""Virtual time: one queue of events, ordered by (time, order of scheduling)."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Action = Callable[[], None]


class Scheduler:
    """Runs actions at virtual times (seconds), in an order that depends on the calls only."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        """Actions run so far."""
        self._queue: list[tuple[float, int, Action]] = []
        self._order = 0

    def after(self, delay_s: float, action: Action) -> None:
        """Run an action after ``delay_s``; actions of the same time run in the order of scheduling."""
        self._order += 1
        heappush(self._queue, (self.now + delay_s, self._order, action))

    def _run_next(self) -> None:
        at, _, action = heappop(self._queue)
        self.now = max(self.now, at)
        self.steps += 1
        action()

    def run_until(self, time: float) -> None:
        """Run every action that is due until this time, and set the clock to it."""
        while self._queue and self._queue[0][0] <= time:
            self._run_next()
        self.now = max(self.now, time)

    def run_for(self, seconds: float) -> None:
        """Run everything that is due in the next ``seconds`` of virtual time."""
        self.run_until(self.now + seconds)

    def run_while(self, condition: Callable[[], bool], *, limit_s: float) -> bool:
        """Run while the condition holds, at most ``limit_s``. Returns whether it ceased to hold."""
        end = self.now + limit_s
        while condition():
            if not self._queue or self._queue[0][0] > end:
                return False
            self._run_next()
        return True
