"""Calls methods of a node, a queue and so on in the event loop, for a thread: with a limit to the time of each call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

from qpidha.checks import SECONDS_OR_ZERO, optional
from qpidha.errors import InDoubt, OpTimeout
from qpidha.node.op import Op
from qpidha.node.sync.call import Call, Change, Wait, name_of
from qpidha.node.sync.gate import Gate
from qpidha.node.sync.loopcalls import LoopCalls, Waited

P = ParamSpec("P")
T = TypeVar("T")
TIMEOUT = optional(SECONDS_OR_ZERO)

ANSWER_S = 1.0
"""A call with a time of its own ends by itself; the thread waits for its answer longer than that by so much."""


class LoopCaller:
    """What the counterparts of a node, its queues and so on share. It is given the method to call in the loop."""

    def __init__(self, calls: LoopCalls, timeout_s: float | None = None) -> None:
        TIMEOUT("timeout_s", timeout_s)
        self._calls = calls
        self._timeout_s = timeout_s
        """The time of calls that have none of their own; None: no limit."""

    def within(self, timeout_s: float | None) -> LoopCaller:
        """Another one, with this limit."""
        return LoopCaller(self._calls, timeout_s)

    def change(self, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method that may change something: if the loop does not answer, the change is in doubt."""
        return self.run(method, partial(method, *args, **kwargs))

    def run(self, method: Callable[..., Any], work: Callable[[], T]) -> T:
        """The same for a function that calls this method and does more."""
        return self._calls.run(Call(self._calls.node, method, work, changes=True), self._timeout_s)

    def run_safe(self, method: Callable[..., Any], work: Callable[[], tuple[T, Op | None]]) -> T:
        """The same for a function that returns a value and an op: wait until that is safe, too."""
        return self._calls.run(Change(self._calls.node, method, work), self._timeout_s)

    def read(self, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method that changes nothing."""
        work = partial(method, *args, **kwargs)
        return self._calls.run(Call(self._calls.node, method, work, changes=False), self._timeout_s)

    def wait(
        self,
        timeout_s: float | None,
        method: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Await a coroutine that changes nothing. ``timeout_s``: its own time, after which it ends by itself."""
        work = partial(method, *args, **kwargs)
        return self._calls.run(Wait(self._calls.node, method, work, changes=False), self._limit(timeout_s))

    def perform(
        self,
        timeout_s: float | None,
        method: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Await a coroutine that may change something."""
        work = partial(method, *args, **kwargs)
        return self._calls.run(Wait(self._calls.node, method, work, changes=True), self._limit(timeout_s))

    def wait_safe(self, method: Callable[..., Any], known: Gate, timeout_s: float | None) -> None:
        """Wait until the outcome of an op is known. Raises `OpTimeout`, or `InDoubt` if the event loop has ended."""
        name = name_of(method)
        if timeout_s is None:
            timeout_s = self._calls.op_timeout_s if self._timeout_s is None else self._timeout_s
        match self._calls.wait(name, known, timeout_s):
            case Waited.OPEN:
                pass
            case Waited.LATE:
                raise OpTimeout(
                    f"not safe after {timeout_s:g} s; nothing was undone, and it is still pending"
                )
            case Waited.ENDED:
                raise InDoubt(
                    f"{name}: the event loop of node {self._calls.node!r} has ended; the next primary may have what was "
                    "pending, or not"
                )

    def _limit(self, own_s: float | None) -> float | None:
        TIMEOUT("timeout_s", own_s)
        return self._timeout_s if own_s is None else own_s + ANSWER_S
