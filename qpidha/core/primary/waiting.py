"""Whom the primary waits for, operation by operation: what an operator asks when a publish is not confirmed."""

from __future__ import annotations

from qpidha.core.explanation import Owes, TooFew, Waiting
from qpidha.core.legality import SessionState
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.session import BackupSession
from qpidha.types import NodeId, Position


def waits_for(primary: Primary, node: NodeId, position: Position) -> tuple[Waiting, ...]:
    """Who must acknowledge this operation, which is not safe. O(members + sessions).

    Args:
        node: The primary's own name. It is in the answer if the operation is not durable or not sent here.
    """
    newest = primary.deadlines.newest
    if position > newest:
        return (Waiting(node=node, owes=Owes.DISK, behind=primary.position - newest),)
    sessions = {session.member: session for session in primary.sessions.values()}
    members = primary.membership.members
    return tuple(
        Waiting(
            node=member.node,
            owes=_owes(sessions.get(member)),
            behind=primary.position - primary.acked_by(member),
            joining=member not in members,
        )
        for member in sorted(primary.membership.required)
        if primary.acked_by(member) < position
    )


def _owes(session: BackupSession | None) -> Owes:
    if session is None:
        return Owes.ABSENT
    if session.state is SessionState.LAGGING:
        return Owes.LAGS
    return Owes.FOLLOWS if session.flipped else Owes.CATCHES_UP


def too_few(primary: Primary) -> TooFew | None:
    """The members that are missing for ``min_in_sync`` (J4); None: there are enough. O(members + sessions)."""
    found = primary.minimum.shortage()
    if found is None:
        return None
    return TooFew(min_in_sync=found.min_in_sync, members=found.members, missing=found.missing)
