"""The invariants of a single state of one node, whatever happened before: its memory and its disk."""

from __future__ import annotations

from typing import Final

from qpidha.core.replica import Replica
from qpidha.testing.invariants.configuration import configuration_fault, lost_with_queues
from qpidha.testing.invariants.facts import facts_of
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.content import Content
from qpidha.types import Generation, NodeId

FANNED_OUT: Final = ord("w")
"""The first character of a message that was published to two queues, in place of "v"."""


def check_node(
    name: NodeId, content: Content, before: Generation, replica: Replica | None, *, idle: bool
) -> None:
    """Check one node after a step.

    Args:
        name: Of the node.
        content: Its disk.
        before: The generation on its disk before this step.
        replica: None if it is down.
        idle: Whether no commit is under way.

    Raises:
        Violation: F2, X2, Q2, R-c or D8.
        InvariantError: The core's own `check` failed.
    """
    if content.status.generation < before:
        raise Violation(f"F2: the generation of {name} fell from {before} to {content.status.generation}")
    twice = [value for value, count in content.values.items() if count > 1 + (ord(value[0]) == FANNED_OUT)]
    if twice:
        raise Violation(f"X2: {name} holds {twice} twice")
    if wrong := configuration_fault(content):
        raise Violation(f"Q2: {name}: {wrong}")
    if lost := lost_with_queues(content):
        raise Violation(f"R-c: {name} erased {lost} with queues whose declarations were rewound")
    if replica is None:
        return
    replica.check()
    if idle and replica.out.empty and facts_of(replica) != content.facts():
        raise Violation(f"D8: {name} has {facts_of(replica)} in memory and {content.facts()} on its disk")
