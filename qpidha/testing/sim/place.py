"""Hand-over by a simulated primary whose disk hangs, as in `qpidha.node.place`."""

from __future__ import annotations

from typing import Any, Protocol

from qpidha.core.replica import Replica
from qpidha.driver import Driver
from qpidha.testing.sim.surroundings import Surroundings


class CommittingNode(Protocol):
    """A node whose disk may hang."""

    world: Surroundings[Any]
    replica: Replica
    driver: Driver
    stall_s: float
    committing_since: float

    def now(self) -> float:
        """The time of the node's clock in seconds."""


def begin(node: CommittingNode) -> float:
    """Note the begin of a commit. Returns its duration in seconds."""
    stall_s, node.stall_s = node.stall_s, 0.0
    if stall_s:
        node.world.sometimes("fault disk_stall")
    node.committing_since = node.now()
    return node.world.disk_delay() + stall_s


def look(node: CommittingNode) -> None:
    """Step down if the commit in progress exceeds its limit. Called with every tick."""
    primary = node.replica.primary
    busy_s = 0.0 if node.driver.idle else node.now() - node.committing_since
    if busy_s > node.world.settings.commit_timeout_s and primary and len(primary.membership.members) > 1:
        node.world.sometimes("place given up")
        node.replica.demote()
        node.driver.bypass()
