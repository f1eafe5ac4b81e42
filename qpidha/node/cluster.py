"""A node's dealings with the cluster manager: the record, who is alive, when to be promoted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING
from uuid import uuid4

from qpidha.core.manager import Answer, Applied, Lost, NotSent, Read, Unknown
from qpidha.core.ready import CompareAndSet, Request
from qpidha.errors import (
    ClusterError,
    Conflict,
    InvariantError,
    LinkClosed,
    LocalProtocolError,
    PromotionRefused,
    Unavailable,
)
from qpidha.interfaces import Promoter, RecordStore, Session
from qpidha.types import NodeId, NodeInfo
from qpidha.wire.info import decode_info, encode_info

if TYPE_CHECKING:
    from qpidha.node.node import Node

logger = logging.getLogger("qpidha")


class Cluster:
    """The tasks that watch the record store for one node. Also the `ClusterView` of its promoter."""

    def __init__(self, node: Node, records: RecordStore, promoter: Promoter | None) -> None:
        self._node = node
        self._records = records
        self._promoter = promoter
        self._session: Session | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._live: Mapping[NodeId, bytes] = {}
        self._reported = ""
        """What was said last of a manager that does not answer."""

    # --- the promoter's view ---------------------------------------------------------------------

    @property
    def node(self) -> NodeId:
        return self._node.id

    @property
    def records(self) -> RecordStore:
        return self._records

    @property
    def eligible(self) -> bool:
        """A member that is not primary; or anybody, while there is no record and the store is empty."""
        replica = self._node.replica
        if replica.stopped or replica.primary is not None or self._node.now() < self._node.unfit_until:
            return False
        if replica.record is None:
            return replica.cluster is None and not replica.queues
        return replica.in_sync

    # --- life ------------------------------------------------------------------------------------

    async def start(self, info: NodeInfo) -> None:
        settings = self._node.settings
        self._session = await self.records.open_session(
            self._node.id, encode_info(info), ttl_s=settings.session_ttl_s
        )
        for name, work in (
            ("record", self._watch_record()),
            ("live", self._watch_live()),
            ("requests", self._serve_requests()),
            ("connect", self._stay_connected()),
            ("session", self._keep_session(info)),
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
        waiting = set(self._tasks)
        self._tasks.clear()
        while waiting:  # Before Python 3.12 a cancellation can be lost in `wait_for`: say it again.
            for task in waiting:
                task.cancel()
            _, waiting = await asyncio.wait(waiting, timeout=0.1)
        if self._session is not None:
            with contextlib.suppress(ClusterError):  # The kernel drops it with this process anyway.
                await self._session.close()
            self._session = None

    def info_of(self, node: NodeId | None) -> NodeInfo | None:
        """What a live node published about itself."""
        raw = self._live.get(node) if node is not None else None
        return decode_info(raw) if raw is not None else None

    @property
    def live(self) -> list[NodeId]:
        return sorted(self._live)

    # --- the record ------------------------------------------------------------------------------

    async def _watch_record(self) -> None:
        while True:
            try:
                async for current in self.records.watch():
                    self._node.replica.record_seen(current, self._node.now())
                    self._node.poke()
                    self._wake.set()
            except ClusterError as error:
                self._node.log("record", str(error))
            await asyncio.sleep(self._node.settings.record_retry_s)

    async def refresh(self, timeout_s: float) -> None:
        """See the record as it is now. Raises `ClusterError` if it cannot be read in this time."""
        try:
            found = await asyncio.wait_for(self.records.read(), timeout_s)
        except asyncio.TimeoutError:
            raise ClusterError(f"the record could not be read in {timeout_s} s") from None
        self._node.replica.record_seen(found, self._node.now())
        self._node.poke()

    async def _watch_live(self) -> None:
        while True:
            try:
                async for live in self.records.watch_live():
                    self._live = live
                    self._wake.set()
            except ClusterError as error:
                self._node.log("live nodes", str(error))
            await asyncio.sleep(self._node.settings.record_retry_s)

    async def _keep_session(self, info: NodeInfo) -> None:
        """A lost session costs nothing but speed: others may think we are dead. Open another."""
        while True:
            assert self._session is not None
            why = await self._session.wait_lost()
            self._node.log("session lost", why)
            await asyncio.sleep(self._node.settings.record_retry_s)
            try:
                await self._session.close()
                self._session = await self.records.open_session(
                    self._node.id, encode_info(info), ttl_s=self._node.settings.session_ttl_s
                )
            except ClusterError as error:
                self._node.log("session", str(error))

    def request(self, request: Request) -> None:
        self._requests.put_nowait(request)

    async def _serve_requests(self) -> None:
        """One request at a time, answers in order."""
        while True:
            request = await self._requests.get()
            answer = await self._ask(request)
            self._node.replica.answered(request, answer, self._node.now())
            self._node.poke()
            self._wake.set()

    async def _ask(self, request: Request) -> Answer:
        timeout_s = self._node.settings.record_timeout_s
        try:
            answer = await self._answer(request, timeout_s)
        except Conflict as error:
            answer = Lost(error.current)
        except (ClusterError, asyncio.TimeoutError) as error:
            self._report(str(error) or f"no answer in {timeout_s} s")
            return NotSent() if isinstance(error, Unavailable) else Unknown()
        self._reported = ""
        return answer

    async def _answer(self, request: Request, timeout_s: float) -> Answer:
        if not isinstance(request, CompareAndSet):
            return Read(await asyncio.wait_for(self.records.read(), timeout_s))
        if request.expected is None:
            return Applied(await self.records.create(request.new))
        return Applied(await self.records.compare_and_set(request.expected, request.new, timeout_s=timeout_s))

    def _report(self, trouble: str) -> None:
        """Once, not at every try: a manager that is silent is asked several times a second."""
        if trouble != self._reported:
            self._node.log("cluster manager", trouble)
            self._reported = trouble

    # --- the primary -----------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        """While this node is a backup, keep one link to the primary that the record names."""
        node = self._node
        while True:
            self._wake.clear()
            target = self._target()
            if target is not None:
                try:
                    await node.links.connect(*target)
                except LinkClosed as error:
                    node.log("connect", f"{target[0]}: {error}")
                    self.look()
                await asyncio.sleep(node.settings.reconnect_interval_s)
                if node.replica.follower.link is None:
                    continue
            await self._wake.wait()

    def wake(self) -> None:
        """Something changed that may ask for another link. The node's heartbeat calls it too."""
        self._wake.set()

    def look(self) -> None:
        """A link broke or a role changed: there may be news, and a record store that has to look should do so now."""
        self._wake.set()
        look = getattr(self.records, "look", None)
        if look is not None:
            look()

    def _target(self) -> tuple[NodeId, NodeInfo] | None:
        replica = self._node.replica
        record = replica.record
        if replica.stopped or replica.primary or record is None or record.primary is None:
            return None
        primary = record.primary[0]
        if primary == self._node.id or replica.follower.link is not None:
            return None
        info = self.info_of(primary)
        return (primary, info) if info is not None else None

    # --- promotion -------------------------------------------------------------------------------

    async def _promote(self, promoter: Promoter) -> None:
        async for decision in promoter.decisions(self):
            try:
                if decision == "promote":
                    self._node.replica.promote(found_as=uuid4())
                else:
                    self._node.replica.demote()
            except (PromotionRefused, LocalProtocolError) as error:
                self._node.log(f"{decision} refused", str(error))
            self._node.poke()
