"""What must hold in a single state of one node, whatever happened before: its frames, its memory, its disk."""

from __future__ import annotations

from qpidha.core.replica import Replica
from qpidha.testing.invariants.checker import POLITE
from qpidha.testing.invariants.facts import facts_of
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.disk import Content
from qpidha.types import Generation, NodeId
from qpidha.wire.events import Frame, Refused


def check_frame(sender: NodeId, frame: Frame) -> None:
    """No node finds that another one broke the protocol."""
    if isinstance(frame.event, Refused) and frame.event.code not in POLITE:
        raise Violation(f"peer: {sender} says that an honest peer broke the protocol: {frame.event.reason}")


def check_node(
    name: NodeId, content: Content, before: Generation, replica: Replica | None, *, idle: bool
) -> None:
    """One node after a step: F2, X2, D8 and what the core says of itself.

    Args:
        name: Of the node.
        content: Its disk.
        before: The generation on its disk before this step.
        replica: None if it is down.
        idle: Nothing is being committed.
    """
    if content.status.generation < before:
        raise Violation(f"F2: the generation of {name} fell from {before} to {content.status.generation}")
    twice = [value for value, count in content.values.items() if count > 1]
    if twice:
        raise Violation(f"X2: {name} holds {twice} twice")
    if replica is None:
        return
    replica.check()
    if idle and replica.out.empty and facts_of(replica) != content.facts():
        raise Violation(f"D8: {name} has {facts_of(replica)} in memory and {content.facts()} on its disk")
