"""Long work in the event loop, a little of it in each turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

SLICE_S = 0.02
"""How long one piece of work may run before other work of the loop gets a turn."""


async def in_slices(steps: Iterable[None]) -> None:
    """Take all steps; whenever SLICE_S has passed, others have a turn. Stops between two steps if it is cancelled."""
    clock = asyncio.get_running_loop().time
    until = clock() + SLICE_S
    for _ in steps:
        if clock() > until:
            await asyncio.sleep(0)
            until = clock() + SLICE_S
