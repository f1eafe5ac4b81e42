"""An event loop in virtual time, and simulated processes in it that can be stopped, resumed and killed.

Nothing waits: when no callback is ready, the clock jumps to the next timer. All that a broker starts (tasks, timers,
connections) belongs to the process in which it was started, by a context variable. A process that is stopped or
killed runs no further callback, not even a ``finally``: its callbacks are parked.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol


class Process:
    """One simulated process of a node, from its start to its kill. ``str`` gives ``a.3``: the third of node a."""

    def __init__(self, node: str, number: int) -> None:
        self.node = node
        self.number = number
        self.alive = True
        """False: it was killed, and what its code still does while it is cleared away has no effect."""
        self.running = True
        """False: stopped or killed."""
        self.parked: deque[ProcessCallback] = deque()
        """Callbacks that became ready while it was stopped or killed, in order."""
        self.raised: list[BaseException] = []
        """Errors that its callbacks raised."""

    def __str__(self) -> str:
        return f"{self.node}.{self.number}"

    def pause(self) -> None:
        """Stop, as SIGSTOP does."""
        self.running = False

    def resume(self) -> None:
        """Continue, as SIGCONT does: parked callbacks run now, in order."""
        self.running = True
        parked, self.parked = self.parked, deque()
        for step in parked:
            step.again()

    def kill(self) -> None:
        """End at once, as SIGKILL does."""
        self.alive = self.running = False


PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)
"""The process whose code is running; None: code of the rehearsal, or a client."""


class Cancellable(Protocol):
    """A handle of the event loop."""

    def cancelled(self) -> bool:
        """Tell whether the callback was cancelled."""


class ProcessCallback:
    """A callback that runs only while its process does."""

    __slots__ = ("_args", "_callback", "_context", "_loop", "_process", "handle")

    handle: Cancellable

    def __init__(
        self,
        loop: VirtualLoop,
        process: Process,
        context: Context,
        callback: Callable[..., object],
        args: Any,
    ) -> None:
        self._loop = loop
        self._process = process
        self._context = context
        self._callback = callback
        self._args = args

    def __call__(self) -> None:
        """Run the callback, or park it while the process is stopped or killed."""
        if not self._process.running:
            self._process.parked.append(self)
            return
        try:
            self._callback(*self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - the loop of a process would report it and go on
            self._process.raised.append(error)

    def again(self) -> None:
        """Schedule a parked callback again, unless it was cancelled."""
        if not self.handle.cancelled():
            self.handle = self._loop.put(self, self._context)


LEAST_S = 1e-8
"""Least duration of a timer, in virtual seconds. asyncio runs a timer up to a nanosecond before its time; code that then
waits for the rest of that nanosecond would do so for ever, since no time passes while something is ready."""


class VirtualSelector(selectors.SelectSelector):
    """A selector whose time jumps instead of passing."""

    now = 0.0
    """Virtual time in seconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, or jump to the next timer. Raises RuntimeError if there is none."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("deadlock: every task waits, and no timer is set")
            self.now += max(timeout, 0.0)
        return ready


class NumberedFuture(asyncio.Future[Any]):
    """A future with a hash that is the same in each run, so that sets of futures have the same order."""

    def __init__(self, *, loop: VirtualLoop) -> None:
        self._number = next(loop.numbers)
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class NumberedTask(asyncio.Task[Any]):
    """A task with a hash that is the same in each run, as `NumberedFuture`."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: VirtualLoop, **options: Any) -> None:
        self._number = next(loop.numbers)
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class Connections(Protocol):
    """What carries connections: `qpidha.testing.rehearsal.network.Network`."""

    def listen(self, factory: Any, host: str, port: int) -> asyncio.AbstractServer:
        """Listen at this address."""

    async def connect(self, factory: Any, host: str, port: int) -> tuple[Any, Any]:
        """Connect to this address; returns transport and protocol."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs processes in virtual time. Connections go over ``network``; there are no threads and no sockets."""

    def __init__(self, network: Connections) -> None:
        self._selector = VirtualSelector()
        self._network = network
        self.numbers = itertools.count()
        """Of futures and tasks, in the order in which they are made."""
        super().__init__(self._selector)
        self.set_task_factory(lambda loop, coro, **options: NumberedTask(coro, loop=self, **options))

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future with a hash that is the same in each run."""
        return NumberedFuture(loop=self)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._selector.now

    # --- callbacks -------------------------------------------------------------------------------

    def put(self, step: Callable[[], object], context: Context | None) -> asyncio.Handle:
        """Schedule a callback in this context, whatever its process does."""
        return super().call_soon(step, context=context)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback at the next turn, if its process runs."""
        context = context if context is not None else copy_context()
        process = context.get(PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        step = ProcessCallback(self, process, context, callback, args)
        step.handle = handle = super().call_soon(step, context=context)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at this virtual time, if its process runs."""
        when = max(when, self.time() + LEAST_S)
        context = context if context is not None else copy_context()
        process = context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        step = ProcessCallback(self, process, context, callback, args)
        step.handle = handle = super().call_at(when, step, context=context)
        return handle

    # --- connections and threads -----------------------------------------------------------------

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, ssl: Any = None, **_: Any
    ) -> asyncio.AbstractServer:
        """Listen over ``network``. Raises NotImplementedError for TLS."""
        if ssl:
            raise NotImplementedError("no TLS in a rehearsal")
        return self._network.listen(protocol_factory, host or "127.0.0.1", port or 0)

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, ssl: Any = None, **_: Any
    ) -> tuple[Any, Any]:
        """Connect over ``network``. Raises NotImplementedError for TLS."""
        if ssl:
            raise NotImplementedError("no TLS in a rehearsal")
        return await self._network.connect(protocol_factory, host, port)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Raise NotImplementedError: the time of threads is not virtual."""
        raise NotImplementedError("no threads in a rehearsal: their time is not virtual")
