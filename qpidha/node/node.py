"""One node of a cluster, under asyncio: the front door of the library."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import get_ident
from uuid import UUID, uuid4

from qpidha.checks import SECONDS_OR_ZERO, instance_of
from qpidha.core.ready import HandOver, Ready
from qpidha.core.replica import Replica
from qpidha.core.validator import check_start
from qpidha.driver import Done, Driver
from qpidha.errors import ClusterError, LocalProtocolError, NotPrimary, UnknownQueue
from qpidha.interfaces import Broker, MessageStore, Promoter, RecordStore, Transport
from qpidha.journal import Change, StoreState
from qpidha.node.caller import FORKED, check_addresses, check_node, checked_score, wrong_thread
from qpidha.node.cluster import Cluster
from qpidha.node.control import Control
from qpidha.node.disk import Disk
from qpidha.node.effects import NodeEffects
from qpidha.node.embedder import Embedder
from qpidha.node.links import Links
from qpidha.node.op import Ledger
from qpidha.node.place import Place
from qpidha.node.queue import Queue, same_spec
from qpidha.node.status import NodeStatus, status_of
from qpidha.node.troubles import Troubles
from qpidha.settings import Settings, check_spec
from qpidha.system import forks
from qpidha.types import (
    Address,
    Generation,
    NodeId,
    NodeInfo,
    QueueId,
    QueueSpec,
    Role,
    Settle,
)

logger = logging.getLogger("qpidha")
TEXT = instance_of(str, what="text")


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
        self.boot: UUID = uuid4()
        self.broker = broker
        self._store = store
        self._listen, self._advertise = listen, advertise
        self._score = checked_score(score, promoter)
        self._records = records
        self.cluster = Cluster(self, records, promoter)
        self.place = Place(self)
        self._control = None if control is None else Control(self, Path(control))
        self._embedder = Embedder(
            broker, on_taken=self._taken, on_broken=self._broken, is_current=self._is_current
        )
        self._effects = NodeEffects(self, self._embedder)
        self.links = Links(self, transport)
        self.troubles = Troubles(
            self._write_line,
            self.now,
            reminder_s=self.settings.log_reminder_s,
            fade_s=max(self.settings.log_reminder_s, 3 * self.settings.reconnect_interval_max_s),
        )
        self._poked = False
        self._unflushed: list[Queue] = []
        self._started = self._running = False
        self._stopping: asyncio.Task[None] | None = None
        self.handles: dict[QueueId, Queue] = {}
        self.names: dict[str, Queue] = {}
        self.unfit_until = 0.0
        """The broker failed to become primary: not before then is it asked to again."""
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
        if self._started:
            raise LocalProtocolError("a node is started once")
        self._started = True
        self._loop = asyncio.get_running_loop()
        self.thread = get_ident()
        forks.watch(self)
        image = self._store.open(self.id, refuse_dirty=self.settings.dirty_start == "refuse")
        self._disk = Disk(self._store)
        untouched = image.status.state is StoreState.CLEAN
        try:
            found = await self._records.read()
            check_start(image.status, found.record if found else None, self.settings).require()
            self.replica = Replica(
                node=self.id, boot=self.boot, image=image, settings=self.settings, now=self.now()
            )
            untouched = False
            self.replica.record_seen(found, self.now())
            self._driver = Driver(self.replica, self._commit, self._effects, self.now, self._later)
            for replicated in self.replica.queues.values():
                self._effects.queue_added(replicated, loaded=True)
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
        except BaseException:
            await self._release(clean=untouched)
            raise
        self._running = True
        self.links.start_beating()

    async def stop(self) -> None:
        """Stop in order: pending operations are in doubt, the broker is demoted, the store is marked clean.

        May be called twice, also while it is under way.
        """
        if self.thread:
            self._here("Node.stop")
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop())
        if not self._embedder.calls_us:  # It ends only after the method that called this has returned.
            await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        if not self._running:
            return  # It never started; what `start` had opened it has closed.
        for queue in self._unflushed:
            queue.flush()
        self.replica.stop()
        self._driver.run()
        self.cluster.give_up_session()  # Others need not wait for this disk, nor for what the broker does at the end.
        while not self._driver.idle and await self._disk.wait_idle(self.settings.commit_timeout_s):
            pass  # What is left is one more transaction, or effects of a large `Ready`.
        self.bypass_disk()
        await self._release(clean=self._driver.failed is None and self._driver.idle)

    async def _release(self, *, clean: bool) -> None:
        if self._control:
            await self._control.stop()
        await self._embedder.stop()
        await self.cluster.stop()
        await self.links.close()
        self._disk.close(clean=clean)
        await asyncio.sleep(0)  # Links tell that they are closed in a later turn.

    def forked(self) -> Iterable[int]:
        """In a child: this node lives in the parent. Calls here raise `ForkedError`."""
        self.thread, self._running, self.serving_generation = FORKED, False, 0
        return ()

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- state -----------------------------------------------------------------------------------

    def now(self) -> float:
        """The loop's monotonic clock."""
        return self._loop.time()

    @property
    def role(self) -> Role:
        return self.replica.role if self._running else Role.STOPPED

    @property
    def serving(self) -> bool:
        """This node is primary and takes publishes."""
        generation = self.serving_generation
        return generation > 0 and self._is_current(generation) and self._embedder.generation == generation

    @property
    def generation(self) -> Generation:
        """The highest generation seen; 0 before the start."""
        return self.replica.generation if hasattr(self, "replica") else 0

    @property
    def primary(self) -> NodeId | None:
        """Who is primary, as far as this node knows: nobody before it has started."""
        record = self.replica.record if hasattr(self, "replica") else None
        return record.primary[0] if record and record.primary else None

    @property
    def primary_client_address(self) -> Address | None:
        """Where clients of the primary connect."""
        if self.primary == self.id:
            return self.client_address
        info = self.cluster.info_of(self.primary)
        return info.client if info else None

    @property
    def address(self) -> Address | None:
        """Where other nodes connect to this one."""
        return self.links.address

    @property
    def live(self) -> list[NodeId]:
        return self.cluster.live

    @property
    def queues(self) -> list[Queue]:
        return list(self.handles.values())

    def status(self) -> NodeStatus:
        """What this node knows of itself and of the cluster, as one value."""
        self._here("Node.status")
        return status_of(self)

    def not_primary(self) -> NotPrimary:
        """The error for who asks this node for what only a primary does."""
        return NotPrimary(
            f"node {self.id!r} is {self.role.value}",
            primary=self.primary,
            address=self.primary_client_address,
        )

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
        if name not in self.names:
            raise UnknownQueue(f"no queue {name!r} on node {self.id!r}")
        return self.names[name]

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
        if name in self.names:
            return same_spec(self.names[name], spec)
        id = uuid4()
        self.replica.declare(id, spec)
        self._effects.queue_added(self.replica.queues[id])
        self.poke()
        return self.handles[id]

    # --- roles -----------------------------------------------------------------------------------

    async def promote(self, *, timeout_s: float = 10.0) -> None:
        """Become primary, if the record allows it. Returns when the generation has begun.

        Raises:
            PromotionRefused: A rule forbids it.
            ClusterError: The record could not be read; the compare-and-set was lost, or not decided in time.
        """
        self._here("Node.promote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        before = self.generation
        await self.cluster.refresh(timeout_s)  # What a watch tells late would only lose a compare-and-set.
        self.replica.promote(found_as=uuid4())
        self.poke()
        await self._until(lambda: self.serving and self.generation > before, timeout_s, "promotion")

    async def demote(self, *, timeout_s: float = 10.0) -> None:
        """Hand over: cease to be primary; pending operations are in doubt.

        Raises:
            LocalProtocolError: This node is not primary.
            ClusterError: The cluster manager did not answer in time; this node is still primary.
        """
        self._here("Node.demote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        self.replica.demote()
        self.poke()
        await self._until(lambda: self.replica.primary is None, timeout_s, "hand-over")

    def give_place_away(self, why: str) -> None:
        """As primary, cannot serve: let another member take over, by session and record. See `Place`."""
        self.place.give_up(why)

    async def _until(self, reached: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = self.now() + timeout_s
        while not reached():
            if self.now() > deadline:
                raise ClusterError(f"no {what} within {timeout_s} s")
            if self.replica.stopped:
                raise ClusterError(f"the node stopped during {what}")
            await asyncio.sleep(0.005)

    # --- what links and the cluster tell -----------------------------------------------------------

    def link_closed(self, number: int) -> None:
        self.replica.link_closed(number)
        self.cluster.look()
        self.poke()

    def tick(self, now: float) -> None:
        """Time passed: time-outs of the core, and another look at who is primary."""
        self.replica.tick(now)
        self._disk.look(self.broken)
        self.place.look()
        if now < self.unfit_until:
            self._make_room()
        self.cluster.wake()
        self.troubles.tick()
        self.poke()

    # --- effects ---------------------------------------------------------------------------------

    def poke(self) -> None:
        """Something went into the core: take effects at the end of this turn, once for all of it."""
        if not self._poked:
            self._poked = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        try:
            for queue in unflushed:
                queue.end_of_turn()
            self._poked = False  # What they have published is part of this run …
            if self._unflushed:
                self.poke()  # … but not what their watchers published meanwhile.
            self._driver.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, this node cannot be trusted any more.
            self.broken(error)

    def _later(self, work: Callable[[], None]) -> None:
        """In another turn; and a bug in it is caught."""

        def guarded() -> None:
            try:
                work()
            except Exception as bug:  # noqa: BLE001 - as in `_run`.
                self.broken(bug)

        self._loop.call_soon(guarded)

    def _commit(self, changes: list[Change], done: Done) -> None:
        """Durable elsewhere, maybe; what follows from it is performed here, and a bug in that is caught."""

        def guarded(error: Exception | None) -> None:
            try:
                done(error)
            except Exception as bug:  # noqa: BLE001 - as in `_run`.
                self.broken(bug)

        self._disk.commit(changes, guarded)

    def broken(self, error: BaseException) -> None:
        """A bug, ours or an adapter's: serve no more, so that another node takes over."""
        self._driver.fail(error, Ready())

    def bypass_disk(self) -> None:
        """Do what needs no disk, if that hangs: nothing else waits for it (`Driver.bypass`)."""
        try:
            self._driver.bypass()
        except Exception as error:  # noqa: BLE001 - as in `_run`.
            self.broken(error)

    @property
    def disk_busy_s(self) -> float | None:
        """For how long a transaction is being made durable by now, in seconds; None: there is none."""
        return self._disk.busy_s

    @property
    def promoting_for_s(self) -> float | None:
        """For how long the broker's ``on_promote`` has not returned by now; None: it is not under way."""
        since = self._embedder.promoting_since
        return None if since is None else self.now() - since

    def flush_later(self, queue: Queue) -> None:
        """Something small was published: call the queue back at the end of this turn."""
        self._unflushed.append(queue)
        self.poke()

    def store_failed(self, error: BaseException) -> None:
        """Nothing this node says can be trusted any more: let go of the cluster (R12)."""
        self.store_error = error
        logger.error("node %s: stopping: %r", self.id, error)
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._release(clean=False))

    def log(self, event: str, detail: str) -> None:
        """Something happened and is over. What is still wrong goes to ``troubles.report``."""
        self.troubles.event(event, detail)

    def _write_line(self, level: int, line: str) -> None:
        logger.log(level, "node %s: %s", self.id, line)

    # --- the broker ------------------------------------------------------------------------------

    def _taken(self, news: HandOver, taken: bool) -> None:
        if taken:
            self.replica.handed_over(news.messages)
        else:
            self.replica.hand_over_failed(self.now())
        self.poke()

    def _is_current(self, generation: Generation) -> bool:
        """This node is primary of this generation, now."""
        primary = self.replica.primary
        return primary is not None and primary.generation == generation

    def _broken(self, error: Exception) -> None:
        """The broker cannot serve as primary: let another node try, and do not try again for a while."""
        self.unfit_until = self.now() + self.settings.readmission_delay_max_s
        self._make_room()

    def _make_room(self) -> None:
        """Hand over as soon as there is somebody to take over."""
        if self.replica.primary is not None and len(self.replica.primary.membership.members) > 1:
            self.replica.demote()
            self.poke()
