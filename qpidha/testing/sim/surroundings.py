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
    """Is told by a node what it does, and raises `Violation` for what must not be."""

    def stepped(self, node: N_contra) -> None:
        """All effects of one input were performed."""

    def committed(self, node: N_contra, changes: Sequence[Change]) -> None:
        """A transaction is durable."""

    def sent(self, node: N_contra, frame: Frame) -> None:
        """A frame is about to leave."""

    def role_changed(self, node: N_contra, change: RoleChanged) -> None: ...

    def handed_over(self, node: N_contra, discarded: Sequence[Discarded]) -> None:
        """Discarded messages are offered to the embedder."""

    def not_taken(self, node: N_contra, discarded: Sequence[Discarded]) -> None:
        """The embedder failed to take them."""


class CommitWatch(Protocol[N_contra]):
    """Is told when a primary's operations begin to be made durable, and when they are."""

    def proposed(self, node: N_contra) -> None: ...

    def durable(self, node: N_contra, generation: Generation, position: Position) -> None: ...


class ClientEdge(Protocol[N_contra]):
    """Is told what a node answers to its clients, and that it died."""

    def completed(self, node: N_contra, completion: Completion) -> None: ...

    def crashed(self, node: N_contra) -> None: ...


class Surroundings(Protocol[N]):
    """What a simulated node of type ``N`` reaches outside itself."""

    random: random.Random
    settings: Settings
    scheduler: Scheduler
    network: Network
    manager: SimManager
    cluster: UUID
    disk_delay: Callable[[], float]

    @property
    def checker(self) -> StepChecker[N]: ...
    @property
    def removals(self) -> CommitWatch[N]: ...
    @property
    def clients(self) -> ClientEdge[N]: ...

    def new_uuid(self) -> UUID: ...
    def processes(self, name: NodeId) -> list[N]: ...
    def say(self, line: str) -> None: ...
    def sometimes(self, what: str) -> None: ...
    def noticed(self, node: N, notice: Notice) -> None: ...
    def requested(self, node: N, request: Request) -> None: ...
    def answered(self, node: N, request: Request, answer: Answer) -> None: ...
