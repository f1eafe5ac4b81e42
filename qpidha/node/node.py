"""One node of a cluster, under asyncio: the main public class of the library."""

from __future__ import annotations

from pathlib import Path

from qpidha.checks import SECONDS_OR_ZERO, instance_of, integer, optional
from qpidha.interfaces import Broker, MessageStore, Promoter, RecordStore, Transport
from qpidha.node.barrier import barrier
from qpidha.node.caller import FORKED, check_addresses, check_node, checked_score, wrong_thread
from qpidha.node.content import Content
from qpidha.node.control import Control
from qpidha.node.parts import Parts
from qpidha.node.roles import Roles
from qpidha.node.runtime import OnEvent, Runtime
from qpidha.node.starter import Starter
from qpidha.node.status import NodeStatus, status_of
from qpidha.node.waits import Reached
from qpidha.settings import Settings
from qpidha.types import Address, Generation, NodeId, Role, Stopped

TEXT = instance_of(str, what="text")
QUEUES_MAX = optional(integer(0, 2**31 - 1))
TIMEOUT = optional(SECONDS_OR_ZERO)


class Node(Content):
    """A member of a cluster. Start it, work with its queues while it is primary, stop it.

    Use it from one event loop, the one it was started in: methods called from another thread raise `WrongThread`.
    Methods that wait are coroutines; the others return at once and never block.

    It is started once and stopped once. `status`, `role`, `generation` and the other properties may also be used before
    the start and after the stop. Methods that need a running node raise a `CallerError`: `LocalProtocolError` before the
    start, `NotPrimary`, `NodeStopped` or `LocalProtocolError` after the stop.

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
            listen: Where other nodes connect; port 0 picks one. The bound address is published to them.
            advertise: Address published instead of the bound one (NAT, proxy). Required if ``listen`` is a wildcard
            such as 0.0.0.0, which others cannot connect to.
            client_address: Where *clients* connect to this node; other nodes redirect their clients to it.
            promoter: Decides when to try to become primary. None: only `promote` does.
            score: Higher is preferred by the priority promoter. By default the promoter's own priority.
            control: Where to answer ``qpidha status`` and ``qpidha promote``: a socket path.
            on_event: Called in the event loop with every `qpidha.events.NodeEvent`, for example to count them. It must
                not block; an error that it raises is logged. The logger ``qpidha`` gets the same events as lines.

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
        parts = Parts(
            runtime, broker=broker, store=store, transport=transport, records=records, promoter=promoter
        )
        self._begin_content(parts)
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

        If it fails, or is cancelled, all resources are released before it raises.

        Raises:
            StoreError: The store may not serve; the message says why. No other node was affected.
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
        after the node stopped by itself. Called from one of the broker's methods, it returns at once, because the node
        stops only after that method. Cancelling the caller does not undo it. `wait_stopped` says what was not released.
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
        """Wait until the node has stopped, on request or by itself. Returns the reason, once everything is released.

        A node that stopped by itself, for example because its store failed, cannot be started again: end the process
        with an error, so that its supervisor starts it again.
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
        """Wait until this node is a member of the record (`NodeStatus.in_sync`): it has every acknowledged message.

        Args, and errors: as for `wait_serving`.
        """
        await self._wait("in_sync", self._roles.is_in_sync, timeout_s)

    async def _wait(self, what: str, reached: Reached, timeout_s: float | None) -> None:
        self._runtime.require_thread(f"Node.wait_{what}")
        TIMEOUT("timeout_s", timeout_s)
        await self._roles.wait(what.replace("_", " "), reached, timeout_s)

    async def barrier(self) -> Generation:
        """Wait until everything enqueued, accepted, moved and declared so far in this term is safe.

        Publishes of other tasks after the call are not waited for. O(queues used in this term). Returns the generation
        in which everything is safe.

        Raises:
            NotPrimary: This node does not serve.
            InDoubt: The term ended first; the outcome of each pending operation is not known.
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
        """The primary, as far as this node knows; None before the start and from the beginning of the stop on."""
        return self._runtime.primary

    @property
    def primary_client_address(self) -> Address | None:
        """Where clients connect to the primary; None if this node knows of no primary that serves."""
        return self._runtime.primary_client_address

    @property
    def client_address(self) -> Address | None:
        """Where clients connect to this node, as given to the constructor."""
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
        """The state of this node, and of the cluster as this node sees it. Also before the start and after the stop.

        Args:
            queues_max: List at most this many queues; None: all. Each costs some microseconds.

        Raises:
            ArgumentError: Not a number of queues.
            WrongThread: Called from another thread than the event loop's.
        """
        if self._runtime.thread:
            self._runtime.require_thread("Node.status")
        QUEUES_MAX("queues_max", queues_max)
        return status_of(self._parts, queues_max)

    # --- roles -----------------------------------------------------------------------------------

    async def promote(self, *, timeout_s: float = 10.0) -> None:
        """Become primary, if the record allows it. Returns when the generation has begun and this node serves.

        Raises:
            PromotionRefused: A rule forbids it.
            ClusterError: The record could not be read, another node changed it first, or no answer came in time.
            LocalProtocolError: The node has not started, or is stopped, or the caller is one of the broker's methods.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.promote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        await self._roles.promote(timeout_s=timeout_s)

    async def demote(self, *, timeout_s: float = 10.0) -> None:
        """Hand over: stop being primary, so that another live member is promoted. Pending operations are in doubt.

        If no other node is in sync yet, it waits for one first and serves meanwhile. Afterwards this node does not try to
        be primary before the record names another primary, or ``Settings.hand_over_timeout_s`` have passed.

        Raises:
            LocalProtocolError: This node is not primary, has not started, or is stopped.
            HandOverRefused: No other node can take over, and this node's promoter would promote it again.
            ClusterError: The cluster manager did not answer in time; this node is still primary.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.demote")
        SECONDS_OR_ZERO("timeout_s", timeout_s)
        await self._roles.demote(timeout_s=timeout_s)

    def give_place_away(self, why: str) -> None:
        """As primary, let another member take over: the broker has found that it cannot serve. Returns at once.

        Until another member can take over, this node stays primary; then it steps down. May be called again.

        Raises:
            ArgumentError: Not text.
            LocalProtocolError: The node has not started, or is stopped.
            WrongThread: Called from another thread than the event loop's.
        """
        self._runtime.require_thread("Node.give_place_away")
        TEXT("why", why)
        self._roles.give_place_away(why)
