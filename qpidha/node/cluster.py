"""A node's dealings with the cluster manager: the record, who is alive, when to be promoted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from qpidha.bridge.requests import ask
from qpidha.core.manager import Answer, NotSent, Unknown
from qpidha.core.ready import Request
from qpidha.errors import (
    ClusterError,
    InvariantError,
    LocalProtocolError,
    PromotionRefused,
)
from qpidha.interfaces import Promoter, RecordStore
from qpidha.node.backoff import Backoff
from qpidha.node.connect import Connector
from qpidha.node.presence import Presence
from qpidha.node.within import within
from qpidha.types import NodeId, NodeInfo, Versioned
from qpidha.wire.info import decode_info

if TYPE_CHECKING:
    from qpidha.node.node import Node

T = TypeVar("T")


class Cluster:
    """The tasks that watch the record store for one node. Also the `ClusterView` of its promoter."""

    def __init__(self, node: Node, records: RecordStore, promoter: Promoter | None) -> None:
        self._node = node
        self._records = records
        self._promoter = promoter
        self.presence = Presence(node)
        self._tasks: list[asyncio.Task[None]] = []
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self.connector = Connector(node)
        self._asked: tuple[Request | None, float] = (None, 0.0)
        """The newest request, and when it was made first."""
        self._live: Mapping[NodeId, bytes] = {}
        self.live_known = False
        """The list of live nodes was seen at least once."""

    # --- the promoter's view ---------------------------------------------------------------------

    @property
    def node(self) -> NodeId:
        """The id of this node."""
        return self._node.id

    @property
    def records(self) -> RecordStore:
        """The record store of this node."""
        return self._records

    @property
    def promotes_itself(self) -> bool:
        """This node's promoter acts by itself, not only when an operator asks it to."""
        return self._promoter is not None and getattr(self._promoter, "automatic", True)

    @property
    def eligible(self) -> bool:
        """A member that is not primary; or anybody, while there is no record and the store is empty."""
        replica = self._node.replica
        if replica.stopped or replica.primary is not None or not self._node.place.stands:
            return False
        if replica.record is None:
            return replica.cluster is None and not replica.queues
        return replica.in_sync

    # --- life ------------------------------------------------------------------------------------

    async def start(self, info: NodeInfo) -> None:
        """Open the session and begin to watch the record and the live nodes."""
        await self.presence.open(info)
        for name, work in (
            ("record", self._watch_record()),
            ("live", self._watch_live()),
            ("requests", self._serve_requests()),
            ("connect", self.connector.run()),
            ("session", self.presence.run()),
        ):
            self._spawn(name, work)
        if self._promoter is not None:
            self._spawn("promoter", self._promote(self._promoter))

    def _spawn(self, name: str, work: Coroutine[None, None, None]) -> None:
        """A task that must not end. One that does would leave a node that looks alive and never acts."""
        task = asyncio.create_task(work, name=f"qpidha-{name}")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task in self._tasks:
            self._node.broken(task.exception() or InvariantError(f"{task.get_name()} ended by itself"))

    async def stop(self) -> None:
        """Close the session and end the watches."""
        waiting = set(self._tasks)
        self._tasks.clear()
        while waiting:  # Before Python 3.12 a cancellation can be lost in `wait_for`: say it again.
            for task in waiting:
                task.cancel()
            _, waiting = await asyncio.wait(waiting, timeout=0.1)
        await self.presence.close()

    def info_of(self, node: NodeId | None) -> NodeInfo | None:
        """What a live node published about itself."""
        raw = self._live.get(node) if node is not None else None
        return decode_info(raw) if raw is not None else None

    @property
    def live(self) -> list[NodeId]:
        """The nodes with a live session, sorted, as last seen."""
        return sorted(self._live)

    # --- the record ------------------------------------------------------------------------------

    async def _watch_record(self) -> None:
        await self._follow("record", self.records.watch, self._record_seen)

    def _record_seen(self, current: Versioned | None) -> None:
        self._node.replica.record_seen(current, self._node.now())
        self._node.place.tick(self._node.now())
        self._node.poke()
        self.connector.wake()

    async def _watch_live(self) -> None:
        await self._follow("live nodes", self.records.watch_live, self._live_seen)

    def _live_seen(self, live: Mapping[NodeId, bytes]) -> None:
        self._live, self.live_known = live, True
        self._node.place.tick(self._node.now())
        self.connector.wake()

    async def _follow(
        self, cause: str, watch: Callable[[], AsyncIterator[T]], seen: Callable[[T], None]
    ) -> None:
        """Watch for ever; when the watch ends, begin another one after a delay."""
        node = self._node
        retry = self._backoff()
        while True:
            since: float | None = None
            try:
                async for value in watch():
                    if since is None:
                        since = node.now()
                        node.troubles.clear(cause)
                    seen(value)
                node.troubles.report(cause, "the watch has ended")
            except ClusterError as error:
                node.troubles.report(cause, str(error))
            if since is not None and node.now() - since >= node.settings.record_retry_max_s:
                retry.reset()
            await asyncio.sleep(retry.delay())

    def _backoff(self) -> Backoff:
        settings = self._node.settings
        return Backoff(settings.record_retry_s, settings.record_retry_max_s)

    async def refresh(self, timeout_s: float) -> None:
        """See the record as it is now. Raises `ClusterError` if it cannot be read in this time."""
        try:
            found = await within(self.records.read(), timeout_s)
        except asyncio.TimeoutError:
            raise ClusterError(f"the record could not be read in {timeout_s} s") from None
        self._node.replica.record_seen(found, self._node.now())
        self._node.poke()

    def request(self, request: Request) -> None:
        """Send a request of the core to the record store."""
        if request != self._asked[0]:
            self._asked = (request, self._node.now())
        self._requests.put_nowait(request)

    @property
    def asked_for_s(self) -> float | None:
        """For how long a compare-and-set has not been resolved by now; None: there is none (M2)."""
        request, since = self._asked
        return (
            self._node.now() - since if request and request == self._node.replica.manager.in_flight else None
        )

    async def _serve_requests(self) -> None:
        """One request at a time, answers in order."""
        retry = self._backoff()
        while True:
            request = await self._requests.get()
            answer = await self._ask(request)
            if isinstance(answer, (NotSent, Unknown)):
                # The core asks again after record_retry_s: wait here for what the delay has grown by.
                await asyncio.sleep(max(0.0, retry.delay() - self._node.settings.record_retry_s))
            else:
                retry.reset()
            self._node.replica.answered(request, answer, self._node.now())
            self._node.poke()
            self.connector.wake()

    async def _ask(self, request: Request) -> Answer:
        answer, wrong = await ask(self._records, request, self._node.settings.record_timeout_s)
        if wrong:
            self._node.troubles.report("cluster manager", wrong)
        else:
            self._node.troubles.clear("cluster manager")
        return answer

    # --- looking ---------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something changed that may ask for another link. The node's heartbeat calls it too."""
        self.connector.wake()

    def look(self) -> None:
        """A link broke or a role changed: there may be news, and a record store that has to look should do so now."""
        self.connector.wake()
        poll_soon = getattr(self.records, "poll_soon", None)
        if poll_soon is not None:
            poll_soon()

    # --- promotion -------------------------------------------------------------------------------

    async def _promote(self, promoter: Promoter) -> None:
        async for decision in promoter.decisions(self):
            try:
                if decision == "promote":
                    if not self._node.place.stands:
                        self._node.place.claim()  # A promoter that does not look at `eligible` obeys an operator.
                    self._node.replica.promote(found_as=uuid4())
                else:
                    self._node.place.hand_over()
            except (PromotionRefused, LocalProtocolError) as error:
                self._node.troubles.report(f"{decision} refused", str(error), fades=True)
            self._node.poke()
