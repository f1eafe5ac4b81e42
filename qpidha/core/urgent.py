"""What a primary may do while its disk hangs: hand over its role, and report that its role has ended (L1, K1).

A `Ready` that waits for the disk holds back everything behind it. If the disk does not answer, the whole cluster would
wait. These effects promise nothing that has to be durable, so they do not wait:

    the hand-over     a compare-and-set that names no primary and leaves the members as they are
    the end           answers "in doubt", the closing of links, the end of the role

Everything else waits for the disk: frames, answers OK and new changes of the membership. If the role ends before the
disk answers, they are dropped. A compare-and-set that was proposed before the disk hung is sent, because at most one
may be in flight (M1); it completes nothing before the disk of this node has answered (O4).
"""

from __future__ import annotations

from dataclasses import replace

from qpidha.core.ready import Ready
from qpidha.core.state import NodeState


def hand_over_of(state: NodeState, now: float, *, wanted: bool) -> Ready:
    """The request that a primary may send now: its hand-over, if one is wanted and no other is in flight (M1)."""
    record, manager = state.record, state.manager
    if wanted and record is not None and manager.in_flight is None:
        manager.propose(replace(record, primary=None))
    return Ready(request=manager.request(now))


def end_of_role(state: NodeState) -> Ready:
    """The effects that a node whose role is over may perform before its disk answers."""
    return state.outbox.take_without_disk()
