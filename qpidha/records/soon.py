"""A read of the record that can wait for a moment, because a watch probably makes it needless."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SOON_S = 0.05
"""So long a watch that works may take to tell a change."""


class Soon:
    """Has everything read in a moment, once for all that ask for it meanwhile.

    At a failover each link that ends and each role that changes asks, on all nodes at the same time, when their
    processors have most to do. What they ask for is told by the watch, unless that hangs. For one event loop.
    """

    def __init__(self, read: Callable[[], None]) -> None:
        self._read = read
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Read in a moment. Never blocks."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SOON_S, self.now)

    def now(self) -> None:
        """Read at once, which is also what was asked for before."""
        self.cancel()
        self._read()

    def cancel(self) -> None:
        """Forget what was asked for."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
