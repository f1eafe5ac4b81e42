"""What a primary does without its disk, when that hangs: hand its place over, and say that it is over (L1, K1).

A `Ready` that waits for the disk holds back everything behind it. If the disk does not answer, the cluster would wait
with it. What is taken out here promises nothing that has to be durable:

    the hand-over     a compare-and-set that names no primary and leaves the members as they are
    the end           answers "in doubt", links that are closed, the role that is over

Everything else stays where it is: frames, answers OK and new changes of the membership wait for the disk, and what
waits when the role ends never leaves. A compare-and-set that was proposed before is sent, for at most one
may be in flight (M1). Nothing completes by it before our disk has answered (O4).
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
    return state.outbox.take_last_words()
