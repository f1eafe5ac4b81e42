"""Calls the embedding broker for changes of its node's role and for discarded messages: one call at a time.

The broker is brought to the node's *current* role; roles that are over by then are skipped.
The replication never waits for the broker. Each call has a time limit, after which it is cancelled, and counts as
failed:

    on_promote     another node takes over; if there is none, the broker is demoted and promoted again later
    on_demote      the broker counts as demoted
    on_discarded   the messages are offered again

The notifier does not wait for a call that still runs after it was cancelled (`stuck`); the node is not promoted before
that call has ended.

Invariants:
  - `Runtime.broker_generation` > 0 ⇒ on_promote(generation) was called and has not failed, and on_demote was not
    called since
  - for every on_promote there is one on_demote, before the next on_promote
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

from qpidha.core.ready import HandOver
from qpidha.events import BrokerMethodFailed
from qpidha.interfaces import Broker
from qpidha.node.callbacks import Call, described, inside, report
from qpidha.node.runtime import Runtime
from qpidha.system.backoff import Backoff
from qpidha.types import Generation, Stopped

OVER_S: Final = 1.0
"""How long on_promote may still run when its generation is over: there is no role to open for any more."""
CANCEL_S: Final = 1.0
"""How long a call may take to end after it was cancelled."""
SHORTEST_S: Final = 0.2
"""Every call may take at least this long, even if its time is over: otherwise it could be cancelled before it began."""
RETRY_S: Final = 1.0
"""Between two attempts to promote the broker of a node that no other node can replace; doubles."""


class BrokerNotifier:
    """Serialises the callbacks of one broker.

    Args:
        unfit: Called with a reason when the broker could not become primary: the place goes to another node.
    """

    def __init__(self, runtime: Runtime, broker: Broker, unfit: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._broker = broker
        self._unfit = unfit
        self.phase = "standby"
        """standby, promoting, serving, failed, demoting or discarding."""
        self.since = 0.0
        """Since when it is in this phase."""
        self.opened: Generation = 0
        """The last generation for which ``on_promote`` has returned."""
        self._errors: dict[str, str] = {}
        self._told: Generation = 0
        """on_promote was called for this generation, and on_demote not yet."""
        self._wanted: Generation = 0
        self._wanted_since = 0.0
        self._tried: Generation = 0
        self._retry_at = 0.0
        self._retry = Backoff(RETRY_S, runtime.settings.unfit_delay_s)
        self._discards: deque[HandOver] = deque()
        self._current: Call | None = None
        self._stuck: list[Call] = []
        self._end_by: float | None = None
        """The node is stopping: everything is to be over by then."""
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to call the broker."""
        self.since = self._runtime.now()
        self._task = asyncio.create_task(self._run(), name="qpidha-broker")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._runtime.broken(bug)

    # --- what is to be told ----------------------------------------------------------------------

    def role(self, generation: Generation) -> None:
        """The node is primary of this generation now; 0: it is not primary."""
        if generation != self._wanted:
            self._wanted, self._wanted_since = generation, self._runtime.now()
            self._changed.set()

    def discarded(self, discards: HandOver) -> None:
        """Give discarded messages to the broker, after the callbacks that are due before."""
        self._discards.append(discards)
        self._changed.set()

    async def finish(self, until: float) -> None:
        """Tell the broker that it is not primary, if it does not know, then end. Discarded messages are kept."""
        self.role(0)
        self._end_by = until
        self._discards.clear()
        self._changed.set()
        if self._task is not None:
            await asyncio.wait({self._task})
            await self._work()  # What is left if the task was cancelled, as the end of an event loop does.

    async def stopped(self, stopped: Stopped, until: float) -> None:
        """The last call: the node has ended."""
        on_stopped = getattr(self._broker, "on_stopped", None)
        if on_stopped is not None:
            self._end_by = until
            await self._call("on_stopped", on_stopped, stopped, deadline=lambda: until)

    # --- state -----------------------------------------------------------------------------------

    @property
    def inside(self) -> str | None:
        """The broker's method that our caller runs in: it must not wait for the end of that."""
        return inside(self)

    @property
    def stuck(self) -> list[str]:
        """Calls that were cancelled and go on."""
        self._stuck = [call for call in self._stuck if not call.done]
        return [call.what for call in self._stuck]

    @property
    def error(self) -> str | None:
        """What each method did wrong that has not succeeded since, or None."""
        return "; ".join(self._errors.values()) or None

    @property
    def promoting_for_s(self) -> float | None:
        """For how long the node has been primary, and the broker has not opened yet; None: that is not so."""
        if not self._wanted or (
            self._told == self._wanted and self.phase in ("serving", "failed", "discarding")
        ):
            return None
        return self._runtime.now() - self._wanted_since

    @property
    def overdue_s(self) -> float | None:
        """For how long the node has been primary, if that is too long for a broker that has not opened yet."""
        if not self._wanted or (self._told == self._wanted and self.phase in ("serving", "failed")):
            return None
        waited_s = self._runtime.now() - self._wanted_since
        late = self._tried != self._wanted and waited_s > self._runtime.settings.promote_timeout_s
        return waited_s if late else None

    def _enter(self, phase: str) -> None:
        self.phase, self.since = phase, self._runtime.now()
        self._runtime.waits.look()

    # --- one call after the other ----------------------------------------------------------------

    async def _run(self) -> None:
        while self._end_by is None:
            self._changed.clear()
            await self._work()
            if not self._changed.is_set() and self._end_by is None:
                await self._sleep()

    async def _sleep(self) -> None:
        """Until there is something to tell, or to try again."""
        wait_s = max(0.0, self._retry_at - self._runtime.now()) if self.phase == "failed" else None
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), wait_s)

    async def _work(self) -> None:
        """Everything that is to be told now."""
        while True:
            again = self.phase == "failed" and self._runtime.now() >= self._retry_at
            if self._told and (self._told != self._wanted or again):
                await self._demote()
            elif (
                self._wanted and not self._told and not self.stuck and self._runtime.is_current(self._wanted)
            ):
                await self._promote(self._wanted)
            elif self._discards:
                await self._hand_over(self._discards.popleft())
            else:
                return

    async def _promote(self, generation: Generation) -> None:
        began = self._runtime.now() if self._tried == generation else self._wanted_since
        limit_s = self._runtime.settings.promote_timeout_s

        def deadline() -> float:
            over = self._wanted != generation
            return min(began + limit_s, self._wanted_since + OVER_S) if over else began + limit_s

        self._runtime.broker_generation = self._told = self._tried = generation
        self._enter("promoting")
        error = await self._call("on_promote", self._broker.on_promote, generation, deadline=deadline)
        if error is None:
            self.opened = generation
            self._enter("serving")
            self._retry.reset()
            return
        self._runtime.broker_generation = 0
        self._enter("failed")
        self._retry_at = self._runtime.now() + self._retry.delay()
        if self._wanted == generation and self._end_by is None:
            self._unfit(f"the broker did not become primary: {error}")

    async def _demote(self) -> None:
        generation = self._told
        until = self._runtime.now() + self._runtime.settings.demote_timeout_s
        self._runtime.broker_generation = 0
        self._enter("demoting")
        await self._call("on_demote", self._broker.on_demote, generation, deadline=lambda: until)
        self._told = 0
        self._enter("standby")

    async def _hand_over(self, discards: HandOver) -> None:
        until = self._runtime.now() + self._runtime.settings.discard_timeout_s
        before = self.phase, self.since
        self._enter("discarding")
        error = await self._call(
            "on_discarded", self._broker.on_discarded, discards.messages, deadline=lambda: until
        )
        self.phase, self.since = before
        self._handed_over(discards, error is None)

    def _handed_over(self, discards: HandOver, taken: bool) -> None:
        """Tell the core whether the broker took discarded messages."""
        runtime = self._runtime
        if taken:
            runtime.replica.handed_over(discards.messages)
        else:
            runtime.replica.hand_over_failed(runtime.now())
        runtime.poke()

    async def _call(
        self, what: str, method: Callable[..., object], argument: object, *, deadline: Callable[[], float]
    ) -> str | None:
        """Call the broker. Returns what went wrong, in words."""
        if self._current is not None and not self._current.done:
            await self._give_up(
                self._current
            )  # Left over from a task that was cancelled with the event loop.
        call = self._current = Call(self, what, method, argument)
        took_s = await self._until_done(call, deadline)
        if not call.done:
            ended = await self._give_up(call)
            error = f"{what} had not returned after {took_s:.1f} s and was cancelled"
            error += "" if ended else f", and goes on {CANCEL_S:g} s later"
        elif call.error is not None:
            report(what, call.error)
            error = f"{what} failed: {described(call.error)}"
        else:
            self._errors.pop(what, None)
            self._runtime.troubles.clear(BrokerMethodFailed, what)
            return None
        self._runtime.troubles.report(BrokerMethodFailed(what, error))
        self._errors[what] = error
        return error

    async def _give_up(self, call: Call) -> bool:
        """Cancel a call. False: it goes on."""
        call.task.cancel()
        await asyncio.wait({call.task}, timeout=CANCEL_S)
        if not call.done:
            self._stuck.append(call)
            call.task.add_done_callback(lambda _: self._changed.set())
        return call.done

    async def _until_done(self, call: Call, deadline: Callable[[], float]) -> float:
        """Wait for a call until its deadline, which may come nearer meanwhile. Returns how long it was."""
        began = self._runtime.now()
        while True:
            until = deadline() if self._end_by is None else min(deadline(), self._end_by)
            left_s = max(until, began + SHORTEST_S) - self._runtime.now()
            if call.done or left_s <= 0:
                return self._runtime.now() - began
            self._changed.clear()
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait({call.task, changed}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
