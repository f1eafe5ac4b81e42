"""Start and stop of a node: each once, and its resources are released in bounded time, whatever happens.

    new ──► starting ──► running ──► stopping ──► stopped
     └─────────┴── stop, or a failure ──┘

A node stops because it is asked to, or because something failed that it cannot go on without. Either way, in this order:

    1  answers in doubt, no more work (the core stops)
    2  side by side: the session is closed, so that others need not wait; the broker is demoted; the disk becomes idle
    3  links and listener are closed, then the store
    4  `Node.wait_stopped` returns, and the broker's ``on_stopped`` is called

    Each step has its share of ``stop_timeout_s``. The node does not wait longer for a step, and names it in
    `Stopped.held`. The store is never unlocked while a commit may still write: see `qpidha.node.disk`.

    The control socket of a node that stopped by itself continues to answer, with the reason, until `Node.stop` is called
    or the process ends.

Invariants:
  - `stopped` is set once, and after everything was released or given up
  - what stop() waits for takes no more than ``stop_timeout_s``, as long as the event loop runs
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from qpidha.errors import LocalProtocolError, QpidhaError
from qpidha.events import NodeFailed, NodeFailing, NodeStopped, ReleaseFailed
from qpidha.node.callbacks import described
from qpidha.node.cluster import Cluster
from qpidha.node.engine import Engine
from qpidha.node.heartbeat import Heartbeat
from qpidha.node.links import Links
from qpidha.node.notifier import BrokerNotifier
from qpidha.node.runtime import Runtime
from qpidha.types import Stopped

logger = logging.getLogger("qpidha")

WORK_SHARE: Final = 0.75
"""Part of the time in which session, broker and disk may come to their end."""
CLOSE_SHARE: Final = 0.9
"""Until here links and store are closed; what is left is for ``on_stopped``."""
STEP_S: Final = 0.2
"""Every step may take at least this long, even if the time is over: without a fault a step takes no time."""


class Control(Protocol):
    """Answers operators, for longer than the node runs: `qpidha.node.control.Control`."""

    async def stop(self) -> None:
        """Close the socket. May be called twice."""


class Life:
    """Start and end of one node."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        engine: Engine,
        cluster: Cluster,
        notifier: BrokerNotifier,
        links: Links,
        heartbeat: Heartbeat,
    ) -> None:
        self._runtime = runtime
        self._engine = engine
        self._cluster = cluster
        self._notifier = notifier
        self._links = links
        self._heartbeat = heartbeat
        self.control: Control | None = None
        """The control socket, if this node has one."""
        self.started = False
        """`start` was called."""
        self.stopped: Stopped | None = None
        self._error: BaseException | None = None
        self._starting: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._silent = False
        """The control socket is closed at the end, instead of answering "stopped: why"."""
        self._held: list[str] = []

    # --- start -----------------------------------------------------------------------------------

    async def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work of starting. If it fails, or `begin` is called meanwhile, everything is released again."""
        if self.started or self._runtime.stop_reason is not None:
            raise LocalProtocolError("a node is started once, and not after it was stopped: make another one")
        self.started = True
        self._starting = starting = asyncio.ensure_future(work())
        try:
            await asyncio.wait({starting})
            self._require_started(starting)
        except BaseException as error:
            starting.cancel()
            if self._runtime.stop_reason is None:
                self._runtime.stop_reason, self._error = f"it could not start: {described(error)}", error
            self._silent = True
            await self._until_done(self._end_with(self._clear_away(starting)))
            raise
        self._runtime.running = True

    def _require_started(self, starting: asyncio.Task[None]) -> None:
        if self._runtime.stop_reason is not None:
            raise LocalProtocolError(
                f"the node was stopped while it was starting: {self._runtime.stop_reason}"
            )
        starting.result()

    async def _clear_away(self, starting: asyncio.Task[None]) -> None:
        until = self._runtime.now() + self._runtime.settings.stop_timeout_s
        await self._within(until, start=lambda: asyncio.wait({starting}))
        await self.release(until)
        self._set_stopped()

    # --- stop ------------------------------------------------------------------------------------

    def store_failed(self, error: BaseException) -> None:
        """Stop: nothing that this node says can be trusted any more (D6)."""
        self._runtime.store_error = error
        self._runtime.tell(NodeFailing(error))
        self.begin(f"failed: {error}" if isinstance(error, QpidhaError) else f"failed: {error!r}", error)

    def begin(self, reason: str, error: BaseException | None = None) -> None:
        """Stop, for this reason. Of several the first one counts."""
        if self._runtime.stop_reason is not None:
            self._error = self._error or error  # It was asked to stop, and failed while it did.
            return
        self._runtime.stop_reason, self._error = reason, error
        self._runtime.running = False
        self._runtime.waits.look()
        if not self.started:
            self._set_stopped()
        elif self._starting is not None and not self._starting.done():
            self._starting.cancel()  # `start` releases what was opened.
        else:
            self._ending = self._end_with(self._end())

    async def stop(self) -> None:
        """Stop, and wait until it is over; but not if we are called by what has to return first."""
        self._silent = True
        self.begin("it was asked to stop")
        if self._notifier.inside is not None:
            return
        await self._over.wait()
        if self._ending is not None:
            await asyncio.shield(self._ending)
        await self._close_control()

    async def wait(self) -> Stopped:
        """Wait until the node has stopped; returns why."""
        await self._over.wait()
        assert self.stopped is not None
        return self.stopped

    def _end_with(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._ending = asyncio.get_running_loop().create_task(work, name="qpidha-stop")
        return task

    async def _end(self) -> None:
        runtime = self._runtime
        began, total_s = runtime.now(), runtime.settings.stop_timeout_s
        self._engine.cease()
        work_until = began + WORK_SHARE * total_s
        await self._within(
            work_until,
            session=self._cluster.stop,
            broker=lambda: self._notifier.finish(work_until - total_s / 20),
            disk=self._engine.idle,
        )
        self._engine.give_up_commit()
        await self.release(began + CLOSE_SHARE * total_s)
        self._set_stopped()
        if self.stopped is not None:
            await self._notifier.stopped(self.stopped, began + total_s)

    async def release(self, until: float) -> None:
        """Release all resources that are still held."""
        runtime = self._runtime
        runtime.stalls.stop()
        runtime.op_deadlines.stop()
        await self._within(until, session=self._cluster.stop, broker=lambda: self._notifier.finish(until))
        await self._within(until, links=self._close_links)
        hangs = self._engine.hangs
        await self._within(runtime.now() if hangs else until, store=self._engine.close)
        if self._silent:
            await self._within(until, control=self._close_control)

    async def _close_links(self) -> None:
        self._heartbeat.stop()
        await self._links.close()

    async def _close_control(self) -> None:
        if self.control is not None:
            await self.control.stop()

    def _set_stopped(self) -> None:
        held = tuple(what for what in dict.fromkeys(self._held) if what != "disk")
        self.stopped = Stopped(self._runtime.stop_reason or "", self._error, held)
        self._over.set()
        self._runtime.waits.look()
        reason = self._runtime.stop_reason or ""
        failed = self._error is not None or held
        self._runtime.tell(NodeFailed(reason, held) if failed else NodeStopped(reason))

    # --- steps with a limit ----------------------------------------------------------------------

    async def _within(self, until: float, **works: Callable[[], Awaitable[object]]) -> None:
        """Do these side by side, but no longer than until then. What fails or does not end is logged and noted."""
        until = max(until, self._runtime.now() + STEP_S)
        tasks = {what: asyncio.ensure_future(_run(work)) for what, work in works.items()}
        await self._until_done(*tasks.values(), until=until)
        for what, task in tasks.items():
            if task.cancelled():  # By the end of the event loop, not by us: it must be done nevertheless.
                tasks[what] = asyncio.ensure_future(_run(works[what]))
        await self._until_done(*tasks.values(), until=until)
        for what, task in tasks.items():
            if not task.done():
                task.cancel()
                self._held.append(what)
            elif task.cancelled() or task.exception() is not None:
                self._held.append(what)
                error = (None if task.cancelled() else task.exception()) or asyncio.CancelledError()
                event, id = ReleaseFailed(what, error), self._runtime.id
                extra = {"node": id, "event": event}
                logger.error("node %s: releasing %s failed", id, what, exc_info=error, extra=extra)
                self._runtime.tell(event, logged=False)  # The line above has the traceback.
                self._error = self._error or error

    async def _until_done(self, *tasks: asyncio.Task[Any], until: float | None = None) -> None:
        """Wait for these. Cancelling us does not stop what has to be released; the limit does."""
        while waiting := {task for task in tasks if not task.done()}:
            left_s = None if until is None else until - self._runtime.now()
            if left_s is not None and left_s <= 0:
                return
            try:
                await asyncio.wait(waiting, timeout=left_s)
            except asyncio.CancelledError:
                continue


async def _run(work: Callable[[], Awaitable[object]]) -> None:
    await work()
