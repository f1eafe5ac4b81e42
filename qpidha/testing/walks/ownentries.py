"""Keys of local tables, and objects of one node, as clients change them: a step of the walks that change everything.

Drawn in some of the runs of a profile that has `changes`, by the seed, besides their other steps.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from qpidha.core.births import OWN_OBJECTS, configuration_id
from qpidha.core.configuration import object_key
from qpidha.core.keyed import TABLE, KeyedQueue
from qpidha.core.steps import Erase, Put, PutObject
from qpidha.errors import NotEnoughMembers, ObjectMismatch
from qpidha.testing.invariants.commits import Commit
from qpidha.testing.invariants.entries import Entry
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.node import SimNode
from qpidha.testing.walks.changes import ChangingWalk
from qpidha.types import Level, QueueId

TABLES: Final = {"lt": Level.CONFIGURATION, "nt": Level.NONE}
KEYS: Final = 4
"""So many keys each table has, and so many objects each node, so that each changes often."""
RUNS: Final = (1, 4)
"""The runs that draw these steps, of five in a row: whose seed leaves one of these when it is divided by five."""
KINDS: Final = {"table": 1.0, "entries": 6.0, "both": 3.0, "other": 1.0}
"""How often a step is of each kind."""
DRAWN: Final = ("step own", *(f"own {kind}" for kind in KINDS))
"""The counters that some hundred walks must reach."""
FIRST: Final = 1_000_000
"""Commits with an object of the cluster are numbered from here on."""


def mixed_in(plan: list[str], seed: int) -> list[str]:
    """The steps of a run, and between them those of this module if the run has any."""
    if seed % 5 not in RUNS:
        return plan
    draw = Random(f"{seed}/keys")
    often = draw.choice([0.05, 0.1, 0.2])
    return [each for step in plan for each in ([step, "own"] if draw.random() < often else [step])]


class OwnEntries:
    """The step ``own``, for one walk."""

    def __init__(self, walk: ChangingWalk) -> None:
        self._walk = walk
        self._draw = Random(f"{walk.seed}/entries")
        self._numbers = 0

    def actions(self) -> dict[str, Callable[[], None]]:
        """The step by its name."""
        return {"own": self.own}

    def own(self) -> None:
        """One of `KINDS`, if it is possible now."""
        if (node := self._walk.acting()) is None:
            return
        kind = self._draw.choices(list(KINDS), list(KINDS.values()))[0]
        try:
            done = getattr(self, f"_{kind}")(node)
        except NotEnoughMembers:
            done = False  # A part of it is about what is replicated; nothing was stored.
        if done:
            self._walk.world.sometimes(f"own {kind}")

    def _table(self, node: SimNode) -> bool:
        """Declare a table that is not there, or delete one."""
        name, local = self._draw.choice(list(TABLES)), self._walk.world.clients.local
        there = node.replica.find(name)
        if there is None:
            local.declare(node, name, TABLES[name], self._walk.settle, TABLE)
        elif there in node.replica.local and self._draw.random() < 0.3 and not self._is_short(node):
            local.delete(node, there)
        return True

    def _entries(self, node: SimNode) -> bool:
        """Put or erase some keys, in one commit that is about nothing else."""
        self._walk.world.clients.local.change(node, self._drawn(node))
        return True

    def _both(self, node: SimNode) -> bool:
        """The same, and an object of the cluster, with one outcome (LV2)."""
        if self._is_short(node):
            return False
        entries, entered = self._drawn(node), self._walk.world.checker.local.entries
        self._numbers += 1
        commit = Commit.marked(FIRST + self._numbers, configuration_id(self._walk.world.cluster))
        commit.steps += [Erase(q, key) if value is None else Put(q, key, value) for q, key, value in entries]
        commit.then = lambda: entered.answered(node, entries)
        entered.put(node, entries)
        return self._walk.world.clients.commit(node, commit)

    def _other(self, node: SimNode) -> bool:
        """A put that names the other level than an object has is refused, and stores nothing (LV4)."""
        objects = node.replica.state.objects
        own = [key for key, _ in objects.items(Level.NONE)]
        if objects.cluster is None or self._is_short(node) or not own:
            return False
        cluster = [
            key for key, _ in objects.items(Level.MESSAGES) if key.startswith(object_key("thing", "")[:-1])
        ]
        for keys, level in ((own, Level.MESSAGES), (cluster, Level.NONE)):
            if keys:
                self._refused(node, PutObject(self._draw.choice(keys), b"never", level))
        return True

    def _refused(self, node: SimNode, step: PutObject) -> None:
        try:
            node.replica.commit([step])
        except ObjectMismatch:
            return
        raise Violation(f"LV4: {step.key!r} was put with level {step.level}, and has another one")

    def _drawn(self, node: SimNode) -> list[Entry]:
        """Changes of a few keys, each of its own, of one table or more."""
        queues: list[QueueId] = [OWN_OBJECTS]
        queues += [q.queue for q in node.replica.local if isinstance(q, KeyedQueue) and q.spec.name in TABLES]
        changes: dict[tuple[QueueId, bytes], bytes | None] = {}
        for _ in range(self._draw.randint(1, 3)):
            key = object_key("own", str(self._draw.randrange(KEYS)))
            value = self._walk.world.clients.fresh(1)[0].encode() if self._draw.random() < 0.75 else None
            changes[self._draw.choice(queues), key] = value
        return [(queue, key, value) for (queue, key), value in changes.items()]

    @staticmethod
    def _is_short(node: SimNode) -> bool:
        primary = node.replica.primary
        return primary is None or primary.minimum.short
