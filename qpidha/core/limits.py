"""Limits of the two nodes of a link: whether they are compatible, and which ones both use.

Everything that a primary accepts must reach every member. A backup whose limits are too small for what its primary may
send is refused, with a message that names both values: otherwise it would fail again and again. A limit that the sender
can meet by sending smaller pieces is no reason to refuse a peer: the sender uses the smaller value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qpidha.errors import HandshakeError
from qpidha.settings import Settings
from qpidha.types import NodeId
from qpidha.wire.events import Limits

NOT_LESS = ("frame_bytes_max", "message_bytes_max")
"""Limits of a backup that must be at least its primary's."""


def limits_of(settings: Settings) -> Limits:
    """The limits that a node with these settings sends in Hello and Welcome."""
    return Limits(
        frame_bytes_max=settings.frame_bytes_max,
        message_bytes_max=settings.message_bytes_max,
        queues_max=settings.queues_max,
        ids_runs_per_chunk_max=settings.ids_runs_per_chunk_max,
    )


def check_backup(backup: NodeId, theirs: Limits, primary: NodeId, ours: Settings, queues: int) -> None:
    """Raises `HandshakeError` if this backup cannot take what this primary, with so many queues, may send."""
    if faults := list(_faults(backup, theirs, primary, ours, queues)):
        raise HandshakeError("; ".join(faults))


def _faults(backup: NodeId, theirs: Limits, primary: NodeId, ours: Settings, queues: int) -> Iterator[str]:
    for name in NOT_LESS:
        there, here = getattr(theirs, name), getattr(ours, name)
        if there < here:
            yield (
                f"{name} of backup {backup!r} is {there}, of primary {primary!r} {here}:"
                " a backup must take what its primary accepts"
            )
    if theirs.queues_max < queues:
        yield f"queues_max of backup {backup!r} is {theirs.queues_max}, primary {primary!r} has {queues} queues"


def check_primary(primary: NodeId, theirs: Limits, backup: NodeId, queues: int) -> None:
    """Raises `HandshakeError` if this primary does not take the description of so many queues."""
    if theirs.queues_max < queues:
        raise HandshakeError(
            f"queues_max of primary {primary!r} is {theirs.queues_max},"
            f" the store of backup {backup!r} has {queues} queues"
        )


def agreed(ours: Settings, theirs: Limits | None) -> Settings:
    """The settings for sending to a peer with these limits. None: the peer speaks version 1, which has no limits."""
    if theirs is None or theirs.ids_runs_per_chunk_max >= ours.ids_runs_per_chunk_max:
        return ours
    return replace(ours, ids_runs_per_chunk_max=theirs.ids_runs_per_chunk_max)
