"""Takes what a node keeps for its queues out of the sight of Python's garbage collector (`Settings.gc_policy`).

A full collection looks at every object that is alive and holds the interpreter meanwhile. What is frozen is not looked
at; freezing costs the same for any number of objects. It is done as the number of queues grows, so that a collection
finds a fraction of them at most.
"""

from __future__ import annotations

import gc

STEP_MIN = 1000
"""Freezing at every queue would make each young collection a part of it."""
GROWTH = 8
"""Freeze again after another eighth."""


class Freezing:
    """When to freeze, for one node."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._next = STEP_MIN

    def grown(self, queues: int) -> None:
        """So many queues are in memory now, each counted as often as it is kept. May be called often."""
        if not self._enabled:
            return
        grown = queues >= self._next
        again = queues + max(STEP_MIN, queues // GROWTH)
        self._next = again if grown else min(again, self._next)  # What is gone may come again.
        if grown:
            self.freeze()

    def freeze(self) -> None:
        """Whatever is alive stays out of sight from here on; it is freed when nothing refers to it, as ever."""
        if self._enabled:
            gc.collect(1)  # What is garbage already and young, so that it is not kept.
            gc.freeze()
