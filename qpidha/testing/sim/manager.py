"""A simulated cluster manager: one record, linearizable, and the ways in which a request to it can fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

from qpidha.core.manager import Answer, Applied, Lost, NotSent, Read, Unknown
from qpidha.core.ready import CompareAndSet, Request
from qpidha.testing.sim.scheduler import Scheduler
from qpidha.types import NodeId, Versioned


class Fault(Enum):
    """How one request fails, if it does."""

    NONE = "none"
    UNAVAILABLE = "unavailable"
    """Not sent, and the node knows it."""
    LOST = "lost"
    """Never arrives; the node does not know."""
    NO_REPLY = "no-reply"
    """Takes effect; the node does not know."""
    LATE = "late"
    """Takes effect, if its version still matches, long after the node gave up waiting."""
    TWICE = "twice"
    """Arrives a second time, later."""


class WatchingNode(Protocol):
    """A node as the manager sees it."""

    boots: int

    @property
    def host(self) -> NodeId:
        """The address of the process."""

    def post(self, action: Callable[[], None]) -> None:
        """Run an action in the node, after its pause if it is paused."""

    def answered(self, request: Request, answer: Answer, boot: int) -> None:
        """Receive the answer to a request of this boot."""

    def record_seen(self, current: Versioned | None, boot: int) -> None:
        """Receive the record that the watch of this boot reports."""


class SimManager:
    """Keeps the record and answers requests after a delay; all times are virtual."""

    def __init__(
        self, scheduler: Scheduler, *, timeout_s: float, delay: Callable[[], float], late: Callable[[], float]
    ) -> None:
        self.scheduler = scheduler
        self.delay = delay
        self.late = late
        """Draws the delay (s) of a late request."""
        self.timeout_s = timeout_s
        self.current: Versioned | None = None
        self.nodes: Mapping[NodeId, WatchingNode] = {}
        self.unreachable: set[NodeId] = set()
        """These nodes are cut off: requests fail, watches are silent."""
        self.hints = "none"
        """Who is said to be gone (`qpidha.testing.sim.hints`): "none", "right" or "wrong"."""
        self.stale: set[NodeId] = set()
        """These nodes' watches are silent; requests work."""
        self.held: list[Callable[[], None]] | None = None
        """Not None: late requests wait here until they are let through by hand."""
        self.faults: dict[NodeId, deque[Fault]] = {}
        """Faults of the next compare-and-sets of a node, in order."""
        self.draw: Callable[[], Fault] = lambda: Fault.NONE
        """Draws the fault of every other request."""
        self.on_fault: Callable[[Fault], None] = lambda fault: None
        """Called with the fault of each compare-and-set (`Fault.NONE` for none), before its effects."""
        self.on_change: Callable[[], None] = lambda: None

    # --- requests ------------------------------------------------------------------------------------

    def request(self, node: WatchingNode, request: Request) -> None:
        """Accept a request of a node. It is answered after a delay, or fails as its fault says."""
        fault = self._fault(node.host, request)
        boot = node.boots
        if isinstance(request, CompareAndSet):
            self.on_fault(fault)

        def answer(value: Answer) -> None:
            node.post(lambda: node.answered(request, value, boot))

        def apply() -> Answer:
            return self._perform(request)

        if node.host in self.unreachable or fault is Fault.UNAVAILABLE:
            self.scheduler.after(self.delay(), lambda: answer(NotSent()))
            return
        if fault in (Fault.LOST, Fault.NO_REPLY, Fault.LATE):
            if fault is Fault.NO_REPLY:
                self.scheduler.after(self.delay(), lambda: _ignore(apply()))
            elif fault is Fault.LATE and self.held is not None:
                self.held.append(lambda: _ignore(apply()))
            elif fault is Fault.LATE:
                self.scheduler.after(self.late(), lambda: _ignore(apply()))
            self.scheduler.after(self.timeout_s, lambda: answer(Unknown()))
            return
        if fault is Fault.TWICE:
            self.scheduler.after(self.late(), lambda: _ignore(apply()))

        def arrive() -> None:
            outcome = apply()
            self.scheduler.after(self.delay(), lambda: answer(outcome))

        self.scheduler.after(self.delay(), arrive)

    def _fault(self, node: NodeId, request: Request) -> Fault:
        planned = self.faults.get(node)
        if planned and isinstance(request, CompareAndSet):
            return planned.popleft()
        return self.draw()

    def _perform(self, request: Request) -> Answer:
        if not isinstance(request, CompareAndSet):
            return Read(self.current)
        version = self.current.version if self.current else None
        if request.expected != version:
            return Lost(self.current)
        self.current = Versioned(request.new, (version or 0) + 1)
        self.on_change()
        self.notify()
        return Applied(self.current)

    # --- watches -------------------------------------------------------------------------------------

    def notify(self) -> None:
        """Report the record to the watch of every node, each after a delay."""
        for node in self.nodes.values():
            self.show(node)

    def show(self, node: WatchingNode) -> None:
        """Report the record to the watch of one node after a delay, unless the node is cut off."""
        if node.host in self.unreachable or node.host in self.stale:
            return
        seen, boot = self.current, node.boots
        self.scheduler.after(self.delay(), lambda: node.post(lambda: node.record_seen(seen, boot)))

    def reconnect(self, node: WatchingNode) -> None:
        """End the faults of a node's connection, and report the record to its watch."""
        self.unreachable.discard(node.host)
        self.stale.discard(node.host)
        self.show(node)


def _ignore(_: object) -> None:
    """Drop the answer: the node gave up waiting."""
