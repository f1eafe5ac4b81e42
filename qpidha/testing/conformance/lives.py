"""Random commits that are legal, and a twin of the store that is too simple to be wrong."""

from __future__ import annotations

import random
from uuid import UUID

from qpidha.journal import (
    Change,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    Release,
    Remove,
    Skip,
    StoreStatus,
)
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.changes import CLUSTER
from qpidha.testing.conformance.storebench import StoreBench
from qpidha.testing.sim.disk import Content
from qpidha.types import Fate, QueueSpec
from qpidha.wire.batch import Batch

QUEUES = [UUID(int=n) for n in (1, 2, 3)]
WINDOW = 40
"""Ids that are played with: few, so that batches meet and interleave."""
BASES = [1, 2**32 - 20, 2**63 - 20, 2**64 - 60]


class RandomLives:
    """Gives one commit after the other, and applies each to the twin."""

    def __init__(self, chance: random.Random, twin: Content) -> None:
        self.twin = twin
        self._chance = chance
        self._base = chance.choice(BASES)
        self._generation = 3
        """Above those in the lineages and on the shelf, as a store may verify."""
        self._count = 0
        self._first = True

    def commit(self) -> list[Change]:
        """The changes of one transaction."""
        changes: list[Change] = []
        if self._first:
            self._first = False
            self._add(changes, PutStatus(CLUSTER, self._generation, False))
            for queue in QUEUES:
                self._add(changes, PutQueue(queue, QueueSpec(name=f"q{queue.int}"), (), self._base))
        for _ in range(self._chance.randint(1, 6)):
            change = self._change()
            if change is not None:
                self._add(changes, change)
        return changes

    def _add(self, changes: list[Change], change: Change) -> None:
        changes.append(change)
        self.twin.apply([change])

    def _change(self) -> Change | None:
        chance = self._chance
        queue = chance.choice(QUEUES)
        known = self.twin.queues.get(queue)
        if known is None:
            return PutQueue(queue, QueueSpec(name=f"q{queue.int}"), ((1, 1),), self._base)
        kind = chance.choices(
            ["insert", "remove", "skip", "drop", "put", "shelve", "release", "status"],
            [12, 8, 2, 1, 2, 3, 3, 2],
        )[0]
        match kind:
            case "insert":
                return self._insert(queue, set(known.held))
            case "remove":
                return Remove(queue, self._some())
            case "skip":
                return Skip(queue, self._base + chance.randrange(WINDOW))
            case "drop":
                return DropQueue(queue)
            case "put":
                least = max(known.held, default=self._base - 1) + 1
                next = max(least, chance.choice([least, known.next]))
                return PutQueue(queue, known.spec, ((1, 1), (2, min(self._base + 3, next))), next)
            case "shelve":
                return self._shelve(queue)
            case "release":
                return Release(queue, chance.randint(1, 2), self._some())
            case _:
                self._generation += chance.randint(0, 2)
                return PutStatus(CLUSTER, self._generation, chance.random() < 0.5)

    def _insert(self, queue: UUID, taken: set[int]) -> Change | None:
        fresh = SequenceSet(sorted(set(self._some()) - taken))
        return Insert(queue, fresh, self._batch(len(fresh))) if fresh else None

    def _shelve(self, queue: UUID) -> Change | None:
        generation = self._chance.randint(1, 2)
        taken = {id for q, g, id in self.twin.shelf if (q, g) == (queue, generation)}
        fresh = SequenceSet(sorted(set(self._some()) - taken))
        if not fresh:
            return None
        batch = self._batch(len(fresh))
        return Quarantine(queue, f"q{queue.int}", generation, fresh, batch, Fate.REWOUND)

    def _some(self) -> SequenceSet:
        """A run, or a few ids here and there."""
        if self._chance.random() < 0.6:
            first = self._base + self._chance.randrange(WINDOW - 8)
            return SequenceSet.from_range(first, first + self._chance.randrange(8))
        offsets = self._chance.sample(range(WINDOW), self._chance.randint(1, 8))
        return SequenceSet(sorted(self._base + offset for offset in offsets))

    def _batch(self, count: int) -> Batch:
        self._count += count
        return Batch.pack([b"%d" % (self._count - n) for n in range(count)])


def live(bench: StoreBench, chance: random.Random) -> None:
    """Eight lives of one store, each of some commits, each ended by a close or a kill."""
    opened, image = bench.open()
    lives = RandomLives(chance, Content(StoreStatus(node="a", epoch=image.status.epoch)))
    for _ in range(8):
        for _ in range(chance.randint(1, 4)):
            opened.commit(*lives.commit())
        if chance.random() < 0.5:
            bench.kill(opened)
        else:
            opened.close(clean=chance.random() < 0.5)
        opened, image = bench.open()
        bench.agrees(lives.twin.image(), image)
