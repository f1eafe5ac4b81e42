"""Collects the messages of one queue that are accepted in one turn of the event loop, so that they become one operation.

An operation is a group (O3): with more accepts in it, it is no less safe, and each of them is safe when the watermark
reaches its position, as with an operation of its own. Only the usual accept is collected: of messages that are held, in a
queue without an index and without replaced ids. So nothing that is decided at the call can have another answer later.

Invariant: what is collected is held. All else that takes messages of a queue, or reads those that are collected,
has them made into an operation first (`Queue._flush`).
"""

from __future__ import annotations

from qpidha.node.ledger import Outcome
from qpidha.node.op import Op
from qpidha.seq import SequenceSet
from qpidha.types import Position


class Accepting:
    """What one queue has collected since its last operation."""

    __slots__ = ("ids", "ops", "outcome")

    def __init__(self) -> None:
        self.ids = SequenceSet()
        self.ops: list[Op] = []
        """One for each call; their operation is to come."""
        self.outcome = Outcome()
        """Of all of them."""

    def made(self, position: Position) -> None:
        """They are the operation at this position."""
        for op in self.ops:
            op._placed(position)

    def dropped(self) -> None:
        """They become no operation, because the term is over: they are in doubt, or will be when that is told (K1)."""
        for op in self.ops:
            op._unplaced()
