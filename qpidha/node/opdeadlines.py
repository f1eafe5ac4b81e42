"""Deadlines of operations: a wait for an op that is not safe in time ends, and the op stays pending.

Only time in which this process runs is counted. After a jump of the clock, a pause of the process or a blocked event
loop all deadlines would otherwise be over at once, while acknowledgements that arrived meanwhile wait to be read. So the
time between two checks counts as LOOK_S + LATE_S at most, and after a longer gap no wait ends before one more check.

An entry is made for each wait with a deadline; other ops cost nothing. There is one timer, which runs while there are
entries. An op that completes leaves its entry in the heap; such entries are removed when they outnumber the others.

Invariants (`check`):
  - the heap has every entry that is not over; those that are over do not outnumber them by more than SPARE
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Protocol

from qpidha.errors import ensure

LOOK_S = 0.1
"""The longest time between two checks, while there are deadlines."""
LATE_S = 0.1
"""A check may be late by this much. If it is later, the process or its event loop stood still."""
SPARE = 64
"""Entries that are over are not removed before there are so many more of them than of the others."""


class Entry(Protocol):
    """A wait for an op, with a deadline."""

    @property
    def timeout_s(self) -> float:
        """How long it may take."""

    @property
    def over(self) -> bool:
        """The wait has ended."""

    def expire(self) -> None:
        """End the wait: the outcome is not known in time."""


class OpDeadlines:
    """The deadlines of one node.

    Args:
        default_s: The deadline of waits for which the caller gives none. None: they have no deadline.
    """

    def __init__(self, default_s: float | None = None) -> None:
        self.default_s = default_s
        self._entries: list[tuple[float, int, Entry]] = []
        self._count = 0
        self._over = 0
        """The number of entries that are over."""
        self._lived = 0.0
        self._at = 0.0
        """When ``_lived`` was updated last, by the clock of the loop."""
        self._stood_still = False
        """A pause was found: no wait ends before the next check."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._entries) - self._over

    def add(self, entry: Entry) -> None:
        """Expire this entry after its time, unless it is over by then. O(log entries). Call it in the event loop."""
        now = asyncio.get_running_loop().time()
        if self._timer is None:
            self._at = now
        self._live_until(now)
        self._count += 1
        heapq.heappush(self._entries, (self._lived + entry.timeout_s, self._count, entry))
        self._wait()

    def answered(self) -> None:
        """One entry ended before its deadline."""
        self._over += 1
        if self._over > len(self) + SPARE:
            self._entries = [item for item in self._entries if not item[2].over]
            heapq.heapify(self._entries)
            self._over = 0

    def stop(self) -> None:
        """Expire nothing any more. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _live_until(self, now: float) -> None:
        passed = max(0.0, now - self._at)
        self._at = now
        if passed > LOOK_S + LATE_S:
            self._stood_still = True
        self._lived += min(passed, LOOK_S + LATE_S)

    def _wait(self) -> None:
        """Schedule the next check: at the first deadline, or earlier to notice a pause."""
        loop = asyncio.get_running_loop()
        delay_s = LOOK_S
        if not self._stood_still:
            delay_s = min(max(0.0, self._entries[0][0] - self._lived), LOOK_S)
        when = self._at + delay_s
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        second, self._stood_still = self._stood_still, False
        self._live_until(asyncio.get_running_loop().time())
        if second or not self._stood_still:
            self._stood_still = False
            self._end()
        if len(self):
            self._wait()
        else:
            self._entries, self._over = [], 0

    def _end(self) -> None:
        """Expire the entries whose time is over."""
        while self._entries and (self._entries[0][2].over or self._entries[0][0] <= self._lived):
            entry = heapq.heappop(self._entries)[2]
            if entry.over:
                self._over -= 1
            else:
                entry.expire()

    def check(self) -> None:
        """Raise `InvariantError` if an invariant does not hold. For tests."""
        over = sum(entry.over for _, _, entry in self._entries)
        ensure(over == self._over, "entries that are over are counted")
        ensure(over <= len(self) + SPARE, "entries that are over are removed")
