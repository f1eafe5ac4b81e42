"""A record store, its session and a promoter in a thread, for a broker without asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from qpidha.bridge.events import Answered, BridgeEvent, Decided, Failed, LiveSeen, RecordSeen, Retrying
from qpidha.bridge.loopthread import LoopThread, end_all
from qpidha.bridge.requests import ask
from qpidha.core.ready import Request
from qpidha.errors import ClusterError, InvariantError, LocalProtocolError
from qpidha.interfaces import Promoter, RecordStore, Session
from qpidha.settings import Settings
from qpidha.system.backoff import Backoff
from qpidha.system.within import within
from qpidha.types import NodeId, NodeInfo, Versioned
from qpidha.wire.info import decode_info, encode_info

T = TypeVar("T")

LOOKS_PER_TTL = 8
"""How often, in one TTL of the session, the bridge looks whether the broker's thread is alive."""


class Bridge:
    """Runs asyncio parts in a thread. The broker's thread calls methods, and takes events from a queue.

    ::

        bridge = Bridge("a", lambda: FileRecordStore(shared), promoter=PriorityPromoter(), wake=selector_wake)
        found = bridge.open()                    # the record, to check the store with
        bridge.join(NodeInfo(peer=address, ...)) # this node is live from now on
        ...
        for event in bridge.take():              # after each wake
            ...
        bridge.alive(eligible=...)               # at every tick
        bridge.close()

    The session tells other nodes that this one lives. The bridge alone would keep it alive while the broker's thread
    hangs, and no other node would take over. So the session is closed when `alive` was not called for
    ``Settings.session_ttl_s``, and opened again when it is called.

    Methods may be called from any thread but that of the bridge. Those that wait say so.
    """

    def __init__(
        self,
        node: NodeId,
        records: Callable[[], RecordStore],
        *,
        promoter: Promoter | None = None,
        wake: Callable[[], None] = lambda: None,
        settings: Settings | None = None,
    ) -> None:
        """Prepare; `open` starts the thread.

        Args:
            records: Makes the record store. Called once, in the bridge's loop.
            promoter: Decides when this node tries to become primary. Used in the bridge's loop only. None: never.
            wake: Called after each event, in the bridge's thread: write a byte to a pipe, set a flag. Must not raise.
        """
        self.node = node
        self.settings = Settings() if settings is None else settings
        self._make_records = records
        self._promoter = promoter
        self._wake = wake
        self._lock = threading.Lock()
        self._events: dict[object, BridgeEvent] = {}
        self._numbers = itertools.count()
        self._thread: LoopThread | None = None
        self._alive_at = 0.0
        self._eligible = False
        # Below: used in the bridge's loop only, once it runs.
        self._records: RecordStore | None = None
        self._requests: asyncio.Queue[Request]
        self._tasks: list[asyncio.Task[None]] = []
        self._session: Session | None = None
        self._session_began = 0.0
        self._info = self._published = b""

    # --- life: these wait ------------------------------------------------------------------------

    def open(self) -> Versioned | None:
        """Start the thread, make the record store and read the record (None: there is none). Waits.

        Raises:
            ClusterError: The record cannot be read. The thread has ended again.
            SettingsError: The record store refuses its arguments.
        """
        if self._thread is not None:
            raise LocalProtocolError("a bridge is opened once")
        self._thread = LoopThread(f"qpidha-bridge-{self.node}")
        try:
            return self.run(self._read_first)
        except BaseException:
            self.close()
            raise

    async def _read_first(self) -> Versioned | None:
        self._records = self._make_records()
        self._requests = asyncio.Queue()
        return await self.records.read()

    def join(self, info: NodeInfo) -> None:
        """Open the session with this info, then watch the record and the live nodes. Waits for the session.

        Raises:
            Conflict: Another process has a session of this node id.
            ClusterError: The session cannot be opened.
        """
        self.alive(eligible=False)
        self._info = encode_info(info)
        self.run(self._join)

    async def _join(self) -> None:
        await self._open_session()
        self._spawn("record", self._follow("record", self.records.watch, RecordSeen))
        self._spawn("live", self._follow("live nodes", self.records.watch_live, _live_seen))
        self._spawn("requests", self._serve_requests())
        self._spawn("session", self._keep_session())
        if self._promoter is not None:
            self._spawn("promoter", self._promote(self._promoter))

    def close(self) -> None:
        """End the session, so that others need not wait for its TTL, and the thread. Waits. May be called twice."""
        thread = self._thread
        if thread is None:
            return
        with contextlib.suppress(ClusterError, LocalProtocolError, TimeoutError):
            thread.run(self._leave(), self.settings.stop_timeout_s)
        thread.close()

    async def _leave(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end_all(tasks)
        await self._close_session()
        if self._records is not None:
            await self._records.close()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], timeout_s: float | None = None) -> T:
        """Call a coroutine function in the bridge's loop and wait for its result: ``bridge.run(bridge.records.read)``.

        Raises:
            LocalProtocolError: The bridge is not open.
            TimeoutError: No result in this time.
        """
        if self._thread is None:
            raise LocalProtocolError("the bridge is not open")
        return self._thread.run(work(), timeout_s)

    # --- between the threads: these do not wait --------------------------------------------------

    def take(self) -> list[BridgeEvent]:
        """All events since the last call, in order. Does not wait."""
        with self._lock:
            events = list(self._events.values())
            self._events.clear()
        return events

    def request(self, request: Request) -> None:
        """Ask the record store. One request at a time, in order; `Answered` follows for each."""
        self.call_soon(lambda: self._requests.put_nowait(request))

    def alive(self, *, eligible: bool) -> None:
        """The broker's thread lives. Call it at every tick, at least every second.

        Args:
            eligible: This node may be promoted: see `ClusterView.eligible`.
        """
        self._eligible = eligible
        self._alive_at = time.monotonic()

    def publish(self, info: NodeInfo) -> None:
        """Replace the info that others see, soon."""
        self._info = encode_info(info)

    def poll_soon(self) -> None:
        """A link broke or a role changed: a record store that polls should do so now."""
        poll_soon = getattr(self.records, "poll_soon", None)
        if poll_soon is not None:
            self.call_soon(poll_soon)

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call this in the bridge's loop: ``bridge.call_soon(operator_promoter.promote)``."""
        if self._thread is not None:
            self._thread.post(call)

    # --- the promoter's view ---------------------------------------------------------------------

    @property
    def records(self) -> RecordStore:
        """The record store. Use it in the bridge's loop only (`run`)."""
        if self._records is None:
            raise LocalProtocolError("the bridge is not open")
        return self._records

    @property
    def eligible(self) -> bool:
        """What `alive` said last; false while the broker's thread is silent."""
        return self._eligible and self._silent_s <= self.settings.session_ttl_s

    @property
    def _silent_s(self) -> float:
        return time.monotonic() - self._alive_at

    # --- tasks in the loop -----------------------------------------------------------------------

    def _report(self, event: BridgeEvent) -> None:
        """Keep an event for `take`. Of some kinds only the newest is kept, so that their number stays bounded."""
        key: object = next(self._numbers) if isinstance(event, Answered) else type(event)
        if isinstance(event, Retrying):
            key = event.cause
        with self._lock:
            self._events.pop(key, None)
            self._events[key] = event
        self._wake()

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"qpidha-bridge-{name}")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task in self._tasks:
            self._report(Failed(task.exception() or InvariantError(f"{task.get_name()} ended by itself")))

    def _backoff(self) -> Backoff:
        return Backoff(self.settings.record_retry_s, self.settings.record_retry_max_s)

    async def _follow(
        self, cause: str, watch: Callable[[], AsyncIterator[T]], event: Callable[[T], BridgeEvent]
    ) -> None:
        """Report what a watch shows; begin another one when it ends, sooner if this one lasted."""
        retry = self._backoff()
        while True:
            began = time.monotonic()
            try:
                async for value in watch():
                    self._report(event(value))
                self._report(Retrying(cause, "the watch has ended"))
            except ClusterError as error:
                self._report(Retrying(cause, str(error)))
            self._reset_if_lasting(retry, began)
            await asyncio.sleep(retry.delay())

    def _reset_if_lasting(self, retry: Backoff, began: float) -> None:
        """Reset the delay only after a success that lasted: if it works only for a moment, the delays still grow."""
        if time.monotonic() - began >= self.settings.record_retry_max_s:
            retry.reset()

    async def _serve_requests(self) -> None:
        while True:
            request = await self._requests.get()
            answer, wrong = await ask(self.records, request, self.settings.record_timeout_s)
            if wrong:
                self._report(Retrying("requests", wrong))
            self._report(Answered(request, answer))

    async def _promote(self, promoter: Promoter) -> None:
        async for decision in promoter.decisions(self):
            self._report(Decided(decision))

    # --- the session -----------------------------------------------------------------------------

    async def _keep_session(self) -> None:
        retry = self._backoff()
        while True:
            pause_s = self.settings.session_ttl_s / LOOKS_PER_TTL
            try:
                await within(self._adjust_session(), self.settings.record_timeout_s)
            except (ClusterError, asyncio.TimeoutError) as error:
                self._report(Retrying("session", str(error) or "the cluster manager does not answer"))
                pause_s = retry.delay()
            if (lost := await self._lost(pause_s)) is not None:
                self._report(Retrying("session", f"lost: {lost}"))
                await self._close_session()
                self._reset_if_lasting(retry, self._session_began)
                await asyncio.sleep(retry.delay())

    async def _adjust_session(self) -> None:
        """Have a session, with the newest info, exactly while the broker's thread is alive."""
        silent_s = self._silent_s
        if silent_s > self.settings.session_ttl_s:
            if self._session is not None:
                self._report(
                    Retrying("session", f"closed: the broker's thread is silent for {silent_s:.1f} s")
                )
                await self._close_session()
        elif self._session is None:
            await self._open_session()
        elif self._published != (info := self._info):
            await self._session.update(info)
            self._published = info

    async def _lost(self, timeout_s: float) -> str | None:
        """Wait until the session is lost (why), or for this time (None)."""
        if self._session is None:
            await asyncio.sleep(timeout_s)
            return None
        lost = asyncio.ensure_future(self._session.wait_lost())
        try:
            await asyncio.wait({lost}, timeout=timeout_s)
            return str(lost.result() or "its record store says no reason") if lost.done() else None
        finally:
            lost.cancel()

    async def _open_session(self) -> None:
        info = self._info
        self._session = await self.records.open_session(self.node, info, ttl_s=self.settings.session_ttl_s)
        self._session_began, self._published = time.monotonic(), info

    async def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(ClusterError):  # The manager drops it by itself after its TTL.
                await session.close()


def _live_seen(live: Mapping[NodeId, bytes]) -> LiveSeen:
    return LiveSeen({node: decode_info(raw) for node, raw in live.items()})
