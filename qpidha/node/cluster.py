"""The tasks of a node that use the cluster manager: watch record and live nodes, send requests, run the promoter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TypeVar
from uuid import UUID, uuid4

from qpidha.bridge.requests import ask
from qpidha.core.manager import Answer, NotSent, Unknown
from qpidha.core.ready import ReadRecord, Request
from qpidha.durations import Durations
from qpidha.errors import (
    ClusterError,
    InvariantError,
    LocalProtocolError,
    PromotionRefused,
)
from qpidha.events import ClusterManagerTrouble, DecisionRefused, LiveNodesUnwatched, RecordUnwatched
from qpidha.interfaces import Promoter, RecordStore
from qpidha.node.connect import Connector
from qpidha.node.place import Place
from qpidha.node.presence import Presence
from qpidha.node.prober import Prober
from qpidha.node.runtime import Runtime
from qpidha.system.backoff import Backoff
from qpidha.system.within import within
from qpidha.types import NodeId, NodeInfo, Versioned

T = TypeVar("T")


class Cluster:
    """The tasks that watch the record store for one node. Also the `ClusterView` of its promoter."""

    def __init__(
        self,
        runtime: Runtime,
        records: RecordStore,
        promoter: Promoter | None,
        *,
        presence: Presence,
        place: Place,
        connector: Connector,
        prober: Prober,
    ) -> None:
        self._runtime = runtime
        self._records = records
        self._promoter = promoter
        self._presence = presence
        self._place = place
        self._connector = connector
        self._prober = prober
        self._tasks: list[asyncio.Task[None]] = []
        self._changes: asyncio.Queue[Request] = asyncio.Queue()
        self._reads: asyncio.Queue[Request] = asyncio.Queue()
        self._asked: tuple[Request | None, float] = (None, 0.0)
        """The newest request, and when it was made first."""
        self.answers = Durations()
        """How long the cluster manager took for each compare-and-set, failed ones included."""

    # --- the promoter's view ---------------------------------------------------------------------

    @property
    def node(self) -> NodeId:
        """The id of this node."""
        return self._runtime.id

    @property
    def records(self) -> RecordStore:
        """The record store of this node."""
        return self._records

    @property
    def eligible(self) -> bool:
        """True for a member that is not primary; and for every node with an empty store while there is no record."""
        replica = self._runtime.replica
        if replica.stopped or replica.primary is not None or not self._place.stands:
            return False
        if replica.record is None:
            return replica.cluster is None and not replica.queues
        return replica.in_sync

    def watch_ended(self) -> AsyncIterator[Mapping[NodeId, UUID]]:
        """See `qpidha.interfaces.ProbingView`."""
        return self._prober.absences.watch()

    # --- life ------------------------------------------------------------------------------------

    async def start(self, info: NodeInfo) -> None:
        """Open the session and begin to watch the record and the live nodes."""
        await self._presence.open(info)
        for name, work in (
            ("record", self._watch_record()),
            ("live", self._watch_live()),
            ("changes", self._serve_requests(self._changes)),
            ("reads", self._serve_requests(self._reads)),
            ("connect", self._connector.run()),
            ("session", self._presence.run()),
            ("prober", self._prober.run()),
        ):
            self._spawn(name, work)
        if self._promoter is not None:
            self._spawn("promoter", self._promote(self._promoter))

    def _spawn(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Start a task that must not end: without it the node would look alive and never act."""
        task = asyncio.create_task(work, name=f"qpidha-{name}")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task in self._tasks:
            self._runtime.broken(task.exception() or InvariantError(f"{task.get_name()} ended by itself"))

    async def stop(self) -> None:
        """Close the session and end the watches."""
        waiting = set(self._tasks)
        self._tasks.clear()
        while waiting:  # Before Python 3.12 a cancellation can be lost in `wait_for`: say it again.
            for task in waiting:
                task.cancel()
            _, waiting = await asyncio.wait(waiting, timeout=0.1)
        await self._presence.close()

    # --- the record ------------------------------------------------------------------------------

    async def _watch_record(self) -> None:
        await self._follow(RecordUnwatched, self.records.watch, self._record_seen)

    def _record_seen(self, current: Versioned | None) -> None:
        self._runtime.replica.record_seen(current, self._runtime.now())
        self._place.tick(self._runtime.now())
        self._runtime.poke()
        self._connector.wake()
        self._prober.look()

    async def _watch_live(self) -> None:
        await self._follow(LiveNodesUnwatched, self.records.watch_live, self._live_seen)

    def _live_seen(self, live: Mapping[NodeId, bytes]) -> None:
        self._runtime.live.seen(live)
        self._place.tick(self._runtime.now())
        self._connector.wake()
        self._prober.look()

    async def _follow(
        self,
        trouble: type[RecordUnwatched | LiveNodesUnwatched],
        watch: Callable[[], AsyncIterator[T]],
        seen: Callable[[T], None],
    ) -> None:
        """Watch for ever; when the watch ends, begin another one after a delay."""
        runtime = self._runtime
        retry = self._backoff()
        while True:
            since: float | None = None
            try:
                async for value in watch():
                    if since is None:
                        since = runtime.now()
                        runtime.troubles.clear(trouble)
                    seen(value)
                runtime.troubles.report(trouble("the watch has ended"))
            except ClusterError as error:
                runtime.troubles.report(trouble(str(error)))
            if since is not None and runtime.now() - since >= runtime.settings.record_retry_max_s:
                retry.reset()
            await asyncio.sleep(retry.delay())

    def _backoff(self) -> Backoff:
        settings = self._runtime.settings
        return Backoff(settings.record_retry_s, settings.record_retry_max_s)

    async def refresh(self, timeout_s: float) -> None:
        """Read the current record. Raises `ClusterError` if it cannot be read in this time."""
        try:
            found = await within(self.records.read(), timeout_s)
        except asyncio.TimeoutError:
            raise ClusterError(f"the record could not be read in {timeout_s} s") from None
        self._runtime.replica.record_seen(found, self._runtime.now())
        self._runtime.poke()

    def request(self, request: Request) -> None:
        """Send a request of the core to the record store."""
        if request != self._asked[0]:
            self._asked = (request, self._runtime.now())
        (self._reads if isinstance(request, ReadRecord) else self._changes).put_nowait(request)

    @property
    def asked_for_s(self) -> float | None:
        """For how long a compare-and-set has not been resolved by now; None: there is none (M2)."""
        request, since = self._asked
        return (
            self._runtime.now() - since
            if request and request == self._runtime.replica.manager.in_flight
            else None
        )

    async def _serve_requests(self, requests: asyncio.Queue[Request]) -> None:
        """One at a time, answers in order. Changes do not wait for reads, whose answer may come at any time."""
        retry = self._backoff()
        while True:
            request = await requests.get()
            answer = await self._ask(request)
            if isinstance(answer, (NotSent, Unknown)):
                # The core asks again after record_retry_s: wait here for what the delay has grown by.
                await asyncio.sleep(max(0.0, retry.delay() - self._runtime.settings.record_retry_s))
            else:
                retry.reset()
            self._runtime.replica.answered(request, answer, self._runtime.now())
            self._runtime.poke()
            self._connector.wake()

    async def _ask(self, request: Request) -> Answer:
        begun = self._runtime.now()
        answer, wrong = await ask(self._records, request, self._runtime.settings.record_timeout_s)
        self.answers.observe(self._runtime.now() - begun)
        if wrong:
            self._runtime.troubles.report(ClusterManagerTrouble(wrong))
        else:
            self._runtime.troubles.clear(ClusterManagerTrouble)
        return answer

    # --- promotion -------------------------------------------------------------------------------

    async def _promote(self, promoter: Promoter) -> None:
        async for decision in promoter.decisions(self):
            try:
                if decision == "promote":
                    if not self._place.stands:
                        self._place.claim()  # A promoter that does not look at `eligible` obeys an operator.
                    self._runtime.replica.promote(found_as=uuid4())
                else:
                    self._place.hand_over()
            except (PromotionRefused, LocalProtocolError) as error:
                self._runtime.troubles.report(DecisionRefused(decision, str(error)))
            self._runtime.poke()
