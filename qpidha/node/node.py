"""One node of a cluster, under asyncio: the main public class of the library."""

from __future__ import annotations

from pathlib import Path

from qpidha.addresses import Addresses
from qpidha.core.indexed import QueueTypes
from qpidha.interfaces import Broker, MessageStore, Promoter, RecordStore, Transport
from qpidha.node.caller import check_addresses, check_node, checked_score
from qpidha.node.control import Control
from qpidha.node.participant import Participant
from qpidha.node.parts import Parts
from qpidha.node.roles import Roles
from qpidha.node.runtime import OnEvent, Runtime
from qpidha.node.starter import Starter
from qpidha.node.sync.caller import LoopCaller
from qpidha.node.sync.loopcalls import LoopCalls
from qpidha.node.sync.node import SyncNode
from qpidha.queues import STANDARD_TYPES
from qpidha.settings import Settings
from qpidha.types import Address, NodeId


class Node(Participant):
    """A member of a cluster. Start it, work with its queues while it is primary, stop it.

    Use it from one event loop, the one it was started in: methods called from another thread raise `WrongThread`. Other
    threads use `sync`, and may read properties. Methods that wait are coroutines; the others return at once and never
    block.

    It is started once and stopped once. `status`, `role`, `generation` and the other properties may also be used before
    the start and after the stop. Methods that need a running node raise a `CallerError`: `LocalProtocolError` before the
    start, `NotPrimary`, `qpidha.errors.NodeStopped` or `LocalProtocolError` after the stop.

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
        listen: Addresses = ("127.0.0.1", 0),
        advertise: Addresses | None = None,
        client_address: Address | None = None,
        promoter: Promoter | None = None,
        score: int | None = None,
        settings: Settings | None = None,
        control: str | Path | None = None,
        on_event: OnEvent | None = None,
        queue_types: QueueTypes = STANDARD_TYPES,
    ) -> None:
        """Nothing happens before `start`, but all arguments are checked here.

        Args:
            id: The name of the node: stable over restarts, never reused for another machine.
            listen: Where other nodes connect: an address, or up to 8 of them, such as one in each of two networks.
                Port 0 picks one. The bound addresses are published in this order.
            advertise: Addresses published instead of the bound ones (NAT, proxy, names). Required if ``listen`` has a
                wildcard such as 0.0.0.0, which others cannot connect to. Names are resolved by the other nodes, again
                before each attempt, and they use the first address that answers.
            client_address: Where *clients* connect to this node; other nodes redirect their clients to it.
            promoter: Decides when to try to become primary. None: only `promote` does.
            score: Higher is preferred by the priority promoter. By default the promoter's own priority.
            control: Where to answer ``qpidha status`` and ``qpidha promote``: a socket path.
            on_event: Called in the event loop with every `qpidha.events.NodeEvent`, for example to count them. It must
                not block; an error that it raises is logged. The logger ``qpidha`` gets the same events as lines.
            queue_types: By kind of queue, the function that makes the index of its messages: `qpidha.queues.queue_types`.
                Use the same on all nodes. A kind that is not in it has no index.

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
            queue_types=queue_types,
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
            self._parts,
            socket,
            listen=listen,
            advertise=advertise,
            score=checked_score(score, promoter),
            queue_types=queue_types,
        )
        self._sync = SyncNode(self, LoopCaller(LoopCalls(runtime, self._life.wait)))

    @property
    def sync(self) -> SyncNode:
        """The node for other threads: the same methods, which wait for the event loop. To be read from any thread."""
        return self._sync

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, check it against the record, join the cluster. Returns before any promotion.

        If it fails, or is cancelled, all resources are released before it raises.

        Raises:
            StoreError: The store may not serve; the message says why. No other node was affected.
            ClusterError: The cluster manager cannot be reached.
            AddressUnavailable: It cannot listen on an address. An OSError.
            OSError: The control socket cannot be made.
            LocalProtocolError: It was started before, or stopped.
            WrongThread: It was started before, in another thread.
        """
        if self._runtime.thread:
            self._runtime.require_thread("Node.start")
        await self._life.start(self._starter.start)

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
