"""An event loop in virtual time, and lives: processes that can be stopped, resumed and killed within it.

Nothing waits: when there is nothing left to do now, the clock jumps to the next timer. Whatever a broker starts
(tasks, timers, connections) belongs to the life it was started in, by a context variable. A life that is
stopped or killed takes no further step, not even a ``finally``: what it would do next is parked.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol


class Life:
    """One process of one node, from its start to its kill."""

    def __init__(self, node: str, number: int) -> None:
        self.node = node
        self.number = number
        self.alive = True
        """False: what it still does, while it is cleared away, reaches nobody."""
        self.running = True
        """False: stopped or killed."""
        self.parked: deque[Turn] = deque()
        self.raised: list[BaseException] = []
        """What its callbacks raised."""

    def __str__(self) -> str:
        return f"{self.node}.{self.number}"

    def pause(self) -> None:
        """As SIGSTOP does."""
        self.running = False

    def resume(self) -> None:
        """As SIGCONT does: everything that was due meanwhile happens now, in order."""
        self.running = True
        parked, self.parked = self.parked, deque()
        for turn in parked:
            turn.again()

    def kill(self) -> None:
        """As SIGKILL does."""
        self.alive = self.running = False


LIFE: ContextVar[Life | None] = ContextVar("LIFE", default=None)
"""Whose code is running; None: the world's."""


class Cancellable(Protocol):
    """A handle of the event loop."""

    def cancelled(self) -> bool:
        """Tell whether the callback was cancelled."""


class Turn:
    """A callback of a life: runs if the life does."""

    __slots__ = ("_args", "_callback", "_context", "_life", "_loop", "handle")

    handle: Cancellable

    def __init__(
        self, loop: VirtualLoop, life: Life, context: Context, callback: Callable[..., object], args: Any
    ) -> None:
        self._loop = loop
        self._life = life
        self._context = context
        self._callback = callback
        self._args = args

    def __call__(self) -> None:
        """Run the callback, or park it while the life is stopped or killed."""
        if not self._life.running:
            self._life.parked.append(self)
            return
        try:
            self._callback(*self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - the loop of a process would report it and go on
            self._life.raised.append(error)

    def again(self) -> None:
        """Take the step after all, unless it was cancelled."""
        if not self.handle.cancelled():
            self.handle = self._loop.put(self, self._context)


class Jumps(selectors.SelectSelector):
    """Waits for nothing: time jumps instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, or jump to the next timer. Raises RuntimeError if there is none."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everything waits for something that cannot happen any more")
            self.now += max(timeout, 0.0)
        return ready


class Connections(Protocol):
    """Where connections go: `qpidha.testing.rehearsal.net.Wires`."""

    def listen(self, factory: Any, host: str, port: int) -> asyncio.AbstractServer:
        """Listen at this address."""

    async def connect(self, factory: Any, host: str, port: int) -> tuple[Any, Any]:
        """Connect to this address; returns transport and protocol."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs lives. Connections go over ``wires``; there are no threads, files or sockets."""

    def __init__(self, wires: Connections) -> None:
        self._jumps = Jumps()
        self._wires = wires
        super().__init__(self._jumps)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumps.now

    # --- steps -----------------------------------------------------------------------------------

    def put(self, turn: Callable[[], object], context: Context | None) -> asyncio.Handle:
        """Let this happen in this context, whosever it is."""
        return super().call_soon(turn, context=context)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback at the next turn, if its life runs."""
        context = context if context is not None else copy_context()
        life = context.get(LIFE)
        if life is None:
            return super().call_soon(callback, *args, context=context)
        turn = Turn(self, life, context, callback, args)
        turn.handle = handle = super().call_soon(turn, context=context)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at this virtual time, if its life runs."""
        context = context if context is not None else copy_context()
        life = context.get(LIFE)
        if life is None:
            return super().call_at(when, callback, *args, context=context)
        turn = Turn(self, life, context, callback, args)
        turn.handle = handle = super().call_at(when, turn, context=context)
        return handle

    # --- the world -------------------------------------------------------------------------------

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, ssl: Any = None, **_: Any
    ) -> asyncio.AbstractServer:
        """Listen over ``wires``. Raises NotImplementedError for TLS."""
        if ssl:
            raise NotImplementedError("no TLS in a rehearsal")
        return self._wires.listen(protocol_factory, host or "127.0.0.1", port or 0)

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, ssl: Any = None, **_: Any
    ) -> tuple[Any, Any]:
        """Connect over ``wires``. Raises NotImplementedError for TLS."""
        if ssl:
            raise NotImplementedError("no TLS in a rehearsal")
        return await self._wires.connect(protocol_factory, host, port)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Raise NotImplementedError: the time of threads is not virtual."""
        raise NotImplementedError("no threads in a rehearsal: their time is not virtual")
