"""Messages that are not replicated: they are where they were stored (LV-a) and nowhere else (LV-b)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from uuid import UUID

from qpidha.testing.invariants.entries import LocalEntries, Place
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.node import SimNode
from qpidha.types import QueueId


class LocalMessages:
    """Remembers in which store each value was put, and what clients were told of it."""

    def __init__(self, rolled_back: Container[str]) -> None:
        """``rolled_back``: hosts whose disk is an older copy of itself."""
        self._rolled_back = rolled_back
        self._stores: dict[str, set[UUID]] = {}
        """By value: the stores in which primaries put it. Two may have moved it out of a replicated queue: the one that
        was deposed did so too late, or before, and knows of no other."""
        self._told: dict[Place, dict[str, QueueId]] = {}
        """What clients were told is stored, and that nothing has tried to take since."""
        self._taken: set[str] = set()
        self._settled: dict[str, Place] = {}
        self._crossed: set[str] = set()
        """Values that were moved into or out of what is replicated."""
        self._back: set[str] = set()
        """Values that came out of a replicated queue: an answer to an accept before that says nothing of them."""
        self._deleted: set[QueueId] = set()
        self.entries = LocalEntries(rolled_back, self._deleted)

    def stored(self, node: SimNode, values: Iterable[str], *, crossed: bool = False) -> None:
        """A primary puts these values in a queue of its own. ``crossed``: they come out of a replicated one."""
        for value in values:
            self._stores.setdefault(value, set()).add(node.disk.epoch)
            if crossed:
                self._crossed.add(value)
                self._back.add(value)
                self._settled.pop(value, None)

    def taken(self, values: Iterable[str], *, crossed: bool = False) -> None:
        """A consumer accepts these values; or, ``crossed``, they are moved into a replicated queue."""
        for value in values:
            self._taken.add(value)
            if crossed:
                self._crossed.add(value)
            for told in self._told.values():
                told.pop(value, None)

    def deleting(self, queue: QueueId) -> None:
        """A primary deletes this queue, whatever comes of it: what it holds goes with it, on every node."""
        self._deleted.add(queue)

    def is_own(self, value: str) -> bool:
        """The value was never in a replicated queue."""
        return value not in self._crossed

    def answered(self, node: SimNode, queue: QueueId, values: Sequence[str]) -> None:
        """A publisher was told that these values are stored. Raises `Violation` (LV-a): they are not on the disk."""
        told = self._told.setdefault((node.host, node.disk.epoch), {})
        told.update({value: queue for value in values if value not in self._taken})
        self.check_disk(node)

    def settled(self, node: SimNode, values: Iterable[str]) -> None:
        """A consumer was told that its accept is done. Raises `Violation` (S3): the disk has one."""
        place = (node.host, node.disk.epoch)
        self._settled.update({value: place for value in values if value not in self._back})
        self.check_disk(node)

    def check_disk(self, node: SimNode) -> None:
        """Check one disk after a transaction. O(local messages). Raises `Violation` (LV-a, LV-b, S3)."""
        content, place = node.disk.content, (node.host, node.disk.epoch)
        self.entries.check_disk(node)
        if node.host in self._rolled_back:
            self._told.pop(place, None)  # It lost what it stored since.
            self._settled = {v: at for v, at in self._settled.items() if at != place}
        held: set[str] = set()
        for queue in content.local.values():
            held.update(m.value for m in queue.held.values() if not queue.keyed)
        if alien := [value for value in held if node.disk.epoch not in self._stores.get(value, ())]:
            raise Violation(f"LV-b: {node.name} has {alien}, which it did not store")
        if leaked := [v for v in self._stores if v not in self._crossed and v in content.values]:
            raise Violation(f"LV-b: {node.name} has {leaked} in replicated queues")
        if back := [value for value in held if self._settled.get(value) == place]:
            raise Violation(f"S3: {node.name} has {back} of its own, settled")
        told = self._told.get(place, {})
        if lost := [v for v, queue in told.items() if v not in held and queue not in self._deleted]:
            raise Violation(f"LV-a: {node.name} stored {lost}, told so, and has them no more")
