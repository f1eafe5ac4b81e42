"""The status for operators: one node's view of itself and of the cluster."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from qpidha.core.queue import ReplicatedQueue
from qpidha.core.snapshot import ReplicaSnapshot, SessionSnapshot
from qpidha.durations import DurationCounts
from qpidha.node.holds import Hold, holds_of
from qpidha.node.parts import Parts
from qpidha.node.troubles import TroubleStatus
from qpidha.types import Address, NodeId, level_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUpStatus:
    """How far the resynchronisation of a backup has come that does not follow yet. `left_bytes` is an estimate."""

    since_s: float
    copied_messages: int
    copied_bytes: int
    left_bytes: int
    left_s: float | None
    """At the rate so far. None: nothing was copied yet, or what is left is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """One backup, as its primary sees it."""

    node: NodeId
    member: bool
    state: str
    behind: int
    """Operations that it has not acknowledged."""
    window_bytes: int
    resync_messages: int
    resync_bytes: int
    catch_up: CatchUpStatus | None
    """None: it follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowedStatus:
    """Publishers are slowed while this backup catches up (`Settings.catch_up_time_max_s`)."""

    backup: NodeId
    since_s: float
    bytes_per_s: int
    """Operations complete at about this rate now."""
    staged_bytes: int
    """What the backup has received since then."""
    left_bytes: int
    """About what it still lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """What a node says about one of its queues."""

    name: str
    id: str
    depth: int
    bytes: int
    """What its messages take in the memory of this node: data, props, and some bytes for each message and batch. Other
    nodes have the same messages in other batches, and a message that is gone counts until half of its batch is: so
    nodes that hold the same may say different numbers."""
    next_id: int
    pending: int
    """Publishes that are not safe yet; 0 on a backup."""
    level: str = "messages"
    """How much of it the other nodes have: "messages", "configuration" (only that it exists) or "none"."""
    on_disk_bytes: int = 0
    """Of ``bytes``, those that are only on the disk of the node, beyond ``memory_bytes_max``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A snapshot. Everything in it is plain data. Its names stay in later releases (V5): scripts read them as JSON."""

    node: NodeId
    role: str
    generation: int
    cluster: str | None
    epoch: str
    in_sync: bool
    """This node is a member of the record: it may be promoted."""
    primary: NodeId | None
    members: list[NodeId]
    live: list[NodeId]
    address: Address | None
    """The first of ``addresses``; None before the node listens."""
    addresses: tuple[Address, ...]
    """Where this node accepts links of other nodes. They may be told others: `Node`'s ``advertise``."""
    client_address: Address | None
    primary_client_address: Address | None
    position: int
    safe: int
    waiting_for: list[NodeId]
    """The members that have not acknowledged the oldest pending operation. ``held_by`` shows every possible cause."""
    min_in_sync: int
    """The number of members that operations of clients need (`Settings.min_in_sync`)."""
    below_min_in_sync: bool
    """This primary has fewer members: it refuses operations and completes none."""
    missing: list[NodeId]
    """If it has fewer: nodes that are not members, and were since this process started, or are connected."""
    joining: NodeId | None
    slowed: list[SlowedStatus]
    """The backups for which publishers are slowed now; empty: for none."""
    sessions: list[SessionStatus]
    queues: list[QueueStatus]
    quarantined: int
    resyncs: int
    resync_messages: int
    resync_bytes: int
    """What this node received to catch up since it started, against the sum of ``queues[].bytes``."""
    store_error: str | None
    troubles: list[TroubleStatus]
    """The current troubles, oldest first: failures whose action is tried again."""
    queue_count: int
    """How many queues there are. ``queues`` may list fewer, if the caller limited their number."""
    held_by: list[Hold]
    """What this node waits for now: its own disk, backups, the cluster manager, its broker. Empty: nothing."""
    place_given_up: str | None
    """Why this node leaves the role of primary to others now; it has no session either if it cannot work. None: it is a
    candidate."""
    certificate_days_left: float | None
    """Until this node's TLS certificate expires; negative: since it did. None: its transport has none."""
    stopped: str | None
    """Why this node has stopped, or is stopping; None while it runs."""
    broker: str
    """What the broker is doing: standby, promoting, serving, failed (to promote), demoting or discarding."""
    broker_since_s: float
    """For how many seconds it has been doing that."""
    broker_error: str | None
    """Failures of the broker's methods that have not succeeded since."""
    loop_stall_worst_s: float
    """The longest stall of the event loop since the start, during which nothing else in the loop ran."""
    loop_stall_recent_s: float
    """The same of the last minute."""
    store_commits: DurationCounts
    """How long the commits of this node's store took since it was made; a store in memory counts none."""
    manager_answers: DurationCounts
    """How long the cluster manager took to answer each compare-and-set of this node."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def status_of(parts: Parts, queues_max: int | None = None) -> NodeStatus:
    """Look at a node. Cheap: counts, no content. O(queues named), at most ``queues_max`` of them; None: all."""
    runtime = parts.runtime
    core = runtime.replica.snapshot()
    holds = holds_of(parts)
    return NodeStatus(
        node=runtime.id,
        role=runtime.role.value,
        generation=core.generation,
        cluster=str(core.cluster) if core.cluster else None,
        epoch=str(core.epoch),
        in_sync=core.in_sync,
        primary=runtime.primary,
        members=sorted(m.node for m in core.members),
        live=parts.live,
        address=next(iter(parts.links.addresses), None),
        addresses=parts.links.addresses,
        client_address=runtime.client_address,
        primary_client_address=runtime.primary_client_address,
        position=core.position,
        safe=core.safe,
        waiting_for=[hold.node for hold in holds if hold.kind == "backup"],
        min_in_sync=runtime.settings.min_in_sync,
        below_min_in_sync=core.shortage is not None,
        missing=list(core.shortage.missing) if core.shortage is not None else [],
        joining=core.joining,
        slowed=slowed_of(core, runtime.now()),
        sessions=sessions_of(core, runtime.now()),
        queues=[QueueStatus(**queue_facts(parts, q)) for q in parts.handles.first(queues_max)],
        quarantined=core.quarantined,
        resyncs=core.resyncs,
        resync_messages=core.resync_messages,
        resync_bytes=core.resync_bytes,
        store_error=str(runtime.store_error) if runtime.store_error else None,
        troubles=runtime.troubles.standing(),
        queue_count=len(parts.handles),
        held_by=holds,
        place_given_up=parts.place.why_not,
        certificate_days_left=parts.links.certificate_days_left,
        stopped=runtime.stop_reason,
        broker=parts.notifier.phase,
        broker_since_s=runtime.now() - parts.notifier.since if parts.notifier.since else 0.0,
        broker_error=parts.notifier.error,
        loop_stall_worst_s=round(runtime.stalls.worst_s, 3),
        loop_stall_recent_s=round(runtime.stalls.recent_worst_s, 3),
        store_commits=parts.engine.commits.counts(),
        manager_answers=parts.cluster.answers.counts(),
    )


def queue_facts(parts: Parts, q: ReplicatedQueue) -> dict[str, Any]:
    """The fields of a `QueueStatus`: of 100,000 queues, their dictionaries alone are cheaper."""
    handle = parts.handles.made(q.queue)
    waiting = handle._waiting.messages if handle is not None else 0
    return {
        "name": q.spec.name,
        "id": str(q.queue),
        "depth": len(q) + waiting,
        "bytes": q.bytes,
        "next_id": q.next + waiting,
        "level": level_of(q.queue).name.lower(),
        "on_disk_bytes": q.absent_bytes,
        "pending": handle.pending if handle is not None and parts.runtime.replica.primary else 0,
    }


def slowed_of(core: ReplicaSnapshot, now: float) -> list[SlowedStatus]:
    """For which backups publishers are slowed."""
    return [
        SlowedStatus(
            backup=s.backup,
            since_s=round(now - s.since, 3),
            bytes_per_s=s.bytes_per_s,
            staged_bytes=s.staged_bytes,
            left_bytes=s.left_bytes,
        )
        for s in core.slowdowns
    ]


def sessions_of(core: ReplicaSnapshot, now: float) -> list[SessionStatus]:
    """The backups that have subscribed to this node; none on a backup."""
    return [
        SessionStatus(
            node=s.backup.node,
            member=s.is_member,
            state=s.state.name.lower(),
            behind=core.position - s.acked,
            window_bytes=s.window_bytes,
            resync_messages=s.resync_messages,
            resync_bytes=s.resync_bytes,
            catch_up=None if s.follows else catch_up_of(s, now),
        )
        for s in core.sessions
    ]


def catch_up_of(session: SessionSnapshot, now: float) -> CatchUpStatus:
    """How far a backup has come, and how long the rest takes at the same rate."""
    since_s, copied, left = now - session.resync_since, session.resync_bytes, session.resync_left_bytes
    return CatchUpStatus(
        since_s=round(since_s, 3),
        copied_messages=session.resync_messages,
        copied_bytes=copied,
        left_bytes=left,
        left_s=round(left * since_s / copied, 3) if copied else None,
    )
