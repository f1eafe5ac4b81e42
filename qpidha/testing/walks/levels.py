"""Queues whose messages are not replicated, as clients use them: a step of the walks that change everything."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final, Protocol

from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import NotEnoughMembers
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.world import World
from qpidha.types import Level, MessageId, Settle

NAMES: Final = {"l1": Level.CONFIGURATION, "l2": Level.CONFIGURATION, "n1": Level.NONE, "n2": Level.NONE}
TYPES: Final[Mapping[str, str]] = {"l2": "priority", "n2": "ring"}
"""Those of these queues that have an index of their messages: every check of a node compares the two."""
WEIGHT: Final = 14.0
"""How often a step is drawn, before a run draws its own factor."""
KINDS: Final = {
    "declare": 3.0,
    "publish": 6.0,
    "accept": 3.0,
    "commit": 2.0,
    "out": 2.0,
    "in": 2.0,
    "delete": 1.5,
}
"""How often a step is of each kind."""
DRAWN: Final = ("step local", *(f"local {kind}" for kind in KINDS))
"""The counters that some hundred walks must reach."""


class LocalWalk(Protocol):
    """The walk that this is a step of."""

    world: World
    random: Random
    settle: Settle

    def acting(self) -> SimNode | None:
        """A node that believes it is primary."""


class Levels:
    """The step ``local``, for one walk."""

    def __init__(self, walk: LocalWalk) -> None:
        self._walk = walk
        self._node: SimNode

    def local(self) -> None:
        """One of `KINDS`, if it is possible now."""
        node, random = self._walk.acting(), self._walk.random
        if node is None:
            return
        self._node = node
        kind = random.choices(list(KINDS), list(KINDS.values()))[0] if self._own() else "declare"
        try:
            done = getattr(self, f"_{kind}")()
        except NotEnoughMembers:
            done = False  # A part of it is about replicated messages; nothing was stored.
        if done:
            self._walk.world.sometimes(f"local {kind}")

    def _declare(self) -> bool:
        free = [name for name in NAMES if self._node.replica.find(name) is None]
        if not free:
            return False
        name, clients = self._walk.random.choice(free), self._walk.world.clients
        queue = clients.local.declare(
            self._node, name, NAMES[name], self._walk.settle, TYPES.get(name, "fifo")
        )
        if self._node.replica.local.get(queue) is not None and self._node.replica.primary is not None:
            clients.local.publish(self._node, queue, clients.fresh(1))
        return True

    def _publish(self) -> bool:
        if (queue := self._some()) is None:
            return False
        clients, random = self._walk.world.clients, self._walk.random
        clients.local.publish(
            self._node, queue.queue, clients.fresh(random.randint(1, 3)), run=random.random() < 0.7
        )
        return True

    def _accept(self) -> bool:
        if (queue := self._some()) is None or not queue.held:
            return False
        self._walk.world.clients.local.accept(self._node, queue.queue, self._ids(queue))
        return True

    def _commit(self) -> bool:
        queue, other = self._some(), self._replicated()
        if queue is None or other is None or self._is_short():
            return False
        clients = self._walk.world.clients
        clients.local.commit(self._node, queue.queue, clients.fresh(2), other.queue, clients.fresh(1))
        return True

    def _out(self) -> bool:
        target, source = self._some(), self._replicated()
        if target is None or source is None or self._is_short():
            return False
        clients, checker = self._walk.world.clients, self._walk.world.checker
        named = {id: clients.value_at(self._node, source.queue, id) for id in self._ids(source)}
        ids = [id for id, value in named.items() if value not in checker.copies]
        if not ids:
            return False
        clients.local.move_out(self._node, source.queue, ids, [named[id] for id in ids], target.queue)
        return True

    def _in(self) -> bool:
        source, target = self._some(), self._replicated()
        if source is None or target is None or self._is_short():
            return False
        local = self._walk.world.clients.local
        own = local.messages.is_own
        ids = [id for id in self._ids(source) if own(local.value_at(self._node, source.queue, id))]
        if not ids:
            return False
        local.move_in(self._node, source.queue, ids, target.queue)
        return True

    def _delete(self) -> bool:
        if (queue := self._some()) is None or self._is_short():
            return False
        self._walk.world.clients.local.delete(self._node, queue.queue)
        return True

    # --- what there is ---------------------------------------------------------------------------

    def _is_short(self) -> bool:
        primary = self._node.replica.primary
        return primary is None or primary.minimum.short

    def _some(self) -> ReplicatedQueue | None:
        queues = self._own()
        return self._walk.random.choice(queues) if queues else None

    def _own(self) -> list[ReplicatedQueue]:
        """The local queues that these steps declare, without those whose names another primary gave to other ones."""
        replica = self._node.replica
        return [q for q in replica.local if q.spec.name in NAMES and replica.find(q.spec.name) == q.queue]

    def _replicated(self) -> ReplicatedQueue | None:
        queues = self._node.replica.message_queues
        return self._walk.random.choice(queues) if queues else None

    def _ids(self, queue: ReplicatedQueue) -> list[MessageId]:
        """A few of the messages that it holds."""
        held = list(queue.held)[:10]
        return sorted(self._walk.random.sample(held, min(len(held), self._walk.random.randint(1, 3))))
