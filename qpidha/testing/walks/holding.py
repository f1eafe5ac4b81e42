"""Consumers that hold messages through updates, moves and open transactions, each with the queue type `FifoQueue` (U2).

Checked at each step, from what the consumer was given and what the primary holds:

  U-a  no message is with two consumers
  S4   new messages come in the order of their places, also from a queue that is made after a failover
  U2   an accept or a commit by any id that the message had takes it; one of what was moved away is refused
  S3   what is confirmed as settled is in no queue of the primary; later, on no member
  live what was released is delivered again, and what nobody has is delivered
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from qpidha.core.steps import Accept, Publish, Update
from qpidha.errors import MessagesGone, UnknownQueue
from qpidha.queues import FifoQueue
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.commits import Commit
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.places import SimContent, is_held, place_of, present_id
from qpidha.testing.sim.world import World
from qpidha.types import Generation, MessageId, Position, QueueId
from qpidha.wire.batch import Batch

HOLDS: Final[Mapping[str, float]] = {"consumers": 14}
"""How often it is drawn, before a run draws its own factors."""
ACTS: Final[Mapping[str, float]] = {
    "consume": 5,
    "settle": 4,
    "give_back": 3,
    "take": 3,
    "conclude": 3,
    "change": 5,
    "move_away": 1.5,
}
"""What consumers do in one step, several in a row, so that they meet before the next failover."""
OLD_ID: Final = "accept by an old id"
GONE: Final = "accept of what is gone"
MOVED: Final = "accept of what was moved away"
BACK: Final = "release by an old id"
OPEN: Final = "commit by an old id"
REFUSED: Final = "commit of a hold that is gone"
HELD: Final = (*(f"step {name}" for name in HOLDS), OLD_ID, GONE, MOVED, BACK, OPEN, REFUSED)
"""The counters that some hundred walks must reach."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A message that a consumer has, as it was given to it."""

    queue: QueueId
    id: MessageId
    place: MessageId
    value: str

    @property
    def ids(self) -> SequenceSet:
        """The id, as calls take it."""
        return SequenceSet([self.id])


@dataclass(slots=True)
class Term:
    """The consumers of one primary, in one generation."""

    queues: dict[QueueId, FifoQueue[Position]] = field(default_factory=dict)
    newest: dict[QueueId, MessageId] = field(default_factory=dict)
    """The highest place that was delivered."""
    released: set[tuple[QueueId, MessageId]] = field(default_factory=set)
    """Places of messages that may come again."""
    held: list[Hold] = field(default_factory=list)
    taken: list[Hold] = field(default_factory=list)
    """Those that the open transaction has taken."""

    @property
    def all(self) -> list[Hold]:
        """Everything that consumers have."""
        return self.held + self.taken

    def forget(self, queue: QueueId) -> None:
        """The queue was deleted."""
        self.held = [h for h in self.held if h.queue != queue]
        self.queues.pop(queue, None)


class HoldingWalk(Protocol):
    """The walk that these are steps of."""

    world: World
    random: Random

    def acting(self) -> SimNode | None:
        """A node that believes it is primary."""


class Holding:
    """The steps of `HOLDS`, for one walk."""

    def __init__(self, walk: HoldingWalk, new_commit: Callable[[], Commit]) -> None:
        self._walk = walk
        self._new_commit = new_commit
        self._terms: dict[tuple[str, Generation], Term] = {}

    def actions(self) -> dict[str, Callable[[], None]]:
        """The steps by name."""
        return {name: getattr(self, name) for name in HOLDS}

    def _serving(self) -> tuple[SimNode, Term] | None:
        node = self._walk.acting()
        if node is None or node.replica.primary is None:
            return None
        term = self._terms.setdefault((node.host, node.replica.generation), Term())
        for queue in [
            q for q in {*term.queues, *(h.queue for h in term.held)} if q not in node.replica.queues
        ]:
            term.forget(queue)
        return node, term

    def consumers(self) -> None:
        """Consumers of one primary do several things in a row."""
        if (serving := self._serving()) is None:
            return
        node, term = serving
        for act in self._walk.random.choices(
            list(ACTS), list(ACTS.values()), k=self._walk.random.randint(3, 9)
        ):
            if node.replica.primary is None or node.replica.primary.minimum.short:
                return
            getattr(self, f"_{act}")(node, term)

    # --- deliveries ------------------------------------------------------------------------------

    def _consume(self, node: SimNode, term: Term) -> None:
        """A consumer takes the next few messages of a queue."""
        if queues := node.replica.message_queues:
            self._acquire(node, term, self._walk.random.choice(queues).queue, self._walk.random.randint(1, 3))

    def _acquire(self, node: SimNode, term: Term, queue: QueueId, messages_max: int) -> list[Hold]:
        if queue not in term.queues:
            term.queues[queue] = FifoQueue(SimContent(node, queue))
        taken = term.queues[queue].acquire(messages_max)
        if node.replica.primary is None:
            return []  # A read has failed, and the node has ended.
        if taken is None:
            self._check_all_delivered(node, term, queue)
            return []
        found = []
        for id, data in zip(*taken, strict=True):
            if node.replica.primary is None:
                break
            value = data.rstrip(b".").decode()
            hold = Hold(queue, id, place_of(node, queue, id), value)
            self._check_delivered(term, hold)
            self._walk.world.clients.given(node, queue, id, value)
            found.append(hold)
            term.held.append(hold)
        return found

    @staticmethod
    def _check_delivered(term: Term, hold: Hold) -> None:
        if any((h.queue, h.place) == (hold.queue, hold.place) for h in term.all):
            raise Violation(f"U-a: {hold.value} is with two consumers")
        at = (hold.queue, hold.place)
        if at in term.released:
            term.released.discard(at)
        elif hold.place <= term.newest.get(hold.queue, 0):
            raise Violation(f"S4: {hold.value}, at place {hold.place}, comes after {term.newest[hold.queue]}")
        else:
            term.newest[hold.queue] = hold.place

    @staticmethod
    def _check_all_delivered(node: SimNode, term: Term, queue: QueueId) -> None:
        with_consumers = {h.place for h in term.all if h.queue == queue}
        for id in node.replica.queues[queue].held:
            if node.replica.primary is not None and place_of(node, queue, id) not in with_consumers:
                raise Violation(f"live: message {id} of a queue is with nobody, and is not delivered")

    # --- settling --------------------------------------------------------------------------------

    def _draw(self, holds: list[Hold]) -> Hold:
        hold = self._walk.random.choice(holds)
        holds.remove(hold)
        return hold

    def _settle(self, node: SimNode, term: Term) -> None:
        """A consumer accepts a message by the id that it was given."""
        if not term.held:
            return
        hold = self._draw(term.held)
        world, there, old = self._walk.world, is_held(node, hold.queue, hold.place), self._is_old(node, hold)
        try:
            position = term.queues[hold.queue].accept(hold.ids)
        except MessagesGone:
            if there:
                raise Violation(
                    f"U2: the accept of {hold.value} is refused, and it is in the queue"
                ) from None
            world.sometimes(MOVED)
            return
        if is_held(node, hold.queue, hold.place):
            raise Violation(f"S3: {hold.value} is accepted, and it is in the queue")
        self._check_gone(node, hold)
        if old or not there:
            world.sometimes(OLD_ID if old else GONE)
        world.checker.accepted([hold.value])
        world.checker.operated(node)
        world.clients.settles(node, hold.queue, position, (hold.value,))
        node.run()

    def _check_gone(self, node: SimNode, hold: Hold) -> None:
        """What is confirmed does not live on in another queue."""
        clients, checker = self._walk.world.clients, self._walk.world.checker
        for queue in node.replica.message_queues:
            if hold.value not in checker.copies and any(
                clients.value_at(node, queue.queue, id) == hold.value for id in queue.held
            ):
                raise Violation(f"S3: the accept of {hold.value} is confirmed, and it is in another queue")

    @staticmethod
    def _is_old(node: SimNode, hold: Hold) -> bool:
        """The message is there, and has another id now."""
        held = node.replica.queues[hold.queue].held
        return hold.id not in held and is_held(node, hold.queue, hold.place)

    def _give_back(self, node: SimNode, term: Term) -> None:
        """A consumer releases a message by the id that it was given. It comes again, before all that come later."""
        if term.held:
            hold = self._draw(term.held)
            there, old = is_held(node, hold.queue, hold.place), self._is_old(node, hold)
            term.queues[hold.queue].release(hold.ids)
            term.released.add((hold.queue, hold.place))
            if there:
                again = self._acquire(node, term, hold.queue, 1)
                missed = not again and node.replica.primary is not None
                if missed or (again and again[0].place > hold.place):
                    raise Violation(f"live: {hold.value} was released, and is not delivered")
            if old:
                self._walk.world.sometimes(BACK)

    # --- what happens to messages meanwhile ---------------------------------------------------------

    def _change(self, node: SimNode, term: Term) -> None:
        """An update of messages that consumers have, by the ids that those were given."""
        there = [h for h in term.all if is_held(node, h.queue, h.place)]
        if there:
            queue = self._walk.random.choice(there).queue
            holds = sorted((h for h in there if h.queue == queue), key=lambda hold: hold.id)[:3]
            commit = self._new_commit()
            commit.given.append((len(commit.steps), queue, [h.value for h in holds], True))
            ids = SequenceSet(h.id for h in holds)
            commit.steps.append(Update(queue, ids, tuple(b"%d" % commit.number for _ in holds)))
            self._walk.world.clients.commit(node, commit)

    def _move_away(self, node: SimNode, term: Term) -> None:
        """A message that a consumer has goes to another queue."""
        there = [h for h in term.all if is_held(node, h.queue, h.place)]
        targets = [queue.queue for queue in node.replica.message_queues]
        if there and len(targets) > 1:
            hold = self._walk.random.choice(there)
            target = self._walk.random.choice([queue for queue in targets if queue != hold.queue])
            id = present_id(node, hold.queue, hold.place)
            assert id is not None, "it is there"
            self._walk.world.clients.move(node, hold.queue, [id], target)

    # --- open transactions -----------------------------------------------------------------------

    def _take(self, node: SimNode, term: Term) -> None:
        """The open transaction takes messages that a consumer has."""
        for _ in range(min(len(term.held), self._walk.random.randint(1, 2))):
            term.taken.append(self._draw(term.held))

    def _conclude(self, node: SimNode, term: Term) -> None:
        """The open transaction commits: it accepts what it took, and publishes a result."""
        holds, queues = term.taken, node.replica.message_queues
        if not holds or not queues:
            return
        term.taken, target = [], self._walk.random.choice(queues).queue
        left = [h for h in holds if is_held(node, h.queue, h.place)]
        if len(left) == len(holds):
            self._commit(node, holds, target)
        else:
            self._refused(node, holds, target)
            term.held += left

    @staticmethod
    def _accepts(holds: list[Hold]) -> list[Accept]:
        queues = {h.queue: SequenceSet() for h in holds}
        for hold in holds:
            queues[hold.queue].add(hold.id)
        return [Accept(queue, ids) for queue, ids in queues.items()]

    def _commit(self, node: SimNode, holds: list[Hold], target: QueueId) -> None:
        clients, old = self._walk.world.clients, any(self._is_old(node, hold) for hold in holds)
        commit, result = self._new_commit(), clients.fresh(1)
        commit.steps += self._accepts(holds)
        commit.accepted += [hold.value for hold in holds]
        commit.given.append((len(commit.steps), target, result, False))
        commit.steps.append(Publish((target,), Batch.pack([value.encode() for value in result])))
        clients.commit(node, commit)
        if left := [h.value for h in holds if is_held(node, h.queue, h.place)]:
            raise Violation(f"S3: {left} were accepted by a commit, and are in their queues")
        if old:
            self._walk.world.sometimes(OPEN)

    def _refused(self, node: SimNode, holds: list[Hold], target: QueueId) -> None:
        assert node.replica.primary is not None
        position = node.replica.primary.position
        try:
            node.replica.commit([Publish((target,), Batch.pack([b"never"])), *self._accepts(holds)])
        except (MessagesGone, UnknownQueue):
            if node.replica.primary.position != position:
                raise Violation("TX9: a commit that was refused has a position") from None
            self._walk.world.sometimes(REFUSED)
        else:
            raise Violation(f"TX9: a commit took {[h.value for h in holds]}, and not all are there")
