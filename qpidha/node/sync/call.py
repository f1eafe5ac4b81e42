"""One call of a thread, from its request to its answer: made by the thread, begun and answered in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar, cast

from qpidha.errors import CallTimeout, InDoubt, NodeStopped, OpTimeout, QpidhaError, WaitTimeout
from qpidha.node.op import Op
from qpidha.node.sync.gate import Gate
from qpidha.types import NodeId

T = TypeVar("T")


class Call(Generic[T]):
    """A call of a function that returns at once."""

    def __init__(
        self, node: NodeId, method: Callable[..., Any], work: Callable[[], T], *, changes: bool
    ) -> None:
        """``method`` gives the call its name, ``work`` makes it; ``changes``: it may change something."""
        self._node = node
        self._method = method
        self._work = work
        self._changes = changes
        self._value: T | None = None
        self._error: BaseException | None = None
        self.answered = Gate()

    @property
    def name(self) -> str:
        """What the thread has called: "SyncQueue.enqueue"."""
        return name_of(self._method)

    # --- in the event loop -----------------------------------------------------------------------

    def begin(self) -> asyncio.Task[Any] | None:
        """Make the call. Returns the task that will answer it; None: it was answered."""
        try:
            value = self._work()
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise  # It is meant for the event loop, too: KeyboardInterrupt, SystemExit.
        else:
            self.answer(value)
        return None

    def answer(self, value: T) -> None:
        """Let the thread go on with this value."""
        self._value = value
        self.answered.open()

    def fail(self, error: BaseException) -> None:
        """Let the thread go on with this error."""
        self._error = error
        self.answered.open()

    def cancel(self) -> None:
        """The thread has given up."""

    # --- in the thread ---------------------------------------------------------------------------

    def result(self) -> T:
        """The answer, which is there. Raises the error if it is one."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # Its traceback refers to this frame.
        return cast("T", self._value)

    # --- no answer -------------------------------------------------------------------------------

    def unanswered(self, *, begun: bool) -> QpidhaError:
        """The error if the event loop has ended."""
        ended = f"{self.name}: the event loop of node {self._node!r} has ended"
        if begun and self._changes:
            return InDoubt(f"{ended} before it answered; the change may have been made")
        return NodeStopped(f"{ended}; nothing was changed")

    def late(self, timeout_s: float | None, *, begun: bool) -> QpidhaError:
        """The error if the thread does not wait any longer."""
        where = f"{self.name}: no answer of the event loop of node {self._node!r} within {timeout_s or 0:g} s"
        if begun and self._changes:
            return CallTimeout(f"{where}; the change may have been made, or may still be made")
        return WaitTimeout(f"{where}; nothing was changed")


class Change(Call[T]):
    """A call that makes a change, and is answered when that is safe: so its thread is woken once, and not twice."""

    def __init__(
        self, node: NodeId, method: Callable[..., Any], work: Callable[[], tuple[T, Op | None]]
    ) -> None:
        super().__init__(node, method, cast("Callable[[], T]", work), changes=True)
        self._make = work

    def begin(self) -> None:
        """Make the change. Answer, if there is nothing to wait for."""
        try:
            value, op = self._make()
            if op is None:
                self.answer(value)
            else:
                self._value = value
                op.add_safe_callback(self._told)
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise

    def _told(self, _: Op, error: QpidhaError | None) -> None:
        if error is None:
            self.answered.open()
        else:
            self.fail(error if isinstance(error, OpTimeout) else InDoubt(str(error)))


class Wait(Call[T]):
    """A call of a coroutine function."""

    def __init__(
        self,
        node: NodeId,
        method: Callable[..., Any],
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        changes: bool,
    ) -> None:
        super().__init__(node, method, cast("Callable[[], T]", work), changes=changes)
        self._begin = work
        self._task: asyncio.Task[T] | None = None
        self._given_up = False

    def begin(self) -> asyncio.Task[Any] | None:
        """Make the call, in a task."""
        self._task = task = asyncio.get_running_loop().create_task(self._begin(), name=f"qpidha-{self.name}")
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        """The thread has given up: end the task."""
        self._given_up = True
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            if not self._given_up:  # With all tasks of the loop, at its end.
                self.fail(self.unanswered(begun=True))
        elif (error := task.exception()) is not None:
            self.fail(error)
        else:
            self.answer(task.result())


def name_of(method: Callable[..., Any]) -> str:
    """What the thread has called: "SyncQueue.enqueue" for `Queue.enqueue`, or for a function inside that of this name."""
    owner = getattr(method, "__self__", None)
    if owner is not None:
        return f"Sync{type(owner).__name__.removeprefix('Sync')}.{method.__name__}"
    return method.__qualname__.partition(".<locals>")[0]
