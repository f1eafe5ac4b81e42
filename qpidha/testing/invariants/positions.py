"""Positions: a backup that acknowledges one holds on disk what its primary had in memory there (R-a)."""

from __future__ import annotations

from qpidha.testing.invariants.facts import PrimaryFacts
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.content import Content, Facts
from qpidha.testing.sim.node import SimNode
from qpidha.types import Generation, Position
from qpidha.wire.events import Acknowledged


class Positions:
    """Remembers the content of each primary's queues at each of its positions."""

    def __init__(self) -> None:
        self._facts: dict[tuple[Generation, Position], Facts] = {}
        self._primaries = PrimaryFacts()

    def operated(self, node: SimNode) -> None:
        """The primary made one operation: remember the content at this position. No effect on a backup."""
        primary = node.replica.primary
        if primary is not None:
            self._facts[primary.generation, primary.position] = self._primaries.facts(node)

    def stepped(self, node: SimNode) -> None:
        """The node took a step: remember the content if it is a primary at a new position."""
        primary = node.replica.primary
        if primary is not None and (primary.generation, primary.position) not in self._facts:
            self.operated(node)

    def check_acknowledged(self, node: SimNode, generation: Generation, event: Acknowledged) -> None:
        """Check the disk of a backup that acknowledges a position.

        Raises:
            Violation: R-a: the disk is not what the primary had there or, if the commit covered more, later.
        """
        content = node.disk.content
        if content.status.generation != generation or content.status.primary:
            return  # It was promoted, or followed another, in the same transaction: it knows at least this.
        if not self._holds(content, generation, event.position):
            raise Violation(
                f"R-a: {node.name} acknowledges {event.position}@{generation}, but its disk differs"
            )

    def _holds(self, content: Content, generation: Generation, position: Position) -> bool:
        found = content.facts()
        while (expected := self._facts.get((generation, position))) is not None:
            if expected == found:
                return True
            position += 1
        return False
