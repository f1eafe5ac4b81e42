"""Tasks that wait for the node to reach a state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from qpidha.system.within import Limit

LOOK_S = 0.25
"""A wait looks at the clock this often, so that a pause of the process does not use up its time (T42)."""

Reached = Callable[[], bool]
"""True once the state is reached. May raise, which ends the wait. Must be cheap: it is called after every change."""


class Waits:
    """The waits of one node. A wait costs one call of its condition for each change of the node."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._waiting: dict[asyncio.Future[None], Reached] = {}

    def look(self) -> None:
        """Evaluate the conditions. Called after every change of the node that a condition may depend on."""
        if not self._waiting:
            return
        for future, reached in list(self._waiting.items()):
            if future.done():
                continue
            try:
                if reached():
                    future.set_result(None)
            except Exception as error:  # noqa: BLE001 - it belongs to the task that waits.
                future.set_exception(error)

    async def until(self, reached: Reached, timeout_s: float | None) -> bool:
        """Wait until the condition holds. False: it did not within this time. Raises what the condition raises."""
        if reached():
            return True
        limit = None if timeout_s is None else Limit(self._now, timeout_s)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = reached
        try:
            while not future.done():
                left_s = None if limit is None else min(limit.left_s, LOOK_S)
                await asyncio.wait({future}, timeout=left_s)
                if limit is not None and limit.is_over and not future.done():
                    return reached()
            future.result()
            return True
        finally:
            del self._waiting[future]
            if not future.cancel() and not future.cancelled():
                future.exception()  # Retrieved, so that asyncio does not log it if the waiting task was cancelled.
