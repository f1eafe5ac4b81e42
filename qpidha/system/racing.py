"""Several ways to the same end: the next is begun when the one before it fails or is slow (RFC 8305)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
STAGGER_S = 0.25
"""How long an attempt is alone before the next one begins beside it, as RFC 8305 recommends."""


class AllFailed(Exception):
    """No attempt succeeded.

    Attributes:
        errors: What each attempt raised, in the order in which they failed.
    """

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = list(errors)


async def first_of(
    attempts: Sequence[Callable[[], Coroutine[Any, Any, T]]],
    expected: tuple[type[Exception], ...],
    undo: Callable[[T], None],
    stagger_s: float = STAGGER_S,
) -> tuple[int, T]:
    """The number and the result of the first attempt that succeeds. The others are cancelled.

    Args:
        expected: An attempt that raises one of these has failed. Anything else is raised at once.
        undo: Called with the result of each further attempt that had succeeded before it could be cancelled.

    Raises:
        AllFailed: Each attempt raised one of ``expected``.
    """
    running: dict[asyncio.Task[T], int] = {}
    failed: list[Exception] = []
    won: asyncio.Task[T] | None = None
    begun = 0
    try:
        while won is None and (running or begun < len(attempts)):
            if begun < len(attempts):
                running[asyncio.ensure_future(attempts[begun]())] = begun
                begun += 1
            timeout_s = stagger_s if begun < len(attempts) else None
            await asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task.done()]:
                error = task.exception()
                if error is None:
                    won = won or task
                elif not isinstance(error, expected):
                    raise error
                else:
                    failed.append(error)
                    del running[task]
        if won is None:
            raise AllFailed(failed)
        return running[won], won.result()
    finally:
        await _end([task for task in running if task is not won], undo)


async def _end(losers: list[asyncio.Task[T]], undo: Callable[[T], None]) -> None:
    for task in losers:
        task.cancel()
    for result in await asyncio.gather(*losers, return_exceptions=True):
        if not isinstance(result, BaseException):
            undo(result)
