"""Waiting with a limit that a pause of this process does not use up (T42)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

PAUSE_S = 0.5
"""A process that looks at the clock again only after more than this was paused."""
MOMENT_S = 0.1
"""Extra time to handle what had arrived when the time was over."""


async def within(work: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """Like `asyncio.wait_for`, but what has arrived is handled before the time-out counts.

    After a pause of this process the time is over before anything that arrived meanwhile was read: `asyncio.wait_for`
    would then cancel the work.

    Raises:
        asyncio.TimeoutError: Not done in time; the work was cancelled. Whatever the work raises.
    """
    task = asyncio.ensure_future(work)
    try:
        for seconds in (timeout_s, MOMENT_S):
            await asyncio.wait({task}, timeout=seconds)
            if task.done():
                return task.result()
        raise asyncio.TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until_set(event: asyncio.Event, timeout_s: float | None) -> None:
    """Wait until an event is set, or for so long; None: without a limit.

    Before Python 3.12 `asyncio.wait_for` loses a cancellation that comes in the turn in which the event is set.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=timeout_s)
    finally:
        waiting.cancel()


class Limit:
    """The end of a wait that polls every few milliseconds."""

    def __init__(self, now: Callable[[], float], timeout_s: float) -> None:
        self._now = now
        self._looked_at = now()
        self._until = self._looked_at + timeout_s

    @property
    def is_over(self) -> bool:
        """Look. A pause since the last look does not count."""
        now = self._now()
        if now - self._looked_at > PAUSE_S:
            self._until += now - self._looked_at
        self._looked_at = now
        return now > self._until

    @property
    def left_s(self) -> float:
        """Seconds until the end, without a look; 0 at least."""
        return max(0.0, self._until - self._now())
