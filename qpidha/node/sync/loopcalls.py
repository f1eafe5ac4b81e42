"""Takes the calls of all threads into the event loop of one node, and has each thread wait for its answer.

All calls that are waiting when the loop comes round are made in one turn, in order. So what many threads publish at the
same time becomes one operation, as it does for callers in the loop. One call costs two changes of threads.

A thread looks from time to time whether the event loop still runs, so no call waits for a loop that has ended. A task in
the loop notices its orderly end, when all tasks are cancelled: from then on the loop may wait for the threads of its
executor, which must not wait for the loop.

Invariants:
  - a call is in ``_waiting`` until the loop takes it: one that is withdrawn from there has changed nothing
  - while calls are waiting, `_take` is scheduled, unless the loop has ended
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from enum import Enum
from threading import RLock, get_ident
from typing import Any, TypeVar

from qpidha.errors import WrongThread
from qpidha.node.caller import FORKED, wrong_thread
from qpidha.node.runtime import Runtime
from qpidha.node.sync.call import Call
from qpidha.node.sync.gate import Gate
from qpidha.types import NodeId

T = TypeVar("T")

LOOK_S = 0.5
"""How often a thread that waits looks whether the event loop still runs. A pause of the process counts as one look."""
LATE_S = 0.1
"""A look may be late by this much. If it is later, the process stood still, and the loop gets another look's time."""


GATHER_S = 0.001
"""The loop takes calls for so long at most before it does other work."""
PAUSE_S = 0.00001
"""How long the loop lets go of the interpreter after it has answered: only then can the threads make their next calls."""


class Waited(Enum):
    """What a thread has waited for."""

    OPEN = "the event loop has answered"
    LATE = "the time is over"
    ENDED = "the event loop has ended"


class LoopCalls:
    """See the module. One for each node."""

    def __init__(self, runtime: Runtime, until_stopped: Callable[[], Awaitable[object]]) -> None:
        """``until_stopped`` waits for the end of the node."""
        self._runtime = runtime
        self._until_stopped = until_stopped
        self._lock = RLock()
        """Reentrant, because a signal handler may make a call in the middle of another one."""
        self._waiting: deque[Call[Any]] = deque()
        self._scheduled = False
        self._ended = False
        self._context = copy_context()
        """Context variables in the loop: not those of the thread that happens to be first in a turn."""
        # Below: used in the event loop only.
        self._begun: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def node(self) -> NodeId:
        """The name of the node."""
        return self._runtime.id

    @property
    def op_timeout_s(self) -> float | None:
        """The time of waits for ops that have none of their own."""
        return self._runtime.settings.op_timeout_s

    # --- in the threads --------------------------------------------------------------------------

    def run(self, call: Call[T], timeout_s: float | None) -> T:
        """Have this call made in the event loop, and wait for its answer.

        Raises:
            WrongThread: Called in the event loop, which would wait for itself.
            LocalProtocolError: The node has not started.
            qpidha.errors.NodeStopped: The event loop has ended. Nothing was changed.
            InDoubt: The event loop ended after it had begun the call.
            WaitTimeout: The loop did not begin the call in this time, and will not; or it changes nothing.
            CallTimeout: The loop has begun the call, and has not answered in this time.
            ForkedError: The node belongs to the parent of this process.
            Exception: Whatever the call raises.
        """
        loop = self._require_loop(call.name)
        try:
            self._send(loop, call)
            waited = self._wait(loop, call.answered, timeout_s)
            if waited is Waited.OPEN:
                return call.result()
            begun = not self._give_up(loop, call)
        except BaseException:  # `KeyboardInterrupt`, or what another signal handler raises.
            _ = self._give_up(loop, call)
            raise
        if begun and call.answered.wait(0):
            return call.result()  # The answer came at the last moment.
        raise call.late(timeout_s, begun=begun) if waited is Waited.LATE else call.unanswered(begun=begun)

    def wait(self, name: str, gate: Gate, timeout_s: float | None) -> Waited:
        """Wait until the event loop opens this gate. ``name``: what the thread has called.

        Raises:
            WrongThread, LocalProtocolError, ForkedError: As for `run`.
        """
        return self._wait(self._require_loop(name), gate, timeout_s)

    def _require_loop(self, name: str) -> asyncio.AbstractEventLoop:
        thread, loop = self._runtime.thread, self._runtime.loop
        if loop is None or thread == FORKED:
            raise wrong_thread(name, thread)
        if thread == get_ident():
            raise WrongThread(
                f"{name} was called in the node's event loop, which would wait for itself: use the node, queue or op "
                "itself there, not node.sync"
            )
        return loop

    def _send(self, loop: asyncio.AbstractEventLoop, call: Call[Any]) -> None:
        with self._lock:
            if self._ended or loop.is_closed():
                raise call.unanswered(begun=False)
            self._waiting.append(call)
            if not self._scheduled:
                try:
                    loop.call_soon_threadsafe(self._take, context=self._context)
                except RuntimeError:  # It was closed just now.
                    raise call.unanswered(begun=False) from None
                self._scheduled = True

    def _wait(self, loop: asyncio.AbstractEventLoop, gate: Gate, timeout_s: float | None) -> Waited:
        left_s = timeout_s
        while True:
            look_s = LOOK_S if left_s is None or left_s <= 0 else min(LOOK_S, left_s)
            began = time.monotonic()
            if gate.wait(look_s):
                return Waited.OPEN
            stood_still = time.monotonic() - began > look_s + LATE_S
            if left_s is not None:
                left_s -= look_s
                if left_s <= 0 and not stood_still:
                    return Waited.LATE
            if self._ended or not loop.is_running():
                return Waited.ENDED

    def _give_up(self, loop: asyncio.AbstractEventLoop, call: Call[Any]) -> bool:
        """Withdraw a call. True: it was not begun, and never will be. False: the loop had taken it."""
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)
                return True
        with suppress(RuntimeError):  # The loop is closed.
            loop.call_soon_threadsafe(call.cancel)
        return False

    # --- in the event loop -----------------------------------------------------------------------

    def _take(self) -> None:
        """Make all calls that are waiting, and those that the threads make when they have got their answers."""
        loop = asyncio.get_running_loop()
        if self._watch is None:
            self._watch = loop.create_task(self._watch_loop(), name="qpidha-threads")
        until = time.monotonic() + GATHER_S
        try:
            while self._begin() and time.monotonic() < until:
                time.sleep(PAUSE_S)
        finally:
            with self._lock:
                self._scheduled = bool(self._waiting)
                if self._scheduled:
                    loop.call_soon(self._take, context=self._context)

    def _begin(self) -> bool:
        """Make the calls that are waiting now. Whether there were any."""
        with self._lock:
            calls, self._waiting = self._waiting, deque()
        found = bool(calls)
        try:
            while calls:
                if (task := calls.popleft().begin()) is not None:
                    self._begun.add(task)
                    task.add_done_callback(self._begun.discard)
        finally:
            if calls:  # One has raised what ends the loop, which may be run again.
                with self._lock:
                    self._waiting.extendleft(reversed(calls))
        return found

    async def _watch_loop(self) -> None:
        """Until the node has stopped: if this is cancelled, all tasks are, because the loop ends."""
        try:
            await self._until_stopped()
        except asyncio.CancelledError:
            self._end()
            raise

    def _end(self) -> None:
        """The event loop ends: no thread may wait for it any more."""
        with self._lock:
            self._ended = True
            waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.fail(call.unanswered(begun=False))
        for task in self._begun:
            task.cancel()
