"""Whether a node is alive, and whether it is of use: what a service manager and a load balancer ask."""

from __future__ import annotations

from dataclasses import dataclass

from qpidha.node.status import NodeStatus


@dataclass(frozen=True, slots=True)
class Health:
    """An answer, with its reason in words."""

    ok: bool
    why: str


def liveness(status: NodeStatus) -> Health:
    """False: start the process again. A node that waits for others is alive."""
    if status.stopped is not None:
        return Health(ok=False, why=f"the node has stopped: {status.stopped}")
    if status.store_error is not None:
        return Health(ok=False, why=f"its store has failed: {status.store_error}")
    return Health(ok=True, why=f"{status.role}, generation {status.generation}")


def readiness(status: NodeStatus) -> Health:
    """True if the cluster can count on the node: it serves, or it can take over without a loss."""
    alive = liveness(status)
    if not alive.ok:
        return alive
    if status.broker == "serving":
        return serving(status)
    if status.in_sync and status.primary is not None:
        return Health(ok=True, why=f"in sync with {status.primary}, can take over")
    if status.primary is None:
        return Health(ok=False, why="no primary is known")
    return Health(ok=False, why=f"not in sync with {status.primary} yet")


def serving(status: NodeStatus) -> Health:
    """True on the one node that serves clients: where a load balancer must send them."""
    alive = liveness(status)
    if not alive.ok:
        return alive
    if status.broker != "serving":
        return Health(ok=False, why=f"no primary that serves: {status.role}, its broker: {status.broker}")
    if status.below_min_in_sync:
        return Health(
            ok=False, why=f"fewer than {status.min_in_sync} members are in sync: it refuses operations"
        )
    return Health(ok=True, why=f"serves as primary of generation {status.generation}")
