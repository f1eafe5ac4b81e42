"""What one part of a simulated cluster needs of the others, as protocols.

The parts know these, and `World` puts the parts together: so a part can be read, tested and replaced alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from qpidha.core.manager import Answer
from qpidha.core.ready import Completion, Notice, Request, RoleChanged
from qpidha.journal import Change
from qpidha.settings import Settings
from qpidha.testing.sim.manager import SimManager
from qpidha.testing.sim.network import Network
from qpidha.testing.sim.scheduler import Scheduler
from qpidha.types import Discarded, Generation, NodeId, Position
from qpidha.wire.events import Frame

N = TypeVar("N")
N_contra = TypeVar("N_contra", contravariant=True)


class StepChecker(Protocol[N_contra]):
    """Checks the steps of a node, and raises `Violation` when an invariant is broken."""

    def stepped(self, node: N_contra) -> None:
        """All effects of one input were performed."""

    def committed(self, node: N_contra, changes: Sequence[Change]) -> None:
        """A transaction is durable."""

    def sent(self, node: N_contra, frame: Frame) -> None:
        """A frame is about to leave."""

    def role_changed(self, node: N_contra, change: RoleChanged) -> None:
        """The node has another role."""

    def handed_over(self, node: N_contra, discarded: Sequence[Discarded]) -> None:
        """Discarded messages are offered to the broker."""

    def not_taken(self, node: N_contra, discarded: Sequence[Discarded]) -> None:
        """The broker's callback failed to take them."""


class CommitWatch(Protocol[N_contra]):
    """Observes when a node begins a commit, and when a primary's operations are durable."""

    def proposed(self, node: N_contra) -> None:
        """The node begins to commit a transaction."""

    def durable(self, node: N_contra, generation: Generation, position: Position) -> None:
        """The operations of this generation up to this position are durable on the primary."""


class ClientEdge(Protocol[N_contra]):
    """Receives the answers of a node to its clients, and its crash."""

    def completed(self, node: N_contra, completion: Completion) -> None:
        """The node answers its clients."""

    def crashed(self, node: N_contra) -> None:
        """The process died without answering."""


class Surroundings(Protocol[N]):
    """The environment of a simulated node of type ``N``."""

    random: random.Random
    settings: Settings
    scheduler: Scheduler
    network: Network
    manager: SimManager
    cluster: UUID
    disk_delay: Callable[[], float]

    @property
    def checker(self) -> StepChecker[N]:
        """Checks the invariants after each step."""

    @property
    def removals(self) -> CommitWatch[N]:
        """Checks when members are removed."""

    @property
    def clients(self) -> ClientEdge[N]:
        """The clients of all nodes."""

    def new_uuid(self) -> UUID:
        """Return a UUID drawn from the seed of the run."""

    def processes(self, name: NodeId) -> list[N]:
        """Return all processes with this node id."""

    def say(self, line: str) -> None:
        """Add one line to the trace of the run."""

    def sometimes(self, what: str) -> None:
        """Count that a case occurred."""

    def noticed(self, node: N, notice: Notice) -> None:
        """Record a notice of the core."""

    def requested(self, node: N, request: Request) -> None:
        """Record a request to the cluster manager."""

    def answered(self, node: N, request: Request, answer: Answer) -> None:
        """Record the answer to a request."""
