"""What clients of a broker change besides messages: commits, updates, objects, queues deleted and declared again.

Drawn only by profiles that have a weight for it, so that the walks of other profiles stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final, Protocol

from qpidha.core.births import configuration_id
from qpidha.core.configuration import object_key
from qpidha.core.steps import Accept, Move, Publish, Update
from qpidha.errors import MessagesGone, NotEnoughMembers
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.commits import Commit
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.world import World
from qpidha.types import QueueId, Settle
from qpidha.wire.batch import Batch

NAMES: Final = ("q", "dlq", "q2", "q3", "q4", "q5")
"""Of queues that are deleted and declared again."""
OBJECTS: Final = 6
"""Objects that commits put and erase again, so that each changes often."""
WEIGHTS: Final[Mapping[str, float]] = {"commit": 8, "update": 4, "delete": 1.5, "redeclare": 4, "refused": 1}
"""How often each is drawn, before a run draws its own factors."""


class ChangingWalk(Protocol):
    """The walk that these are steps of."""

    world: World
    random: Random
    settle: Settle

    def acting(self) -> SimNode | None:
        """A node that believes it is primary."""


class Changes:
    """The steps of `WEIGHTS`, for one walk."""

    def __init__(self, walk: ChangingWalk) -> None:
        self._walk = walk
        self._commits = 0

    def actions(self) -> dict[str, Callable[[], None]]:
        """The steps by name."""
        return {name: getattr(self, name) for name in WEIGHTS}

    # --- commits ---------------------------------------------------------------------------------

    def commit(self) -> None:
        """Several steps with one outcome: publishes, accepts, moves and objects."""
        if node := self._walk.acting():
            commit = self._new()
            taken: dict[QueueId, list[int]] = {}
            queues = self._queues(node)
            for _ in range(self._walk.random.randint(1, 4)):
                if queues:
                    self._message_step(node, commit, queues, taken)
            if self._walk.random.random() < 0.6:
                self._object_step(node, commit)
            self._walk.world.clients.commit(node, commit)

    def update(self) -> None:
        """Replace the props of some messages, in a commit of its own or with a publish."""
        node, random = self._walk.acting(), self._walk.random
        if node is None or not (queues := [q for q in self._queues(node) if node.replica.queues[q]]):
            return
        queue, commit = random.choice(queues), self._new()
        ids = self._some(node, queue, [])
        self._update(node, commit, queue, ids)
        if random.random() < 0.4:
            self._publish(commit, random.choice(queues))
        self._walk.world.clients.commit(node, commit)

    def refused(self) -> None:
        """A commit that names a message that is gone: nothing of it may happen (TX9)."""
        node, random = self._walk.acting(), self._walk.random
        queues = self._queues(node) if node else []
        gone = [(q, i) for q in queues if node for i in self._gone(node, q)]
        if node is None or not gone or node.replica.primary is None:
            return
        position, (queue, id) = node.replica.primary.position, random.choice(gone)
        try:
            node.replica.commit([Publish((queue,), Batch.pack([b"never"])), Accept(queue, SequenceSet([id]))])
        except (MessagesGone, NotEnoughMembers):
            if node.replica.primary.position != position:
                raise Violation("TX9: a commit that was refused has a position") from None
        else:
            raise Violation(f"TX9: a commit took message {id}, which is gone")

    def _new(self) -> Commit:
        self._commits += 1
        return Commit.marked(self._commits, configuration_id(self._walk.world.cluster))

    def _message_step(
        self, node: SimNode, commit: Commit, queues: list[QueueId], taken: dict[QueueId, list[int]]
    ) -> None:
        random, clients = self._walk.random, self._walk.world.clients
        queue = random.choice(queues)
        what = random.choice(["publish", "publish", "accept", "move"])
        others = [q for q in queues if q != queue]
        if what == "accept":
            clients.deliver(node, queue)  # Nobody accepts what was not delivered.
            ids = [id for id in clients.unsettled(node, queue)[:3] if id not in taken.get(queue, [])]
        else:
            ids = self._some(node, queue, taken.get(queue, []))
        if what == "publish" or not ids or (what == "move" and not others):
            self._publish(commit, queue)
            return
        taken.setdefault(queue, []).extend(ids)
        values = self._values(node, queue, ids)
        if what == "accept":
            commit.steps.append(Accept(queue, SequenceSet(ids)))
            commit.accepted += values
        else:
            target = random.choice(others)
            commit.given.append((len(commit.steps), target, values, True))
            commit.steps.append(Move(queue, SequenceSet(ids), target))

    def _publish(self, commit: Commit, queue: QueueId) -> None:
        values = self._walk.world.clients.fresh(self._walk.random.randint(1, 3))
        commit.given.append((len(commit.steps), queue, values, False))
        commit.steps.append(Publish((queue,), Batch.pack([v.encode() for v in values])))

    def _update(self, node: SimNode, commit: Commit, queue: QueueId, ids: list[int]) -> None:
        props = tuple(b"%d" % self._walk.random.randint(1, 9) for _ in ids)
        commit.given.append((len(commit.steps), queue, self._values(node, queue, ids), True))
        commit.steps.append(Update(queue, SequenceSet(ids), props))

    def _object_step(self, node: SimNode, commit: Commit) -> None:
        random = self._walk.random
        key = object_key("thing", str(random.randrange(OBJECTS)))
        value = None if random.random() < 0.3 else b"%d" % commit.number
        commit.put(configuration_id(self._walk.world.cluster), key, value)

    # --- queues ----------------------------------------------------------------------------------

    def delete(self) -> None:
        """Delete a queue with everything in it, or move that to another queue."""
        node, random = self._walk.acting(), self._walk.random
        if node is None or len(queues := self._queues(node)) < 2:
            return
        queue, target = random.sample(queues, 2)
        if random.random() < 0.5:
            self._walk.world.clients.publish(node, queue, self._walk.world.clients.fresh(2), run=False)
        self._walk.world.clients.delete(node, queue, target if random.random() < 0.4 else None)

    def redeclare(self) -> None:
        """Declare a queue of a name that this primary has not: it may have been deleted, or never heard of."""
        node, random = self._walk.acting(), self._walk.random
        if node is None:
            return
        free = [name for name in NAMES if node.replica.find(name) is None]
        if free:
            name = random.choice(free)
            self._walk.world.declare(node, name, self._walk.settle)
            queue = self._walk.world.queue_id(name)
            self._walk.world.clients.publish(node, queue, self._walk.world.clients.fresh(2))

    # --- what there is ---------------------------------------------------------------------------

    def _queues(self, node: SimNode) -> list[QueueId]:
        return [queue.queue for queue in node.replica.message_queues]

    def _some(self, node: SimNode, queue: QueueId, without: list[int]) -> list[int]:
        """Some messages that this primary holds, of the first few."""
        held = [id for id, _ in zip(node.replica.queues[queue].held, range(20), strict=False)]
        left = [id for id in held if id not in without]
        return (
            sorted(self._walk.random.sample(left, self._walk.random.randint(1, min(3, len(left)))))
            if left
            else []
        )

    def _gone(self, node: SimNode, queue: QueueId) -> list[int]:
        held = node.replica.queues[queue]
        return [id for id in range(max(1, held.next - 5), held.next) if id not in held.held]

    def _values(self, node: SimNode, queue: QueueId, ids: list[int]) -> list[str]:
        return [self._walk.world.clients.value_at(node, queue, id) for id in ids]
