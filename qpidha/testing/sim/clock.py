"""The clock of one simulated node, which may jump and may run faster or slower than virtual time."""

from __future__ import annotations

from qpidha.testing.sim.scheduler import Scheduler


class SimClock:
    """A clock that starts at the virtual time 0. It cannot be compared with the clock of another node."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._shown = self._since = 0.0
        """What it showed when it was last set, and the virtual time of that."""
        self.rate = 1.0
        """Seconds of this clock in one second of virtual time."""
        self.rate_max = 1.0
        """The highest rate so far."""

    def now(self) -> float:
        """The time it shows, in seconds."""
        return self._shown + (self._scheduler.now - self._since) * self.rate

    def set(self, shows: float | None = None, *, rate: float | None = None) -> None:
        """Set the time in seconds, the rate or both; what is None stays as it is."""
        self._shown, self._since = (self.now() if shows is None else shows), self._scheduler.now
        self.rate = rate or self.rate
        self.rate_max = max(self.rate, self.rate_max)
