"""A whole cluster in one thread and in virtual time: the same seed gives the same run, to the last event.

A `World` is nodes, a network, a cluster manager, clients and a checker around one scheduler and one source
of randomness. It does nothing by itself: a scenario or a random walk drives it.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from uuid import UUID

from qpidha.core.births import OWN_OBJECTS, configuration_id
from qpidha.core.legality import SessionState
from qpidha.core.manager import Answer
from qpidha.core.ready import Notice, Request
from qpidha.settings import Settings
from qpidha.testing.invariants.explanations import ExplainingChecker
from qpidha.testing.invariants.removals import Removals
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.clients import Clients
from qpidha.testing.sim.link import End
from qpidha.testing.sim.manager import Fault, SimManager
from qpidha.testing.sim.network import Network
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.observer import Observer
from qpidha.testing.sim.render import render_frame, render_record
from qpidha.testing.sim.scheduler import Scheduler
from qpidha.types import NodeId, QueueId, QueueSpec, Role, Settle
from qpidha.wire.events import Frame
from qpidha.wire.version import PROTOCOL_MAX, PROTOCOL_MIN

SMALL = Settings(
    heartbeat_interval_s=0.1,
    heartbeat_timeout_s=0.4,
    window_bytes_max=1200,
    window_operations_max=6,
    operations_bytes=300,
    plan_chunk_bytes=150,
    plan_chunks_in_flight_max=2,
    ids_runs_per_chunk_max=2,
    ack_timeout_s=1.0,
    rejoin_timeout_s=1.5,
    readmission_delay_s=0.2,
    readmission_delay_max_s=1.0,
    commit_timeout_s=2.0,
    catch_up_time_max_s=None,
    record_timeout_s=0.5,
    record_retry_s=0.1,
)
"""Limits so small that catch-up, lagging, removal and re-admission happen in every run."""


class World:
    """A simulated cluster, its clients and the checker of its invariants."""

    def __init__(
        self,
        *,
        seed: int = 0,
        nodes: Sequence[NodeId] = ("P", "B1", "B2"),
        settings: Settings = SMALL,
        wire: bool = True,
        instant: bool = False,
    ) -> None:
        """``instant``: no delays but those a scenario makes by hand."""
        self.random = random.Random(seed)
        self.settings = settings
        self.scheduler = Scheduler()
        self.instant = instant
        self.disk_slowness = self.network_slowness = 1.0
        self.cluster = self.new_uuid()
        self.listeners: list[Callable[[str], None]] = []
        """Called with every event as a line of text."""
        self.observers: list[Observer] = []
        """Called with every event as values."""
        self.on_send: Callable[[End, Frame], None] = lambda end, frame: None
        self.on_notice: Callable[[SimNode, Notice], None] = lambda node, notice: None
        self.on_request: Callable[[SimNode, Request], None] = lambda node, request: None
        self.hash = 0
        """CRC-32 of all lines so far: equal in two runs of the same seed."""
        self.counts: Counter[str] = Counter()
        """How often each fault took effect, and its outcomes."""
        self.queues: dict[str, QueueId] = {}
        self._names: dict[QueueId, str] = {}
        self.checker = ExplainingChecker(self)
        self.removals = Removals(self.checker, self.scheduler, settings, self.sometimes)
        self.clients = Clients(self.checker, self.observe)
        self.clients.on_declared = self.named
        self.network = Network(
            self.scheduler,
            wire=wire,
            delay=self._delay(0.001, 0.02, slowness=lambda: self.network_slowness),
            seed=seed,
        )
        self.manager = SimManager(
            self.scheduler,
            timeout_s=settings.record_timeout_s,
            delay=self._delay(0.001, 0.1),
            late=self._delay(0.5, 3.0),
        )
        self.disk_delay = self._delay(0.0005, 0.01, slowness=lambda: self.disk_slowness)
        self.nodes = {name: SimNode(self, name) for name in nodes}
        """Every process by host, with second processes of the same node id."""
        self.hosts = list(self.nodes)
        """Every host so far, running or not."""
        self.manager.nodes = self.nodes
        self.manager.on_change = self._record_changed
        self.manager.on_fault = self._count_fault
        self.network.counted = self.sometimes
        self.network.on_send = self._sent
        self.network.on_deliver = self._delivered

    # --- chance --------------------------------------------------------------------------------------

    def new_uuid(self) -> UUID:
        """Return a UUID drawn from the seed of the run."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def _delay(
        self, low: float, high: float, slowness: Callable[[], float] = lambda: 1.0
    ) -> Callable[[], float]:
        if self.instant:
            return lambda: 0.0
        return lambda: self.random.uniform(low, high) * slowness()

    def sometimes(self, what: str) -> None:
        """Count a case; one that stays at zero over many runs is not tested."""
        self.counts[what] += 1

    def _count_fault(self, fault: Fault) -> None:
        """Count the outcome of a compare-and-set."""
        self.sometimes(f"compare-and-set {fault.value}")
        if fault is not Fault.NONE:
            self.sometimes("fault lost_reply")

    # --- the record of what happened -------------------------------------------------------------------

    def say(self, line: str) -> None:
        """Add one line to the trace and the hash, and pass it to listeners and observers."""
        self.hash = zlib.crc32(f"{self.scheduler.now:.9f} {line}".encode(), self.hash)
        for listener in self.listeners:
            listener(line)
        for observer in self.observers:
            observer.said(line)

    def tell(self, what: str, *values: str, by: SimNode | None = None) -> None:
        """Record an answer to a client: a line of the trace, and a call of the observers."""
        self.say(f"{by.name} {what}: {' '.join(values)}" if by else f"{what}: {' '.join(values)}")
        self.observe(by, what, values)

    def observe(self, node: SimNode | None, what: str, values: Sequence[str]) -> None:
        """Pass an action of a client to the observers only; the trace has its outcome."""
        for observer in self.observers:
            observer.client(node, what, values)

    def _sent(self, end: End, frame: Frame) -> None:
        self.on_send(end, frame)
        for observer in self.observers:
            observer.sent(end, frame)

    def _delivered(self, end: End, frame: Frame) -> None:
        for observer in self.observers:
            observer.arrived(end, frame)
        self.say(f"{end.other.node.host} -> {end.node.host} {render_frame(frame, self)}")

    def noticed(self, node: SimNode, notice: Notice) -> None:
        """Pass a notice of a node's core to the observers."""
        self.on_notice(node, notice)
        for observer in self.observers:
            observer.noticed(node, notice)

    def requested(self, node: SimNode, request: Request) -> None:
        """Pass a request of a node to the check of removals and to the observers."""
        self.on_request(node, request)
        self.removals.requested(node, request)
        for observer in self.observers:
            observer.requested(node, request)

    def answered(self, node: SimNode, request: Request, answer: Answer) -> None:
        """Pass the answer that a node received to the observers."""
        for observer in self.observers:
            observer.answered(node, request, answer)

    def _record_changed(self) -> None:
        current = self.manager.current
        assert current is not None
        record = current.record
        members = ",".join(sorted(m.node for m in record.members))
        primary = record.primary[0] if record.primary else "nobody"
        self.say(f"record {current.version}: generation {record.generation} {primary} of {members}")
        for observer in self.observers:
            observer.recorded(record)
        self.checker.record_changed(record)

    # --- the cluster -----------------------------------------------------------------------------------

    def queue_id(self, name: str) -> QueueId:
        """The queue that was last declared under this name; a uuid that no queue has if none was."""
        return self.queues.get(name) or self.queues.setdefault(name, self.new_uuid())

    def declare(
        self, node: SimNode, name: str, settle: Settle, kind: str = "fifo", *, named: str | None = None
    ) -> None:
        """Declare a queue on a primary. ``named``: to the brokers it has another name than in this simulation."""
        spec = QueueSpec(name=named or name, settle=settle, kind=kind)
        self.clients.declare(node, spec, lambda queue: self.named(name, queue))

    def named(self, name: str, queue: QueueId) -> None:
        """Call a queue by this name from now on."""
        self.queues[name] = queue
        self._names[queue] = name

    def queue_name(self, queue: QueueId) -> str:
        """Return the name under which a queue was declared, ``?`` for an unknown one. O(1)."""
        if queue == configuration_id(self.cluster):
            return "objects"
        if queue == OWN_OBJECTS:
            return "own"
        return self._names.get(queue, "?")

    def processes(self, name: NodeId) -> list[SimNode]:
        """All processes with this node id: one, unless the ``twin`` fault started a second."""
        return [n for n in self.nodes.values() if n.name == name]

    def start(self) -> None:
        """Start all nodes."""
        for node in self.nodes.values():
            node.start()

    @property
    def primary(self) -> SimNode | None:
        """The node that the record names and that acts as primary, if it does."""
        current = self.manager.current
        if current is None or current.record.primary is None:
            return None
        name, boot = current.record.primary
        return next((n for n in self.primaries if n.name == name and n.replica.boot == boot), None)

    @property
    def primaries(self) -> list[SimNode]:
        """Every node that believes it is primary, rightly or not."""
        return [n for n in self.nodes.values() if n.up and not n.paused and n.replica.primary is not None]

    def healthy(self) -> bool:
        """Whether all nodes are members in sync and no work or answer is outstanding."""
        current = self.manager.current
        if current is None or {m.node for m in current.record.members} != set(self.nodes):
            return False
        roles = [n.role for n in self.nodes.values()]
        settled = all(n.driver.idle and n.replica.out.empty for n in self.nodes.values() if n.up)
        return (
            settled
            and roles.count(Role.ACTIVE) == 1
            and roles.count(Role.READY) == len(roles) - 1
            and all(n.replica.manager.in_flight is None for n in self.nodes.values())
            and self.primary is not None
            and self.primary.replica.primary is not None
            and self.primary.replica.primary.safe == self.primary.replica.primary.position
            and self.primary.replica.primary.membership.joining is None
            and all(s.state is SessionState.STREAMING for s in self.primary.replica.primary.sessions.values())
            and not any(n.disk.content.shelf for n in self.nodes.values())
            and self.clients.waiting == 0
        )

    def heal(self, *, limit_s: float = 60.0) -> None:
        """End all faults and run until the cluster is healthy.

        Raises:
            Violation: It is not after ``limit_s`` of virtual time, or its members differ.
        """
        self.say("heal")
        self.disk_slowness = self.network_slowness = 1.0
        self.network.mend()
        for twin in [n for n in self.nodes.values() if n.host != n.name]:
            self.end_twin(twin)
        for node in self.nodes.values():
            self.manager.reconnect(node)
            node.resume()
            if not node.takes_discarded or node.versions != (PROTOCOL_MIN, PROTOCOL_MAX):
                node.crash()  # What its embedder did not take is offered again by the next process.
            node.auto_connect = node.takes_discarded = True
            node.versions = (PROTOCOL_MIN, PROTOCOL_MAX)
            node.clock.set(rate=1.0)
            node.stall_s = 0.0
            node.disk.failing, node.disk.full, node.disk.armed = None, False, None
            if node.disk.damage:
                node.replace_disk()
            if not node.up:
                node.start()
            node.release_disk()
        self.network.wake()
        end = self.scheduler.now + limit_s
        while not self.healthy():
            if self.scheduler.now > end:
                raise Violation(f"live: not healed after {limit_s} s: {self.describe()}")
            self.scheduler.run_for(0.3)
            for node in self.nodes.values():
                if not node.up:
                    node.start()
            if self.primary is None and any(not node.promote() for node in self.nodes.values()):
                self.scheduler.run_for(0.5)
        self.checker.converged(list(self.nodes.values()))

    def start_twin(self, name: NodeId) -> None:
        """Start a second process with the same node id, on another disk."""
        twin = SimNode(self, name, f"{name}'")
        self.nodes[twin.host] = twin
        self.hosts += [twin.host] if twin.host not in self.hosts else []
        twin.start()

    def end_twin(self, twin: SimNode) -> None:
        """Resolve a duplicate node id as an operator does: keep the store that the record lists."""
        original, current = self.nodes[twin.name], self.manager.current
        listed = current.record.member(twin.name) if current else None
        twin.crash()
        del self.nodes[twin.host]
        if listed is not None and listed.epoch == twin.epoch and not twin.disk.damage:
            original.replace_disk()
            original.disk.content = twin.disk.content
            self.checker.forget(original)
            older = self.checker.rolled_back  # Its disk is what the twin's was, an older copy or not.
            (older.add if twin.host in older else older.discard)(original.host)

    def drain(self) -> None:
        """Consume every message on the primary, and check that no node holds any. Raises `Violation`."""
        primary = self.primary
        assert primary is not None
        for queue in [q.queue for q in primary.replica.message_queues]:
            while self.clients.deliver(primary, queue, again=True):
                if not self.clients.accept(primary, queue, self.clients.unsettled(primary, queue)):
                    raise Violation("live: operations are refused although all nodes are members")
        self.scheduler.run_while(lambda: not self.healthy(), limit_s=30.0)
        self.checker.drained(list(self.nodes.values()))

    def describe(self) -> str:
        """One line for each node, for a failure report."""
        current = self.manager.current
        lines = [f"record {render_record(current.record) if current else None}"]
        for node in self.nodes.values():
            if not node.up:
                lines.append(f"{node.host} down {node.refused}")
                continue
            what, flight = f"{node.host} {node.role.value}", node.replica.manager.in_flight is not None
            what += f" generation {node.replica.generation} in flight {flight}"
            lines.append(f"{what} committing {not node.driver.idle}")
        return "; ".join(lines)
