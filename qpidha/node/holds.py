"""What a node waits for, and for how long: its own disk, a backup, the cluster manager, the broker.

It is determined for the oldest operation that is not complete, in the order of its steps: first it is made durable here,
then the backups acknowledge it; if one of them does not, the cluster manager is asked to remove that backup; with too few
members left, it waits for others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from qpidha.core.snapshot import ReplicaSnapshot
from qpidha.node.parts import Parts
from qpidha.node.runtime import Runtime
from qpidha.types import NodeId

HoldKind: TypeAlias = Literal["disk", "backup", "catch-up", "members", "manager", "broker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One thing that is waited for."""

    kind: HoldKind
    """disk: a transaction of this node. backup: an acknowledgement. catch-up: the progress of a backup that publishers
    outrun, so that they are slowed (`Settings.catch_up_time_max_s`). members: a node that is missing for ``min_in_sync``.
    manager: the answer to a compare-and-set. broker: its ``on_promote`` has not returned."""
    node: NodeId
    """Whose disk, which backup, which member (the primary itself if none is known), whose request, whose broker."""
    since_s: float
    """How long it has been waited for, in seconds."""


def holds_of(parts: Parts) -> list[Hold]:
    """What a node waits for now; empty: nothing. O(members)."""
    runtime = parts.runtime
    core = runtime.replica.snapshot()
    found = (_backups(runtime, core) or _disk(parts)) + _newcomers(runtime, core) + _members(runtime, core)
    if (asked_s := parts.cluster.asked_for_s) is not None:
        found.append(Hold(kind="manager", node=runtime.id, since_s=asked_s))
    if (promoting_s := parts.notifier.promoting_for_s) is not None:
        found.append(Hold(kind="broker", node=runtime.id, since_s=promoting_s))
    return found


def _disk(parts: Parts) -> list[Hold]:
    busy_s, runtime = parts.engine.busy_s, parts.runtime
    return [Hold(kind="disk", node=runtime.id, since_s=busy_s)] if busy_s is not None else []


def _backups(runtime: Runtime, core: ReplicaSnapshot) -> list[Hold]:
    """The backups that have not acknowledged the oldest incomplete operation, once this node has sent it."""
    if core.waiting_since is None:
        return []
    since_s = runtime.now() - core.waiting_since
    return [Hold(kind="backup", node=name, since_s=since_s) for name in sorted(core.waiting_for)]


def _newcomers(runtime: Runtime, core: ReplicaSnapshot) -> list[Hold]:
    """The backups for which publishers are slowed."""
    now = runtime.now()
    return [Hold(kind="catch-up", node=s.backup, since_s=now - s.since) for s in core.slowdowns]


def _members(runtime: Runtime, core: ReplicaSnapshot) -> list[Hold]:
    """Which nodes are missing for ``min_in_sync`` (J4)."""
    if core.shortage is None or core.short_since is None:
        return []
    since_s = runtime.now() - core.short_since
    names = core.shortage.missing or (runtime.id,)
    return [Hold(kind="members", node=name, since_s=since_s) for name in names]
