"""Keys of tables that are not replicated, and objects of one node: where they were put (LV-a), and nowhere else (LV-b).

A value is put once, so it tells which store has to have it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TypeAlias
from uuid import UUID

from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.node import SimNode
from qpidha.types import QueueId

Place: TypeAlias = tuple[str, UUID]
"""A host, and the life of its store."""
Entry: TypeAlias = tuple[QueueId, bytes, bytes | None]
"""A queue, a key in it, and the value that is put; None: the key is erased."""


class LocalEntries:
    """Remembers in which store each value was put, and what clients were told of it."""

    def __init__(self, rolled_back: Container[str], deleted: Container[QueueId]) -> None:
        """``rolled_back``: hosts whose disk is an older copy of itself; ``deleted``: queues that were deleted."""
        self._rolled_back = rolled_back
        self._deleted = deleted
        self._stores: dict[bytes, UUID] = {}
        """By value: the store in which a primary put it."""
        self._newest: dict[tuple[Place, QueueId, bytes], Sequence[Entry]] = {}
        """The changes that were made last, whatever came of them. Two may be equal: two removals are."""
        self._told: dict[Place, dict[tuple[QueueId, bytes], bytes | None]] = {}

    def put(self, node: SimNode, entries: Sequence[Entry]) -> None:
        """A primary makes these changes."""
        place = (node.host, node.disk.epoch)
        for queue, key, value in entries:
            if value is not None:
                self._stores[value] = node.disk.epoch
            self._newest[place, queue, key] = entries
            self._told.setdefault(place, {}).pop((queue, key), None)

    def answered(self, node: SimNode, entries: Sequence[Entry]) -> None:
        """A client was told that these changes, the object given to `put`, are stored. Raises `Violation` (LV-a)."""
        place = (node.host, node.disk.epoch)
        for queue, key, value in entries:
            if self._newest.get((place, queue, key)) is entries:
                self._told.setdefault(place, {})[queue, key] = value
        self.check_disk(node)

    def check_disk(self, node: SimNode) -> None:
        """Check one disk after a transaction. O(entries). Raises `Violation` (LV-a, LV-b)."""
        content, place = node.disk.content, (node.host, node.disk.epoch)
        if node.host in self._rolled_back:
            self._told.pop(place, None)  # It lost what it stored since.
        found: dict[tuple[QueueId, bytes], bytes] = {}
        for name, queue in content.local.items():
            if queue.keyed:
                found.update({(name, m.props): m.data for m in queue.held.values()})
        if alien := [entry for entry, value in found.items() if self._stores.get(value) != node.disk.epoch]:
            raise Violation(f"LV-b: {node.name} has {alien}, which it did not put")
        for queue in content.queues.values():
            leaked = [m.props for m in queue.held.values() if m.data in self._stores] if queue.keyed else []
            if leaked:
                raise Violation(f"LV-b: {node.name} has {leaked} of one node in what is replicated")
        for (name, key), value in self._told.get(place, {}).items():
            if found.get((name, key)) != value and name not in self._deleted:
                raise Violation(f"LV-a: {node.name} stored {key!r}, told so, and has it otherwise now")
