"""One node of a cluster, under asyncio: the public face of the library."""

from __future__ import annotations

from pathlib import Path

from qpidha.checks import SECONDS_OR_ZERO, instance_of, integer, optional
from qpidha.interfaces import Broker, MessageStore, Promoter, RecordStore, Transport
from qpidha.node.barrier import barrier
from qpidha.node.caller import FORKED, check_addresses, check_node, checked_score, wrong_thread
from qpidha.node.control import Control
from qpidha.node.declaration import declare
from qpidha.node.parts import Parts
from qpidha.node.queue import Queue
from qpidha.node.roles import Roles
from qpidha.node.runtime import OnEvent, Runtime
from qpidha.node.starter import Starter
from qpidha.node.status import NodeStatus, status_of
from qpidha.node.waits import Reached
from qpidha.settings import Settings
from qpidha.types import Address, Generation, NodeId, QueueSpec, Role, Settle, Stopped

TEXT = instance_of(str, what="text")
QUEUES_MAX = optional(integer(0, 2**31 - 1))
TIMEOUT = optional(SECONDS_OR_ZERO)


class Node:
    """A member of a cluster. Start it, work with its queues while it is primary, stop it.

    Use it from one event loop, the one it was started in: methods called from another thread raise `WrongThread`.
    Methods that wait are coroutines; the others return at once and never block.

    It is started once and stopped once. Before the start and after the stop `status`, `role`, `generation` and the
    other properties answer; what needs a running node raises a `CallerError`: `LocalProtocolError` before the start,
    `NotPrimary`, `NodeStopped` or `LocalProtocolError` after the stop.

        node = Node("a", broker=broker, store=store, transport=transport, records=records)
        async with node:
            await node.promote()
            queue = node.declare("orders")
            receipt = await queue.enqueue(b"one")
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
        on_event: OnEvent | None = None,
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
            on_event: Called in the event loop with every `qpidha.events.NodeEvent`, for metrics for instance. It must
                not block; what it raises is logged. The same events are lines of the logger ``qpidha``.

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
            on_event=on_event,
        )
        check_addresses(listen, advertise, client_address)
        self._runtime = runtime = Runtime(id, settings or Settings(), client_address, on_event)
        self._parts = Parts(
            runtime, broker=broker, store=store, transport=transport, records=records, promoter=promoter
        )
        self._roles = Roles(self._parts)
        socket = None if control is None else Control(self._parts, self._roles, Path(control))
        self._life = self._parts.life
        self._life.control = socket
        self._starter = Starter(
            self._parts, socket, listen=listen, advertise=advertise, score=checked_score(score, promoter)
        )

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, check it against the record, join the cluster. Returns before any promotion.

        If it fails, or is cancelled, everything is released again before it raises.

        Raises:
            StoreError: The store may not serve, the message says why. Nothing was changed elsewhere.
            ClusterError: The cluster manager cannot be reached.
            OSError: The address cannot be bound.
            LocalProtocolError: It was started before, or stopped.
        """
        if self._runtime.thread == FORKED:
            raise wrong_thread("Node.start", FORKED)
        await self._life.start(self._starter.start)

    async def stop(self) -> None:
        """Stop in order: pending operations are in doubt, the broker is demoted, the store is marked clean.

        Returns when everything is released (store, session, sockets, threads), at the latest after
        ``Settings.stop_timeout_s``. It may be called at any time: before, while or after the node starts, twice, and
        after the node ended by itself. Called from one of the broker's methods it returns at once, because the node
        ends only after that method. Cancelling the caller does not undo it. `wait_stopped` says what was not released.
        """
        if self._runtime.thread:
            self._runtime.require_thread("Node.stop")
        await self._life.stop()

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- waiting ---------------------------------------------------------------------------------

    async def wait_stopped(self) -> Stopped:
        """Wait for the end of the node, asked for or not. Returns its reason, once everything is released.

        A node that ended by itself, because its store failed for instance, does not start again: let the process end
        with an error, so that its supervisor starts it anew.
        """
        return await self._life.wait()

    async def wait_serving(self, timeout_s: float | None = None) -> None:
        """Wait until this node serves: it is primary, and ``on_promote`` has returned.

        Args:
            timeout_s: Wait for at most this long; None: for ever. A pause of the process does not count.

        Raises:
            NodeStopped: The node stopped first, or had stopped.
            WaitTimeout: It did not serve within ``timeout_s``.
            LocalProtocolError: The node has not started.
        """
        await self._wait("serving", self._roles.is_open, timeout_s)

    async def wait_in_sync(self, timeout_s: float | None = None) -> None:
        """Wait until this node is a member of the record (`NodeStatus.in_sync`): it holds what was acknowledged.

        Args, and errors: as for `wait_serving`.
        """
        await self._wait("in_sync", self._roles.is_in_sync, timeout_s)

    async def _wait(self, what: str, reached: Reached, timeout_s: float | None) -> None:
        self._runtime.require_thread(f"Node.wait_{what}")
        TIMEOUT("timeout_s", timeout_s)
        await self._roles.wait(what.replace("_", " "), reached, timeout_s)

    async def barrier(self) -> Generation:
        """Wait until everything enqueued, accepted, moved and declared so far in this term is safe.

        What is published by other tasks after the call is not waited for. O(queues used in this term). Returns the
        generation in which it is safe.

        Raises:
            NotPrimary: This node does not serve.
            InDoubt: The term ended first: each operation that was pending may be safe or not.
            LocalProtocolError: The node has not started.
        """
        self._runtime.require_thread("Node.barrier")
        return await barrier(self._parts)

    # --- state -----------------------------------------------------------------------------------

    @property
    def id(self) -> NodeId:
        """The name of the node."""
        return self._runtime.id

    @property
    def settings(self) -> Settings:
        """The settings it was made with."""
        return self._runtime.settings

    @property
    def role(self) -> Role:
        """`Role.STOPPED` before the start has succeeded, and from the beginning of the stop on."""
        return self._runtime.role

    @property
    def serving(self) -> bool:
        """This node is primary and takes publishes: ``on_promote`` was called, and has not failed."""
        return self._runtime.serving

    @property
    def generation(self) -> Generation:
        """The highest generation seen; 0 before the start."""
        return self._runtime.replica.generation

    @property
    def primary(self) -> NodeId | None:
        """The primary, as far as this node knows: None before it has started and once it stops."""
        return self._runtime.primary

    @property
    def primary_client_address(self) -> Address | None:
        """Where clients of the primary connect; None if there is none that serves, as far as this node knows."""
        return self._runtime.primary_client_address

    @property
    def client_address(self) -> Address | None:
        """Where clients find this node: the address that it was made with."""
        return self._runtime.client_address

    @property
    def address(self) -> Address | None:
        """Where other nodes connect to this one; None before it listens."""
        return self._parts.links.address

    @property
    def live(self) -> list[NodeId]:
        """The nodes with a session, sorted, as last seen; none unless the node is running."""
        return self._parts.live

    @property
    def stopped(self) -> str | None:
        """Why this node has stopped, or is about to; None while it does not."""
        return self._runtime.stop_reason

    def status(self, *, queues_max: int | None = None) -> NodeStatus:
        """What this node knows of itself and of the cluster, as one value. Also before its start and after its end.

        Args:
            queues_max: Name at most this many queues; None: all. Each costs some microseconds.

        Raises:
            ArgumentError: Not a number of queues.
            WrongThread: Called from another thread than the event loop's.
        """
        if self._runtime.thread:
            self._runtime.require_thread("Node.status")
        QUEUES_MAX("queues_max", queues_max)
        return status_of(self._parts, queues_max)

    # --- queues ----------------------------------------------------------------------------------

    @property
    def queues(self) -> list[Queue]:
        """A handle of every queue. O(queues): see `queue` for one."""
        return self._parts.handles.all()

    def queue(self, name: str) -> Queue:
        """The queue of this name, as a handle for the current term: one object for each term. O(1).

        Raises:
            UnknownQueue: This node has none of this name.
            ArgumentError: Not text.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.queue")
        TEXT("name", name)
        return self._parts.handles.require(name)

    def declare(self, name: str, *, settle: Settle = Settle.REPLICATED, kind: str = "fifo") -> Queue:
        """The queue of this name, made now if there is none. On the primary only. O(1).

        It may be used at once: what is published on it completes after its declaration.

        Raises:
            NotPrimary: Only the primary declares queues.
            QueueMismatch: There is one of this name with another settle or kind; `queue` returns it as it is.
            ArgumentError: A name, settle or kind that could not be stored or sent.
            CallerError: There are ``queues_max`` queues already.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.declare")
        return declare(self._parts, QueueSpec(name=name, settle=settle, kind=kind))

    def renew_listener(self, name: str) -> bool:
        """Ask the broker for another listener in place of one that was cut off. True: the queue has one now.

        The listener is told the whole content, at once and in this turn. O(messages of the queue).

        Raises:
            UnknownQueue, LocalProtocolError, WrongThread: As for `queue`.
        """
        return self._parts.effects.listeners.renew(self.queue(name)._queue)

    # --- roles -----------------------------------------------------------------------------------

    async def promote(self, *, timeout_s: float = 10.0) -> None:
        """Become primary, if the record allows it. Returns when the generation has begun and this node serves.

        Raises:
            PromotionRefused: A rule forbids it.
            ClusterError: The record could not be read; the compare-and-set was lost, or not decided in time.
            LocalProtocolError: The node has not started, or is stopped, or the caller is one of the broker's methods.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.promote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        await self._roles.promote(timeout_s=timeout_s)

    async def demote(self, *, timeout_s: float = 10.0) -> None:
        """Hand over: cease to be primary, and leave the place to the other live members; what is pending is in doubt.

        If no other node is in sync yet it waits for one first, and goes on serving meanwhile. Afterwards this node does
        not take the place again before another primary was recorded, or ``Settings.hand_over_timeout_s`` have passed.

        Raises:
            LocalProtocolError: This node is not primary, has not started, or is stopped.
            HandOverRefused: No other node can take the place, and this node's promoter would take it again.
            ClusterError: The cluster manager did not answer in time; this node is still primary.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.demote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        await self._roles.demote(timeout_s=timeout_s)

    def give_place_away(self, why: str) -> None:
        """As primary, let another member take over: the broker has found that it cannot serve. Returns at once.

        Lasts until this node is not primary any more; a primary without another member goes on. May be called again.

        Raises:
            ArgumentError: Not text.
            LocalProtocolError: The node has not started, or is stopped.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.give_place_away")
        TEXT("why", why)
        self._roles.give_place_away(why)
