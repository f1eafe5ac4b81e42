"""The patterns of levels that a cluster has: an object of the configuration, put by a primary, compared by its backups.

Nodes that give the same name different levels would keep different queues after a failover. So a backup refuses a primary
whose patterns differ, before it takes anything of its plan. Which patterns a primary has is what its configuration says:
it puts its own with the activation, and they do not change in its term.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgpack

from qpidha.core.configuration import object_key
from qpidha.core.entering import enter
from qpidha.core.keyed import KeyedQueue
from qpidha.errors import HandshakeError
from qpidha.journal import Change, Insert, Remove
from qpidha.seq import SequenceSet
from qpidha.types import Generation, NodeId
from qpidha.wire.batch import Batch

POLICY_KEY: Final = object_key("$policy", "replicate")
"""Of the object; a cluster without patterns has none."""


def encoded(replicate: dict[str, str]) -> bytes | None:
    """The content of the object for these patterns, in their order; None: there are none."""
    packed: bytes = msgpack.packb([[pattern, level] for pattern, level in replicate.items()])
    return packed if replicate else None


def put_policy(objects: KeyedQueue, replicate: dict[str, str], generation: Generation) -> list[Change]:
    """As part of an activation: the cluster has these patterns from now on. Returns the changes of the store."""
    value, before = encoded(replicate), objects.id_of(POLICY_KEY)
    if value == objects.get(POLICY_KEY):
        return []
    changes: list[Change] = []
    if value is not None:
        batch = Batch.pack([value], props=[POLICY_KEY])
        if (entry := enter(objects, generation)) is not None:
            changes.append(entry)
        changes.append(Insert(objects.queue, objects.append(batch), batch))
    if before is not None:
        gone = SequenceSet.from_range(before, before)
        objects.remove(gone)
        changes.append(Remove(objects.queue, gone))
    return changes


def policy_in(staged: Iterable[Batch]) -> bytes | None:
    """The content of the object, if it is among these. O(objects)."""
    for batch in staged:
        for index in range(len(batch)):
            if batch.props(index) == POLICY_KEY:
                return batch.data(index)
    return None


def planned_policy(known: KeyedQueue | None, drop: SequenceSet, staged: Iterable[Batch]) -> bytes | None:
    """The content of the object that a plan of the configuration leaves. O(staged objects).

    Args:
        known: The configuration as this backup has it.
        drop: What the plan drops of it.
        staged: What it adds.
    """
    if (policy := policy_in(staged)) is not None or known is None:
        return policy
    id = known.id_of(POLICY_KEY)
    return None if id is None or id in drop else known.get(POLICY_KEY)


def check_policy(theirs: bytes | None, primary: NodeId, replicate: dict[str, str], backup: NodeId) -> None:
    """Raises `HandshakeError` if this backup has other patterns than its primary: it names both."""
    if theirs != encoded(replicate):
        raise HandshakeError(
            f"replicate of backup {backup!r} is {_shown(encoded(replicate))}, of primary {primary!r} {_shown(theirs)}:"
            " the patterns of levels must be the same, in the same order"
        )


def _shown(policy: bytes | None) -> str:
    """The patterns as in the settings."""
    try:
        patterns = [] if policy is None else msgpack.unpackb(policy)
        return repr(dict(patterns))
    except (ValueError, TypeError, msgpack.UnpackException):
        return repr(policy)
