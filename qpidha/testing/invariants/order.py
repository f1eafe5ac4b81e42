"""The order of messages: on disks and at consumers as they were published (S4)."""

from __future__ import annotations

from collections.abc import Container, Sequence

from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.node import SimNode
from qpidha.types import QueueId


class PublishOrder:
    """Remembers the order in which messages were published and first delivered."""

    def __init__(self) -> None:
        self._ordinals: dict[str, int] = {}
        self._first: dict[QueueId, dict[str, bool]] = {}
        """Values in the order of their first delivery, and whether the current primary made it: deliveries of a
        stale primary at the same time have no order with the rest."""

    def __contains__(self, value: object) -> bool:
        """Whether a client tried to publish this value."""
        return value in self._ordinals

    def attempted(self, values: Sequence[str]) -> None:
        """A client publishes these values, in this order."""
        for value in values:
            self._ordinals[value] = len(self._ordinals)

    def delivered(self, queue: QueueId, value: str, *, current: bool) -> None:
        """A consumer got this value. ``current``: from the primary of the record."""
        self._first.setdefault(queue, {}).setdefault(value, current)

    def check_disk(self, node: SimNode) -> None:
        """Check the order on a disk; moved messages have none, updated ones that of their places (U1).

        Costs a sort of the ids of every queue.

        Raises:
            Violation: S4.
        """
        for id, queue in node.disk.content.queues.items():
            if queue.keyed:
                continue
            held = [m for _, m in sorted(queue.held.items(), key=lambda item: item[1].order or item[0])]
            here = [m for m in held if m.origin is None or m.origin[::2] == (id.bytes, m.order)]
            order = [self._ordinals[m.value] for m in here]
            if order != sorted(order):
                raise Violation(f"S4: {node.name} holds {[m.value for m in held]} in this order")

    def check_deliveries(self, acked: Container[str], moved: Container[str]) -> None:
        """Check the first deliveries of acknowledged messages that were never moved, in each queue.

        Raises:
            Violation: S4.
        """
        for first in self._first.values():
            values = [v for v, current in first.items() if current and v in acked and v not in moved]
            order = [self._ordinals[v] for v in values]
            if order != sorted(order):
                raise Violation(f"S4: first delivered in this order: {list(first)}")
