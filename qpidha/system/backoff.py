"""How long to wait before the next attempt: longer after each failure, and never at the same time as others."""

from __future__ import annotations

import random
from collections.abc import Callable

SHORTEST_S = 0.001
"""Minimum of the first delay: doubling zero would have no effect."""


class Backoff:
    """The delays between attempts at one thing. Each doubles the one before it, up to a maximum."""

    def __init__(self, first_s: float, max_s: float, *, chance: Callable[[], float] = random.random) -> None:
        """``chance`` gives numbers from 0 to 1: of each delay up to a half is left out by chance.

        So nodes that lost the same thing at the same time do not all come back at the same time.
        """
        self._first_s = max(first_s, SHORTEST_S)
        self._max_s = max(max_s, self._first_s)
        self._chance = chance
        self._next_s = self._first_s

    def delay(self) -> float:
        """Seconds until the next attempt."""
        delay = self._next_s
        self._next_s = min(2 * delay, self._max_s)
        return delay * (1 - self._chance() / 2)

    def reset(self) -> None:
        """It worked, or something has changed: begin with the shortest delay."""
        self._next_s = self._first_s
