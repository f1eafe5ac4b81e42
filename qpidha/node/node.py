"""One node of a cluster, under asyncio: the front door of the library."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import get_ident
from uuid import UUID, uuid4

from qpidha.checks import SECONDS_OR_ZERO, instance_of, integer, optional, shown
from qpidha.core.ready import HandOver
from qpidha.core.replica import Replica
from qpidha.errors import ClusterError, LocalProtocolError, NotPrimary, QpidhaError, UnknownQueue
from qpidha.interfaces import Broker, MessageStore, Promoter, RecordStore, Transport
from qpidha.journal import StoreImage, StoreStatus
from qpidha.node.caller import FORKED, check_addresses, check_node, checked_score, wrong_thread
from qpidha.node.cluster import Cluster
from qpidha.node.control import Control
from qpidha.node.effects import NodeEffects
from qpidha.node.embedder import Embedder
from qpidha.node.engine import Engine
from qpidha.node.handles import Handles
from qpidha.node.life import Life
from qpidha.node.links import Links
from qpidha.node.op import Ledger
from qpidha.node.place import Place
from qpidha.node.queue import Queue, same_spec
from qpidha.node.slices import in_slices
from qpidha.node.stalls import Stalls
from qpidha.node.status import NodeStatus, status_of
from qpidha.node.troubles import Troubles
from qpidha.node.within import Limit
from qpidha.recovery.validator import check_start
from qpidha.settings import Settings, check_spec
from qpidha.system import forks
from qpidha.types import (
    Address,
    Generation,
    NodeId,
    NodeInfo,
    QueueSpec,
    Role,
    Settle,
    Stopped,
)

logger = logging.getLogger("qpidha")
TEXT = instance_of(str, what="text")
QUEUES_MAX = optional(integer(0, 2**31 - 1))


class Node:
    """A member of a cluster. Start it, work with its queues while it is primary, stop it.

    Use it from one event loop, the one it was started in: methods called from another thread raise `WrongThread`
    at once. Everything but start, stop, promote and demote is synchronous.
    """

    def __init__(
        self,
        id: NodeId,
        *,
        broker: Broker,
        store: MessageStore,
        transport: Transport,
        records: RecordStore,
        listen: Address = ("127.0.0.1", 0),
        advertise: Address | None = None,
        client_address: Address | None = None,
        promoter: Promoter | None = None,
        score: int | None = None,
        settings: Settings | None = None,
        control: str | Path | None = None,
    ) -> None:
        """Nothing happens before `start`, but all arguments are checked here.

        Args:
            id: The name of the node: stable over restarts, never reused for another machine.
            listen: Where other nodes connect; port 0 picks one. What was bound is published to them.
            advertise: Published instead, where a proxy or address translation stands between. Needed when
                ``listen`` is a wildcard such as 0.0.0.0, which is no address that one can connect to.
            client_address: Where *clients* find this node; told to those whom another node refuses.
            promoter: When to try to become primary. None: only `promote` does.
            score: Higher is preferred by the priority promoter. By default the promoter's own priority.
            control: Where to answer ``qpidha status`` and ``qpidha promote``: a socket path.

        Raises:
            SettingsError: An argument has a wrong type or value, or a part lacks a method that it must have.
        """
        check_node(
            id=id,
            broker=broker,
            store=store,
            transport=transport,
            records=records,
            promoter=promoter,
            settings=settings,
            control=control,
        )
        check_addresses(listen, advertise, client_address)
        self.id = id
        self.settings = settings or Settings()
        self.client_address = client_address
        self.store_error: BaseException | None = None
        self.immediate = Ledger(0)
        self.settled = Ledger(0)
        self.thread = 0
        """Of the event loop in which it was started; nobody else may use it. 0: not started."""
        self._clock: Callable[[], float] = time.monotonic
        self.boot: UUID = uuid4()
        self.replica = Replica(
            node=id, boot=self.boot, image=StoreImage(StoreStatus(node=id, epoch=UUID(int=0)))
        )
        """The protocol. One that is stopped and empty until the store is open."""
        self.replica.stop()
        self.broker = broker
        self._listen, self._advertise = listen, advertise
        self._score = checked_score(score, promoter)
        self._records = records
        self.cluster = Cluster(self, records, promoter)
        self._control = None if control is None else Control(self, Path(control))
        self.life = Life(self)
        self._embedder = Embedder(self, broker)
        self.place = Place(self)
        self.effects = NodeEffects(self)
        self.engine = Engine(self, store)
        self.links = Links(self, transport)
        self.troubles = Troubles(
            self._write_line,
            self.now,
            reminder_s=self.settings.log_reminder_s,
            fade_s=max(self.settings.log_reminder_s, 3 * self.settings.reconnect_interval_max_s),
        )
        self.stalls = Stalls(self.log, self.now)
        self.handles = Handles(self)
        self.serving_generation: Generation = 0
        """The generation in which this node takes publishes; 0 while it is not primary."""

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, check it against the record, join the cluster. Returns before any promotion.

        Raises:
            StoreError: The store may not serve, the message says why. Nothing was changed elsewhere.
            ClusterError: The cluster manager cannot be reached.
            OSError: The address cannot be bound.
        """
        if self.thread == FORKED:
            raise wrong_thread("Node.start", FORKED)
        await self.life.start(self._start)

    async def _start(self) -> None:
        self.thread = get_ident()
        forks.watch(self)
        self._clock = asyncio.get_running_loop().time
        self.stalls.start()
        await self._load()
        address = await self.links.listen(self._listen)
        self._embedder.start()
        if self._control:
            await self._control.start()
        await self.cluster.start(
            NodeInfo(
                peer=self._advertise or address,
                client=self.client_address,
                boot=self.boot,
                score=self._score,
            )
        )
        self.links.start_beating()

    async def _load(self) -> None:
        """Open the store, check it against the record and begin with its content."""
        freezing = self.effects.freezing
        with freezing.loading():
            image = await self.engine.open()
        found = await self._records.read()
        check_start(image.status, found.record if found else None, self.settings).require()
        with freezing.loading():
            self.replica = await self.engine.work(lambda: self._replica_of(image))
            self.replica.record_seen(found, self.now())
            self.engine.start(self.replica)
            await in_slices(self.effects.load_all(list(self.replica.queues.values())))

    def _replica_of(self, image: StoreImage) -> Replica:
        return Replica(node=self.id, boot=self.boot, image=image, settings=self.settings, now=self.now())

    async def stop(self) -> None:
        """Stop in order: pending operations are in doubt, the broker is demoted, the store is marked clean.

        Returns when everything is released (store, session, sockets, threads), at the latest after
        ``Settings.stop_timeout_s``. It may be called at any time: before, while or after the node starts, twice, and
        after the node ended by itself. Called from one of the broker's methods it returns at once, because the node
        ends only after that method. Cancelling the caller does not undo it. `wait_stopped` says what was not released.
        """
        if self.thread:
            self._here("Node.stop")
        await self.life.stop()

    async def wait_stopped(self) -> Stopped:
        """Wait for the end of the node, asked for or not. Returns its reason, once everything is released.

        A node that ended by itself, because its store failed for instance, does not start again: let the process end
        with an error, so that whoever supervises it starts it anew.
        """
        return await self.life.wait()

    async def silence(self) -> None:
        """Close the control socket."""
        if self._control:
            await self._control.stop()

    def forked(self) -> Iterable[int]:
        """In a child: this node lives in the parent. Calls here raise `ForkedError`."""
        self.thread, self.life.running, self.serving_generation = FORKED, False, 0
        return ()

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- state -----------------------------------------------------------------------------------

    def now(self) -> float:
        """The loop's monotonic clock."""
        return self._clock()

    @property
    def role(self) -> Role:
        """`Role.STOPPED` before the start has succeeded, and from the beginning of the stop on."""
        return self.replica.role if self.life.running else Role.STOPPED

    @property
    def serving(self) -> bool:
        """This node is primary and takes publishes: ``on_promote`` was called, and has not failed."""
        generation = self.serving_generation
        return generation > 0 and self.is_current(generation) and self._embedder.generation == generation

    @property
    def generation(self) -> Generation:
        """The highest generation seen; 0 before the start."""
        return self.replica.generation

    @property
    def primary(self) -> NodeId | None:
        """Who is primary, as far as this node knows: None before it has started and once it stops."""
        record = self.replica.record if self.life.running else None
        return record.primary[0] if record and record.primary else None

    @property
    def primary_client_address(self) -> Address | None:
        """Where clients of the primary connect; None if there is none that serves, as far as this node knows."""
        if self.primary == self.id:
            return self.client_address if self.serving else None
        info = self.cluster.info_of(self.primary)
        return info.client if info else None

    @property
    def address(self) -> Address | None:
        """Where other nodes connect to this one."""
        return self.links.address

    @property
    def live(self) -> list[NodeId]:
        """The nodes with a session, as far as this node knows: none before it has started and once it stops."""
        return self.cluster.live if self.life.running else []

    @property
    def queues(self) -> list[Queue]:
        """A handle of every queue. O(queues): see `queue` for one."""
        return self.handles.all()

    def status(self, *, queues_max: int | None = None) -> NodeStatus:
        """What this node knows of itself and of the cluster, as one value. Also after its end, with the reason.

        Args:
            queues_max: So many queues are named at most; None: all. With many, some microseconds for each.
        """
        self._here("Node.status")
        QUEUES_MAX("queues_max", queues_max)
        return status_of(self, queues_max)

    def not_primary(self) -> NotPrimary:
        """The error for who asks this node for what only a primary does."""
        return NotPrimary(
            f"node {self.id!r} is {self.role.value}",
            primary=self.primary,
            address=self.primary_client_address,
        )

    @property
    def stopped(self) -> str | None:
        """Why this node has stopped, or is about to; None while it does not."""
        return self.life.reason

    def _here(self, what: str) -> None:
        if get_ident() != self.thread:
            raise wrong_thread(what, self.thread)

    # --- queues ----------------------------------------------------------------------------------

    def queue(self, name: str) -> Queue:
        """The queue of this name, as a handle for the term that runs now: one object for each term.

        Raises:
            UnknownQueue: This node has none of this name.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Node.queue")
        TEXT("name", name)
        handle = self.handles.named(name)
        if handle is None:
            raise UnknownQueue(f"no queue {shown(name)} on node {self.id!r}")
        return handle

    def declare(self, name: str, *, settle: Settle = Settle.REPLICATED, kind: str = "fifo") -> Queue:
        """The queue of this name, made now if there is none. On the primary only.

        It may be used at once: what is published on it completes after its declaration.

        Raises:
            NotPrimary: Only the primary declares queues.
            QueueMismatch: There is one of this name with another settle or kind; `queue` returns it as it is.
            ArgumentError: A name, settle or kind that could not be stored or sent.
            CallerError: There are ``queues_max`` queues already.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Node.declare")
        spec = QueueSpec(name=name, settle=settle, kind=kind)
        check_spec(spec)
        if not self.serving:
            raise self.not_primary()
        if (known := self.handles.named(name)) is not None:
            return same_spec(known, spec)
        id = uuid4()
        self.replica.declare(id, spec)
        self.effects.queue_added(self.replica.queues[id])
        self.poke()
        return self.handles.of(id)

    def renew_listener(self, name: str) -> bool:
        """Ask the broker for another listener in place of one that was cut off. True: the queue has one now.

        It is told the whole content, at once and in this turn.

        Raises:
            UnknownQueue: This node has no queue of this name.
        """
        return self.effects.listeners.renew(self.queue(name)._queue)

    # --- roles -----------------------------------------------------------------------------------

    async def promote(self, *, timeout_s: float = 10.0) -> None:
        """Become primary, if the record allows it. Returns when the generation has begun.

        Raises:
            PromotionRefused: A rule forbids it.
            ClusterError: The record could not be read; the compare-and-set was lost, or not decided in time.
        """
        self._here("Node.promote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        self._require_running("promote")
        if (method := self._embedder.inside) is not None:
            raise LocalProtocolError(f"promote inside the broker's {method}, which has to return first")
        before = self.generation
        await self.cluster.refresh(timeout_s)  # What a watch tells late would only lose a compare-and-set.
        self.place.claim()
        self.replica.promote(found_as=uuid4())
        self.poke()
        await self._until(
            lambda: self.generation > before and (self.serving or self._failed_to_open()),
            timeout_s,
            "promotion",
        )

    def _failed_to_open(self) -> bool:
        if self._embedder.phase == "failed":
            raise ClusterError(f"this node became primary, and its broker did not: {self._embedder.error}")
        return False

    async def demote(self, *, timeout_s: float = 10.0) -> None:
        """Hand over: cease to be primary, and leave the place to the other live members; what is pending is in doubt.

        If nobody is in sync yet it waits for somebody first, and goes on serving meanwhile. Afterwards this node does
        not take the place again before another primary was recorded, or ``Settings.hand_over_timeout_s`` have passed.

        Raises:
            LocalProtocolError: This node is not primary.
            HandOverRefused: Nobody else can take the place, and this node's promoter would take it again.
            ClusterError: The cluster manager did not answer in time; this node is still primary.
        """
        self._here("Node.demote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        self._require_running("demote")
        deadline = self.now() + timeout_s
        await self.place.await_successor(timeout_s)
        primary = self.replica.primary  # Of this term: the place may come back before anybody looks.
        self.place.hand_over()
        left_s = max(deadline - self.now(), self.settings.record_timeout_s)
        await self._until(lambda: self.replica.primary is not primary, left_s, "hand-over")

    def _require_running(self, what: str) -> None:
        if not self.life.running:
            raise LocalProtocolError(
                f"{what} on a node that {'has not started' if not self.stopped else 'is stopped'}"
            )

    def give_place_away(self, why: str) -> None:
        """As primary, this node cannot serve: another member is to take over, by session and record (see `Place`).

        Lasts until this node is not primary any more. May be called again.
        """
        self.place.give_up(why)

    async def _until(self, reached: Callable[[], bool], timeout_s: float, what: str) -> None:
        limit = Limit(self.now, timeout_s)
        while not reached():
            if limit.is_over:
                raise ClusterError(f"no {what} within {timeout_s} s")
            if self.replica.stopped:
                raise ClusterError(f"the node stopped during the {what}: {self.stopped}")
            await asyncio.sleep(0.005)

    # --- what links and the cluster tell -----------------------------------------------------------

    def link_closed(self, number: int) -> None:
        """The link with this number closed. Called by the links."""
        self.replica.link_closed(number)
        self.cluster.look()
        self.poke()

    def tick(self, now: float) -> None:
        """Time passed: time-outs of the core, and another look at who is primary."""
        self.replica.tick(now)
        self.engine.look()
        self.place.tick(now)
        self.cluster.wake()
        self.troubles.tick()
        self.poke()

    # --- effects ---------------------------------------------------------------------------------

    def poke(self) -> None:
        """Something went into the core: take effects at the end of this turn, once for all of it."""
        self.engine.poke()

    def flush_later(self, queue: Queue) -> None:
        """Something small was published: call the queue back at the end of this turn."""
        self.engine.flush_later(queue)

    def broken(self, error: BaseException) -> None:
        """A bug, ours or an adapter's: serve no more, so that another node takes over."""
        self.engine.broken(error)

    def store_failed(self, error: BaseException) -> None:
        """Nothing this node says can be trusted any more: let go of the cluster (D6)."""
        self.store_error = error
        logger.error("node %s: stopping: %r", self.id, error)
        self.life.begin(f"failed: {error}" if isinstance(error, QpidhaError) else f"failed: {error!r}", error)

    def log(self, event: str, detail: str) -> None:
        """Something happened and is over. What is still wrong goes to ``troubles.report``."""
        self.troubles.event(event, detail)

    def _write_line(self, level: int, line: str) -> None:
        logger.log(level, "node %s: %s", self.id, line)

    # --- the broker ------------------------------------------------------------------------------

    def taken(self, news: HandOver, taken: bool) -> None:
        """The broker took discarded messages, or it failed to."""
        if taken:
            self.replica.handed_over(news.messages)
        else:
            self.replica.hand_over_failed(self.now())
        self.poke()

    def is_current(self, generation: Generation) -> bool:
        """This node is primary of this generation, now."""
        primary = self.replica.primary
        return primary is not None and primary.generation == generation
