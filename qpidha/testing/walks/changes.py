"""What clients of a broker change besides messages: commits, updates, objects, queues deleted and declared again.

Drawn only by profiles that have a weight for it, so that the walks of other profiles stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Final, Protocol

from qpidha.core.births import configuration_id
from qpidha.core.configuration import object_key
from qpidha.core.steps import Accept, DeclareQueue, DeleteQueue, Move, Publish, QueueRef, Update
from qpidha.errors import MessagesGone, NotEnoughMembers
from qpidha.queues import MSGPACK
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.commits import Commit
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.places import ordered, place_of
from qpidha.testing.sim.world import World
from qpidha.testing.walks.holding import HELD, HOLDS, Holding
from qpidha.types import MessageId, QueueId, QueueSpec, Settle
from qpidha.wire.batch import Batch

NAMES: Final = ("q", "dlq", "q2", "q3", "q4", "q5")
"""Of queues that are deleted and declared again."""
KINDS: Final[Mapping[str, str]] = {"q2": "priority", "q3": "last-value", "q4": "ring", "q5": "priority"}
"""Those of these queues that have an index of their messages: every check of a node compares the two."""
TYPED: Final = 0.75
"""Share of the runs that declare these kinds; in the others all queues are plain."""
OBJECTS: Final = 6
"""Objects that commits put and erase again, so that each changes often."""
OWN: Final[Mapping[str, float]] = {
    "commit": 30,
    "update": 8,
    "delete": 4,
    "redeclare": 6,
    "refused": 1.5,
    "read": 4,
}
WEIGHTS: Final[Mapping[str, float]] = {**OWN, **HOLDS}
"""How often each is drawn, before a run draws its own factors."""


STEPS: Final[Mapping[str, float]] = {
    "publish": 3,
    "spread": 2,
    "accept": 3,
    "move": 2,
    "update": 2,
    "put": 2,
    "erase": 1,
    "declare": 1,
    "delete": 0.7,
}
"""How often a step of a commit is of each kind, before a run draws its own factors and leaves some out."""
REFUSED: Final = "commit refused"
READ: Final = "read answered"
CHANGED: Final = (
    *(f"step {name}" for name in OWN),
    *HELD,
    *(f"commit with {kind}" for kind in STEPS),
    REFUSED,
    READ,
    *(f"client {what}" for what in ("commits", "deletes a queue with", "moves, deletes a queue")),
    "frame PlanWithdraw",
)
"""The counters that some hundred walks of these steps must reach."""


class ChangingWalk(Protocol):
    """The walk that these are steps of."""

    seed: int
    world: World
    random: Random
    settle: Settle

    def acting(self) -> SimNode | None:
        """A node that believes it is primary."""


@dataclass(slots=True)
class Drafted:
    """A commit while its steps are drawn."""

    node: SimNode
    commit: Commit
    queues: list[QueueId]
    """Those that the next step may name."""
    taken: dict[QueueId, set[MessageId]] = field(default_factory=dict)
    """Messages that a step accepts, moves, updates or deletes."""
    added: dict[QueueRef, list[str]] = field(default_factory=dict)
    """What steps put in each queue."""


class Changes:
    """The steps of `WEIGHTS`, for one walk."""

    def __init__(self, walk: ChangingWalk) -> None:
        self._walk = walk
        self._commits = 0
        self._holding = Holding(walk, self._new)
        self._props = Random(f"{walk.seed}/props")
        draw = Random(f"{walk.seed}/steps")
        self._kinds = {kind: weight * draw.choice([0, 1, 1, 2]) for kind, weight in STEPS.items()}
        self._kinds["publish"] = STEPS["publish"]  # A commit has something to do in each run.
        self._types: Mapping[str, str] = KINDS if Random(f"{walk.seed}/types").random() < TYPED else {}

    def actions(self) -> dict[str, Callable[[], None]]:
        """The steps by name."""
        return {name: getattr(self, name) for name in OWN} | self._holding.actions()

    # --- commits ---------------------------------------------------------------------------------

    def commit(self) -> None:
        """Several steps with one outcome, each of a kind that this run draws."""
        if node := self._walk.acting():
            draft = Drafted(node, self._new(), self._queues(node))
            kinds, drawn = list(self._kinds), list[str]()
            for _ in range(self._walk.random.randint(1, 5)):
                kind = self._walk.random.choices(kinds, list(self._kinds.values()))[0]
                before = len(draft.commit.steps)
                getattr(self, f"_{kind}")(draft)
                drawn += [kind] * (len(draft.commit.steps) - before)
            if self._walk.world.clients.commit(node, draft.commit):
                for kind in drawn:
                    self._walk.world.sometimes(f"commit with {kind}")

    def update(self) -> None:
        """Replace the props of some messages, in a commit of its own or with a publish."""
        if (node := self._walk.acting()) and (queues := self._queues(node)):
            draft = Drafted(node, self._new(), queues)
            self._update(draft)
            if self._walk.random.random() < 0.4:
                self._publish(draft)
            self._walk.world.clients.commit(node, draft.commit)

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
            self._walk.world.sometimes(REFUSED)
        else:
            raise Violation(f"TX9: a commit took message {id}, which is gone")

    def read(self) -> None:
        """Each node that believes it is primary is asked for what is there, and answers after a barrier (Q7)."""
        for node in self._walk.world.primaries:
            self._read(node)

    def _read(self, node: SimNode) -> None:
        """No later generation may have begun before the question.

        It begins when its primary learns that it won: until then the record has it, and nothing else has changed.
        """
        world, reader = self._walk.world, node.replica.generation
        newest = max(each.replica.generation for each in world.nodes.values())

        def answered() -> None:
            if newest > reader:
                raise Violation(f"Q7: {node.name} of {reader} answers a read of when {newest} had begun")
            world.sometimes(READ)

        if newest > reader:
            world.sometimes("read of a zombie")  # In one walk of 100.
        world.clients.read(node, answered)

    def _new(self) -> Commit:
        self._commits += 1
        return Commit.marked(self._commits, self._configuration)

    # --- steps of a commit -------------------------------------------------------------------------

    def _publish(self, draft: Drafted) -> None:
        """Messages for one queue, which an earlier step of the commit may declare."""
        refs: list[QueueRef] = [*draft.queues, *draft.commit.declared]
        if refs:
            self._enqueue(draft, [self._walk.random.choice(refs)])

    def _spread(self, draft: Drafted) -> None:
        """Messages for several queues (U6)."""
        refs: list[QueueRef] = [*draft.queues, *draft.commit.declared]
        if len(refs) > 1:
            self._enqueue(
                draft, self._walk.random.sample(refs, self._walk.random.randint(2, min(3, len(refs))))
            )

    def _enqueue(self, draft: Drafted, refs: list[QueueRef]) -> None:
        values = self._walk.world.clients.fresh(self._walk.random.randint(1, 3))
        if len(refs) > 1:
            draft.commit.copies.update(dict.fromkeys(values, len(refs)))
        for ref in refs:
            draft.added.setdefault(ref, []).extend(values)
        draft.commit.given.append((len(draft.commit.steps), refs[0], values, False))
        draft.commit.steps.append(Publish(tuple(refs), self._batch(values)))

    def _batch(self, values: list[str]) -> Batch:
        """These messages, with priorities and keys that an index reads."""
        draw = self._props
        props = [MSGPACK.pack(priority=draw.randrange(12), key=b"%d" % draw.randrange(4)) for _ in values]
        return Batch.pack([v.encode() for v in values], props if draw.random() < 0.7 else None)

    def _accept(self, draft: Drafted) -> None:
        if queue := self._one(draft):
            clients = self._walk.world.clients
            clients.deliver(draft.node, queue)  # Consumers accept only what was delivered to them.
            ids = [i for i in clients.unsettled(draft.node, queue)[:3] if i not in draft.taken.get(queue, ())]
            if ids:
                draft.commit.accepted += self._take(draft, queue, ids)
                draft.commit.steps.append(Accept(queue, self._named(draft, queue, ids)))

    def _move(self, draft: Drafted) -> None:
        if (source := self._one(draft)) and len(draft.queues) > 1:
            target = self._walk.random.choice([q for q in draft.queues if q != source])
            if ids := self._some(draft, source):
                values = self._take(draft, source, ordered(draft.node, source, ids))
                draft.added.setdefault(target, []).extend(values)
                draft.commit.given.append((len(draft.commit.steps), target, values, True))
                draft.commit.steps.append(Move(source, self._named(draft, source, ids), target))

    def _update(self, draft: Drafted) -> None:
        if (queue := self._one(draft)) and (ids := self._some(draft, queue)):
            named = self._named(
                draft, queue, ids
            )  # The new ids are in the order in which these name the messages.
            ids.sort(key=lambda id: id if id in named else place_of(draft.node, queue, id))
            values = self._take(draft, queue, ids)
            draft.added.setdefault(queue, []).extend(values)
            props = tuple(MSGPACK.pack(priority=self._walk.random.randint(1, 9)) for _ in ids)
            draft.commit.given.append((len(draft.commit.steps), queue, values, True))
            draft.commit.steps.append(Update(queue, named, props))

    def _named(self, draft: Drafted, queue: QueueId, ids: list[MessageId]) -> SequenceSet:
        """These messages by their present ids, or by the ids that they had first (U2)."""
        if self._walk.random.random() < 0.6:
            return SequenceSet(ids)
        return SequenceSet(place_of(draft.node, queue, id) for id in ids)

    def _put(self, draft: Drafted) -> None:
        draft.commit.put(self._configuration, self._object(), b"%d" % draft.commit.number)

    def _erase(self, draft: Drafted) -> None:
        draft.commit.put(self._configuration, self._object(), None)

    def _declare(self, draft: Drafted) -> None:
        """A queue of a name that is free, or that an earlier step of the commit made free."""
        replica, names = draft.node.replica, set(draft.commit.declared.values())
        known = {name: replica.find(name) for name in NAMES}
        free = [n for n, q in known.items() if n not in names and (q is None or q in draft.commit.deleted)]
        if free:
            name = self._walk.random.choice(free)
            draft.commit.declared[len(draft.commit.steps)] = name
            spec = QueueSpec(name=name, settle=self._walk.settle, kind=self._types.get(name, "fifo"))
            draft.commit.steps.append(DeclareQueue(spec))

    def _delete(self, draft: Drafted) -> None:
        """A queue with what it holds and what earlier steps put there; or what it holds goes to another queue first."""
        if len(draft.queues) < 2:
            return
        queue, target = self._walk.random.sample(draft.queues, 2)
        taken = draft.taken.get(queue, ())
        held = [id for id in draft.node.replica.queues[queue].held if id not in taken]
        values = self._take(draft, queue, held)
        if moves := not draft.added.get(queue) and self._walk.random.random() < 0.5:
            draft.commit.carried += values
            draft.added.setdefault(target, []).extend(values)
        else:
            draft.commit.accepted += values + draft.added.pop(queue, [])
        draft.queues.remove(queue)
        draft.commit.deleted.append(queue)
        draft.commit.steps.append(DeleteQueue(queue, target if moves else None))

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
            self._walk.world.declare(node, name, self._walk.settle, self._types.get(name, "fifo"))
            queue = self._walk.world.queue_id(name)
            self._walk.world.clients.publish(node, queue, self._walk.world.clients.fresh(2))

    # --- what there is ---------------------------------------------------------------------------

    def _queues(self, node: SimNode) -> list[QueueId]:
        return [queue.queue for queue in node.replica.message_queues]

    def _one(self, draft: Drafted) -> QueueId | None:
        return self._walk.random.choice(draft.queues) if draft.queues else None

    def _some(self, draft: Drafted, queue: QueueId) -> list[MessageId]:
        """Some messages that this primary holds, of the first few, and that no step of the commit has taken."""
        held = islice(draft.node.replica.queues[queue].held, 20)
        left = [id for id in held if id not in draft.taken.get(queue, ())]
        count = self._walk.random.randint(1, 3)
        return sorted(self._walk.random.sample(left, min(count, len(left))))

    def _take(self, draft: Drafted, queue: QueueId, ids: list[MessageId]) -> list[str]:
        draft.taken.setdefault(queue, set()).update(ids)
        return [self._walk.world.clients.value_at(draft.node, queue, id) for id in ids]

    @property
    def _configuration(self) -> QueueId:
        return configuration_id(self._walk.world.cluster)

    def _object(self) -> bytes:
        return object_key("thing", str(self._walk.random.randrange(OBJECTS)))

    def _gone(self, node: SimNode, queue: QueueId) -> list[int]:
        """Ids of messages that are not in this queue any more, by the last few that it gave out."""
        held, primary = node.replica.queues[queue], node.replica.primary
        assert primary is not None
        last = (
            SequenceSet.from_range(max(1, held.next - 5), held.next - 1) if held.next > 1 else SequenceSet()
        )
        return list(last - held.held - SequenceSet(primary.replaced.successors(held, last)))
