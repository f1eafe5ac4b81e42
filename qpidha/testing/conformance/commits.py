"""Random legal commits, each applied to a simple model of the store as well."""

from __future__ import annotations

import random
from uuid import UUID

from qpidha.journal import (
    Adopt,
    Change,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    Release,
    Remove,
    Skip,
    Stage,
    StoreStatus,
    Unstage,
)
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.changes import CLUSTER
from qpidha.testing.conformance.storebench import StoreBench
from qpidha.testing.sim.content import Content
from qpidha.types import Fate, QueueSpec
from qpidha.wire.batch import Batch

QUEUES = [UUID(int=n) for n in (1, 2, 3)]
STAGING = 0.5
"""Part of the changes of a store that can set messages aside."""
WINDOW = 40
"""Number of ids in use: small, so that batches overlap and interleave."""
BASES = [1, 2**32 - 20, 2**63 - 20, 2**64 - 60]
"""First ids: near the limits of number types."""


class RandomCommits:
    """Draws one commit after the other, and applies each to the model. ``staging``: some set messages aside."""

    def __init__(self, rng: random.Random, model: Content, *, staging: bool = False) -> None:
        self._staging = staging
        self.model = model
        self._rng = rng
        self._base = rng.choice(BASES)
        self._generation = 3
        """Above the generations in lineages and in quarantine, as a store may verify."""
        self._count = 0
        self._first = True

    def commit(self) -> list[Change]:
        """Draw the changes of one transaction."""
        changes: list[Change] = []
        if self._first:
            self._first = False
            self._add(changes, PutStatus(CLUSTER, self._generation, False))
            for queue in QUEUES:
                self._add(changes, PutQueue(queue, QueueSpec(name=f"q{queue.int}"), (), self._base))
        for _ in range(self._rng.randint(1, 6)):
            change = self._change()
            if change is not None:
                self._add(changes, change)
        return changes

    def _add(self, changes: list[Change], change: Change) -> None:
        changes.append(change)
        self.model.apply([change])

    def _change(self) -> Change | None:
        rng = self._rng
        queue = rng.choice(QUEUES)
        known = self.model.queues.get(queue)
        if known is None:
            return PutQueue(queue, QueueSpec(name=f"q{queue.int}"), ((1, 1),), self._base)
        if self._staging and rng.random() < STAGING:
            return self._set_aside(queue, set(known.held))
        kind = rng.choices(
            ["insert", "remove", "skip", "drop", "put", "shelve", "release", "status"],
            [12, 8, 2, 1, 2, 3, 3, 2],
        )[0]
        match kind:
            case "insert":
                return self._insert(queue, set(known.held))
            case "remove":
                return Remove(queue, self._some())
            case "skip":
                return Skip(queue, self._base + rng.randrange(WINDOW))
            case "drop":
                return DropQueue(queue)
            case "put":
                least = max(known.held, default=self._base - 1) + 1
                next = max(least, rng.choice([least, known.next]))
                return PutQueue(queue, known.spec, ((1, 1), (2, min(self._base + 3, next))), next)
            case "shelve":
                return self._shelve(queue)
            case "release":
                return Release(queue, rng.randint(1, 2), self._some())
            case _:
                self._generation += rng.randint(0, 2)
                return PutStatus(CLUSTER, self._generation, rng.random() < 0.5)

    def _set_aside(self, queue: UUID, taken: set[int]) -> Change | None:
        """Draw what a backup does with a plan; more is adopted than not."""
        aside = self.model.staged.get(queue, {})
        draw = self._rng.random()
        if draw < 0.05:
            return Unstage()
        if draw < 0.3:
            some = set(self._some()) if self._rng.random() < 0.3 else set(aside)
            return Adopt(queue, SequenceSet(sorted((some & aside.keys()) - taken)))
        fresh = SequenceSet(sorted(set(self._some()) - aside.keys()))
        return Stage(queue, fresh, self._batch(len(fresh))) if fresh else None

    def _insert(self, queue: UUID, taken: set[int]) -> Change | None:
        fresh = SequenceSet(sorted(set(self._some()) - taken))
        return Insert(queue, fresh, self._batch(len(fresh))) if fresh else None

    def _shelve(self, queue: UUID) -> Change | None:
        generation = self._rng.randint(1, 2)
        taken = {id for q, g, id in self.model.shelf if (q, g) == (queue, generation)}
        fresh = SequenceSet(sorted(set(self._some()) - taken))
        if not fresh:
            return None
        batch = self._batch(len(fresh))
        return Quarantine(queue, f"q{queue.int}", generation, fresh, batch, Fate.REWOUND)

    def _some(self) -> SequenceSet:
        """Draw a run of ids, or a few scattered ones."""
        if self._rng.random() < 0.6:
            first = self._base + self._rng.randrange(WINDOW - 8)
            return SequenceSet.from_range(first, first + self._rng.randrange(8))
        offsets = self._rng.sample(range(WINDOW), self._rng.randint(1, 8))
        return SequenceSet(sorted(self._base + offset for offset in offsets))

    def _batch(self, count: int) -> Batch:
        self._count += count
        return Batch.pack([b"%d" % (self._count - n) for n in range(count)])


def commit_at_random(bench: StoreBench, rng: random.Random) -> None:
    """Open a store eight times, each time with some commits and then a close or a kill; compare with the model.

    Raises:
        RuleBroken: The content is not that of the model.
    """
    opened, image = bench.open()
    commits = RandomCommits(rng, Content(StoreStatus(node="a", epoch=image.status.epoch)))
    for _ in range(8):
        for _ in range(rng.randint(1, 4)):
            opened.commit(*commits.commit())
        if rng.random() < 0.5:
            bench.kill(opened)
        else:
            opened.close(clean=rng.random() < 0.5)
        opened, image = bench.open()
        bench.agrees(commits.model.image(), image)
