"""What a node waits for, and for how long: its own disk, a backup, the cluster manager, the broker.

It is determined for the oldest operation that is not complete, in the order of its steps: first it is made durable here,
then the backups acknowledge it; if one of them does not, the cluster manager is asked to remove that backup.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from qpidha.node.parts import Parts
from qpidha.node.runtime import Runtime
from qpidha.types import NodeId

HoldKind: TypeAlias = Literal["disk", "backup", "manager", "broker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One thing that is waited for."""

    kind: HoldKind
    """disk: a transaction of this node. backup: an acknowledgement. manager: the answer to a compare-and-set.
    broker: its ``on_promote`` has not returned."""
    node: NodeId
    """Whose disk, which backup, whose request, whose broker."""
    since_s: float
    """How long it has been waited for, in seconds."""


def holds_of(parts: Parts) -> list[Hold]:
    """What a node waits for now; empty: nothing. O(members)."""
    runtime = parts.runtime
    found = _backups(runtime) or _disk(parts)
    if (asked_s := parts.cluster.asked_for_s) is not None:
        found.append(Hold(kind="manager", node=runtime.id, since_s=asked_s))
    if (promoting_s := parts.notifier.promoting_for_s) is not None:
        found.append(Hold(kind="broker", node=runtime.id, since_s=promoting_s))
    return found


def _disk(parts: Parts) -> list[Hold]:
    busy_s, runtime = parts.engine.busy_s, parts.runtime
    return [Hold(kind="disk", node=runtime.id, since_s=busy_s)] if busy_s is not None else []


def _backups(runtime: Runtime) -> list[Hold]:
    """The backups that have not acknowledged the oldest incomplete operation, once this node has sent it."""
    core = runtime.replica.snapshot()
    if core.waiting_since is None:
        return []
    since_s = runtime.now() - core.waiting_since
    return [Hold(kind="backup", node=name, since_s=since_s) for name in sorted(core.waiting_for)]
