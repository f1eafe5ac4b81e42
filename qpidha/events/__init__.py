"""What a node tells its operator: one class for each kind of event, with documented fields.

`NodeEvent` is the base of all, `Trouble` of those that last. docs/events.md lists them.
"""

from qpidha.events.base import EventLevel, NodeEvent, Trouble
from qpidha.events.protocol import (
    CompareAndSetLost,
    DuplicateNodeId,
    FencedByPeer,
    RefusedByBackup,
    RefusedByPrimary,
    RemovingMembers,
    Resynchronised,
    StalePrimaryFenced,
    SteppedDown,
    UnrecordedPrimary,
)

__all__ = [
    "CompareAndSetLost",
    "DuplicateNodeId",
    "EventLevel",
    "FencedByPeer",
    "NodeEvent",
    "RefusedByBackup",
    "RefusedByPrimary",
    "RemovingMembers",
    "Resynchronised",
    "StalePrimaryFenced",
    "SteppedDown",
    "Trouble",
    "UnrecordedPrimary",
]
