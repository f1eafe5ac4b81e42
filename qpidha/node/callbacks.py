"""Calls into the embedder's code. Whatever one of them does, the node and the completions of others continue.

    an exception                       logged with its traceback, and returned to the caller
    CancelledError                     the same: a task that the broker awaited was cancelled, not the node
    SystemExit, KeyboardInterrupt      the same, and then raised from the event loop, in a later turn: the process
                                       is to end, and `Node.stop` can still run while it does

A callback that fails at every message would fill the disk with tracebacks. So one traceback of each function is written
in LOG_INTERVAL_S, with the number of those that were left out.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar

logger = logging.getLogger("qpidha")

LOG_INTERVAL_S = 10.0
FUNCTIONS_MAX = 1000


class _Log:
    """When each function's failure was logged last, and how many failures were not logged since."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def failed(self, what: str, error: BaseException) -> None:
        now = time.monotonic()
        at, left_out = self._last.get(what, (-LOG_INTERVAL_S, 0))
        if now - at < LOG_INTERVAL_S:
            self._last[what] = at, left_out + 1
            return
        if len(self._last) >= FUNCTIONS_MAX:
            self._last.clear()
        self._last[what] = now, 0
        more = f" ({left_out} more since the last one)" if left_out else ""
        logger.error("the broker's %s failed: %s%s", what, described(error), more, exc_info=error)


_log = _Log()


def described(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, asyncio.CancelledError):
        return "CancelledError: a task that it waited for was cancelled"
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def report(what: str, error: BaseException) -> None:
    """Log what a callback raised. SystemExit and KeyboardInterrupt are raised again from the event loop."""
    _log.failed(what, error)
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        asyncio.get_running_loop().call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error


def name_of(callback: Callable[..., object]) -> str:
    """The name of a callback, for log lines."""
    return str(getattr(callback, "__qualname__", None) or type(callback).__qualname__)


def call(callback: Callable[..., object], *arguments: object, name: str = "") -> BaseException | None:
    """Call a plain function of the embedder's. Returns what it raised, after having logged it, under this name."""
    try:
        result = callback(*arguments)
        if result is not None:
            _refuse_coroutine(result)
    except BaseException as error:  # noqa: BLE001 - see above.
        report(name or name_of(callback), error)
        return error
    return None


def _refuse_coroutine(result: object) -> None:
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError("this callback must be a plain function, not a coroutine function")


class Call:
    """One call of a coroutine method of the broker, in its own task."""

    def __init__(self, owner: object, what: str, method: Callable[..., object], *arguments: object) -> None:
        self.owner = owner
        self.what = what
        self.error: BaseException | None = None
        """What it raised, once it is done."""
        self._method, self._arguments = method, arguments
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"qpidha-{what}")

    async def _run(self) -> None:
        _inside.set(self)
        try:
            await self._method(*self._arguments)  # type: ignore[misc]
        except GeneratorExit:
            raise  # The loop has ended: no task is left to tell.
        except BaseException as error:  # noqa: BLE001 - see above.
            self.error = error

    @property
    def done(self) -> bool:
        """Whether the call has ended."""
        return self.task.done()


_inside: ContextVar[Call | None] = ContextVar("qpidha_callback", default=None)


def inside(owner: object) -> str | None:
    """The method called for this owner in which this code runs, itself or in a task begun there.

    None outside, and once the method has returned.
    """
    current = _inside.get()
    return current.what if current is not None and current.owner is owner and not current.done else None
