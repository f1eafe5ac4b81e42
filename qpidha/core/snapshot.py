"""One node's core as frozen values, for status pages and metrics: nothing in it changes later.

O(members + sessions) to make, plus the queues that are asked for. It holds counts, no content.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from qpidha.core.backup.follower import Follower
from qpidha.core.keyed import KeyedQueue
from qpidha.core.legality import SessionState
from qpidha.core.primary.minimum import Shortage
from qpidha.core.primary.pace import Slowdown
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.session import BackupSession
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.state import NodeState
from qpidha.types import (
    Generation,
    Level,
    Member,
    MessageId,
    NodeId,
    Position,
    QueueId,
    QueueSpec,
    Role,
    level_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSnapshot:
    """A backup that has subscribed, as its primary sees it."""

    link: int
    backup: Member
    state: SessionState
    is_member: bool
    """It is in the newest record: every completion waits for it (O4)."""
    acked: Position
    """The highest operation that it has acknowledged, in any of its sessions of this generation; 0: none."""
    window_bytes: int
    """Bytes of operations that were sent and not acknowledged."""
    bytes_ahead: int
    """Bytes that had to cross the link before it could acknowledge the oldest operation that it owes."""
    resync_messages: int
    resync_bytes: int
    """What the current catch-up has sent so far."""
    resync_since: float
    """When it began, in the time of ``now``."""
    resync_left_bytes: int
    """About what it still has to send."""
    follows: bool
    """The catch-up is over: the backup has acknowledged it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSnapshot:
    """One queue on this node."""

    queue: QueueId
    spec: QueueSpec
    depth: int
    """Messages held."""
    bytes: int
    """Of the batches that hold them, which other nodes may have cut in another way."""
    absent_bytes: int
    """Of these, those that only the store has."""
    next_id: MessageId
    level: Level = Level.MESSAGES
    """How much of it the other nodes have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSnapshot:
    """One node's part in the protocol. On a backup ``position``, ``safe`` and what belongs to sessions are empty."""

    node: NodeId
    role: Role
    generation: Generation
    cluster: UUID | None
    epoch: UUID
    in_sync: bool
    """This node, with this life of its store, is a member of the newest record seen."""
    members: frozenset[Member]
    """Of the newest record seen; empty if none was seen."""
    position: Position
    """The newest operation of this generation."""
    safe: Position
    """Every operation up to here is complete."""
    joining: NodeId | None
    """The backup that is becoming a member."""
    sessions: tuple[SessionSnapshot, ...]
    waiting_for: frozenset[NodeId]
    """Who has not acknowledged the oldest incomplete operation that has left this node."""
    waiting_since: float | None
    """When that operation left, in the time of ``now``; None if nothing that has left is incomplete."""
    shortage: Shortage | None
    """The members that are missing for ``min_in_sync``, so that operations are refused (J4); None: there are enough."""
    short_since: float | None
    """Since when, in the time of ``now``; None if there are enough."""
    slowdowns: tuple[Slowdown, ...]
    """The backups for which operations complete later than they could, in order of their names."""
    queues: tuple[QueueSnapshot, ...]
    """As many as were asked for, in the order of their declaration."""
    queue_count: int
    quarantined: int
    """Messages in quarantine."""
    resyncs: int
    resync_messages: int
    resync_bytes: int
    """What this node received to catch up as a backup since it started."""


def take_snapshot(
    state: NodeState, role: Role, primary: Primary | None, follower: Follower, queues_max: int
) -> ReplicaSnapshot:
    """The snapshot of the parts of one node, with at most ``queues_max`` queues."""
    record, flow = state.record, follower.flow
    members = record.members if record is not None else frozenset()
    oldest = primary.oldest_incomplete() if primary is not None else None
    joining = primary.membership.joining if primary is not None else None
    queues = [*state.message_queues, *(q for q in state.local if not isinstance(q, KeyedQueue))]
    return ReplicaSnapshot(
        node=state.node,
        role=role,
        generation=state.generation,
        cluster=state.cluster,
        epoch=state.epoch,
        in_sync=state.me in members,
        members=members,
        position=primary.position if primary is not None else 0,
        safe=primary.safe if primary is not None else 0,
        joining=joining.member.node if joining is not None else None,
        sessions=_sessions(primary, members) if primary is not None else (),
        waiting_for=primary.owing() if primary is not None and oldest is not None else frozenset(),
        waiting_since=oldest,
        shortage=primary.minimum.shortage() if primary is not None else None,
        short_since=primary.minimum.since if primary is not None else None,
        slowdowns=tuple(primary.pace.slowdowns()) if primary is not None else (),
        queues=tuple(_queue(q) for q in islice(queues, queues_max)),
        queue_count=len(queues),
        quarantined=len(state.quarantined),
        resyncs=flow.resyncs,
        resync_messages=flow.resync_messages,
        resync_bytes=flow.resync_bytes,
    )


def _sessions(primary: Primary, members: frozenset[Member]) -> tuple[SessionSnapshot, ...]:
    return tuple(_session(s, primary, members) for s in primary.sessions.values() if s.sid)


def _session(session: BackupSession, primary: Primary, members: frozenset[Member]) -> SessionSnapshot:
    return SessionSnapshot(
        link=session.link,
        backup=session.member,
        state=session.state,
        is_member=session.member in members,
        acked=primary.acked_by(session.member),
        window_bytes=session.window_bytes,
        bytes_ahead=session.bytes_ahead,
        resync_messages=session.resync.messages,
        resync_bytes=session.resync.bytes,
        resync_since=session.resync.began,
        resync_left_bytes=session.to_copy(primary.queues),
        follows=session.flipped,
    )


def _queue(q: ReplicatedQueue) -> QueueSnapshot:
    return QueueSnapshot(
        queue=q.queue,
        spec=q.spec,
        depth=len(q),
        bytes=q.bytes,
        absent_bytes=q.absent_bytes,
        next_id=q.next,
        level=level_of(q.queue),
    )
