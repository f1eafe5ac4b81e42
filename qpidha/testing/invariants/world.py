"""What a `Checker` needs of the cluster that it watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from qpidha.testing.sim.node import SimNode
from qpidha.types import NodeId


class CheckedWorld(Protocol):
    """The cluster that a `Checker` watches. `qpidha.testing.World` is one."""

    @property
    def nodes(self) -> Mapping[str, SimNode]:
        """The nodes by name, those that are down included."""

    def processes(self, name: NodeId) -> list[SimNode]:
        """All processes with this node id: more than one if a store was copied."""

    def sometimes(self, what: str) -> None:
        """Count that something rare happened."""

    def tell(self, what: str, *values: str, by: SimNode | None = None) -> None:
        """Write what happened to these messages into the trace of the run."""
