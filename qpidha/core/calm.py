"""When only operations can have effects: then `Replica.ready` takes a short way, which leaves out all other questions.

Most of the time clients publish and accept, every backup follows, and nothing else happens. A node that is *calm* seals
its operations, completes those that are safe, and asks nothing about members, the record, catch-ups or roles: the
answers are those of the last whole `ready`, because they depend on nothing that operations and their acknowledgements
change. Whatever else comes in, a tick above all, ends the calm, and the next `ready` is a whole one. So what depends on
time is found at the next tick, as without this. A backup that falls behind ends it, too.

Invariant (`Replica.check`): the core believes that it is calm only while it is, or while a backup has fallen behind.
"""

from __future__ import annotations

from typing import Final

from qpidha.core.backup.follower import Follower
from qpidha.core.discards import Discards
from qpidha.core.primary.primary import Primary
from qpidha.core.state import NodeState
from qpidha.wire.events import Acknowledged, Event, Operations

OPERATING: Final[frozenset[type[Event]]] = frozenset({Acknowledged, Operations})
"""The frames that do not end the calm. If they break the protocol, the end of their link does."""


def is_calm(state: NodeState, primary: Primary | None, follower: Follower, discards: Discards) -> bool:
    """Whether nothing but operations can have effects, as long as the role stays as it is. O(sessions)."""
    if state.manager.wants_request or not discards.idle:
        return False
    if primary is None:
        return follower.calm
    return not state.gone and primary.is_calm(state.record)
