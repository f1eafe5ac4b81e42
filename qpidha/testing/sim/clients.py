"""Publishers and consumers: what they did, and the answers they got.

Every published value is unique, so that every message can be traced to one publish. A publish ends in one
of three ways: OK, refused (no node stores it) or in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qpidha.core.chunks import split_ids
from qpidha.core.ready import Completion, Doubtful, Safe, Settled, Stored
from qpidha.errors import NotEnoughMembers, NotPrimary
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.checker import Checker
from qpidha.testing.invariants.commits import Commit
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.localclients import LocalClients
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.places import ordered, place_of, places_of_updates
from qpidha.testing.sim.serving import Serving
from qpidha.types import Generation, MessageId, Position, QueueId, QueueSpec, Settle
from qpidha.wire.batch import Batch

TOO_FEW = "finds too few members"
"""What observers are told of an operation that is refused for that."""


class Clients:
    """All clients of all nodes."""

    def __init__(
        self, checker: Checker, observe: Callable[[SimNode | None, str, Sequence[str]], None]
    ) -> None:
        """``observe``: called with the node, the action of the client and the values of its messages."""
        self.checker = self._checker = checker
        self._observe = observe
        self._serving: dict[tuple[str, Generation], Serving] = {}
        self._count = 0
        self.local = LocalClients(checker, self._given_more, self._left)
        self.on_declared: Callable[[str, QueueId], None] = lambda name, queue: None
        """Called with the name and the id of each queue that a commit declares."""

    def _at(self, node: SimNode) -> Serving:
        return self._serving.setdefault((node.host, node.replica.generation), Serving())

    @property
    def waiting(self) -> int:
        """The number of publishes and settles without an answer."""
        return sum(
            len(s.settles) + len(s.deletions) + len(s.commits) + sum(map(len, s.publishes.values()))
            for s in self._serving.values()
        )

    def finds_too_few(self, node: SimNode, values: Sequence[str] = ()) -> bool:
        """The node is a primary with fewer members than ``min_in_sync``: it would refuse what a client is about to do."""
        primary = node.replica.primary
        if primary is None or not primary.minimum.short:
            return False
        self._observe(node, TOO_FEW, values)
        return True

    def fresh(self, count: int) -> list[str]:
        """Return ``count`` new values, unique in the run: ``v1``, ``v2`` and so on."""
        self._count += count
        return [f"v{n}" for n in range(self._count - count + 1, self._count + 1)]

    def declare(self, node: SimNode, spec: QueueSpec, named: Callable[[QueueId], None]) -> None:
        """Declare a queue on a primary. ``named`` is called with its id, before any effect is performed."""
        queue, position = node.replica.declare(spec)
        named(queue)
        self._checker.operated(node)
        self._at(node).told.append((position, lambda: self._declared(queue)))
        node.run()

    def read(self, node: SimNode, answered: Callable[[], None]) -> None:
        """Read something, and answer when a primary's barrier is passed. Raises `Violation` (Q7)."""
        position, primary = node.replica.confirm(), node.replica.primary
        self._checker.operated(node)
        if primary is None or position <= primary.safe:
            raise Violation("Q7: a barrier waits for nothing that members acknowledge from now on")
        self._at(node).told.append((position, answered))
        node.run()

    def publish(
        self, node: SimNode, queue: QueueId, values: Sequence[str], *, size: int = 0, run: bool = True
    ) -> bool:
        """Publish one batch. Returns False if it was refused, so that no node stores its messages.

        ``size``: pad each message to this many bytes. ``run``: perform the effects at once.
        """
        checker = self._checker
        checker.attempted(values)
        self._observe(node, "publishes", values)
        batch = Batch.pack([v.encode().ljust(size, b".") for v in values])
        try:
            _, ids = node.replica.enqueue(queue, batch)
        except NotPrimary:
            checker.refused(values)
            return False
        except NotEnoughMembers:
            self._observe(node, TOO_FEW, values)
            checker.refused(values)
            return False
        self._given_more(node, queue, list(ids), values)
        if run:
            node.run()
        return True

    def _given_more(
        self, node: SimNode, queue: QueueId, ids: Sequence[MessageId], values: Sequence[str]
    ) -> None:
        self._at(node).publishes.setdefault(queue, []).extend(zip(ids, values, strict=True))
        self._checker.published(node, queue, ids, values)
        self._checker.operated(node)

    def _left(self, node: SimNode, position: Position, values: Sequence[str]) -> None:
        self._at(node).deletions.append((position, tuple(values)))
        self._checker.operated(node)

    def awaits(self, node: SimNode, queue: QueueId, given: list[tuple[MessageId, str]]) -> None:
        """A publisher waits for messages with these ids."""
        self._at(node).publishes.setdefault(queue, []).extend(given)

    def tell(self, node: SimNode, position: Position, told: Callable[[], None]) -> None:
        """Call this when everything up to the position is complete."""
        self._at(node).told.append((position, told))

    # --- consuming -----------------------------------------------------------------------------------

    def deliver(self, node: SimNode, queue: QueueId, *, again: bool = False) -> tuple[MessageId, str] | None:
        """Deliver the first message that this queue's consumer did not get yet; None if there is none.

        ``again``: forget what was delivered before, as if that consumer had gone away.
        """
        held = node.replica.queues.get(queue)
        if node.replica.primary is None or held is None:
            return None
        serving = self._at(node)
        if again:
            serving.delivered = {d for d in serving.delivered if d[0] != queue}
        for id in ordered(node, queue, held.held):
            if (place := (queue, place_of(node, queue, id))) not in serving.delivered:
                serving.delivered.add(place)
                value = self.value_at(node, queue, id)
                self.given(node, queue, id, value)
                return id, value
        return None

    def given(self, node: SimNode, queue: QueueId, id: MessageId, value: str) -> None:
        """A consumer got this message."""
        self._checker.delivered(node, queue, id, value)
        self._observe(node, "is given", [value])

    def unsettled(self, node: SimNode, queue: QueueId) -> list[MessageId]:
        """The ids of messages that this primary delivered and still holds, ascending."""
        held, delivered = node.replica.queues[queue].held, self._at(node).delivered
        return [id for id in held if (queue, place_of(node, queue, id)) in delivered]

    @staticmethod
    def value_at(node: SimNode, queue: QueueId, id: MessageId) -> str:
        """Return the value of a message that the node holds. Raises `StopIteration` if it does not."""
        _, batch = next(iter(node.replica.queues[queue].select(SequenceSet([id]))))
        return batch.data(0).rstrip(b".").decode()

    def settles(self, node: SimNode, queue: QueueId, position: Position, values: tuple[str, ...]) -> None:
        """An accept of these values is covered by this position: confirm it, or do so when it is safe."""
        primary = node.replica.primary
        safe = 0 if primary is None else primary.safe  # Already, perhaps, if there was nothing to remove.
        if position <= safe or node.replica.queues[queue].spec.settle is Settle.IMMEDIATE:
            self._checker.settled(node, values)
        else:
            self._at(node).settles.append((position, values))

    def accept(self, node: SimNode, queue: QueueId, ids: Sequence[MessageId], *, run: bool = True) -> bool:
        """Accept messages; they are confirmed at once with ``settle=immediate``, else when they are safe.

        Returns False if the primary refuses it because it has too few members.
        """
        values = tuple(self.value_at(node, queue, id) for id in ids)
        if self.finds_too_few(node, values):
            return False
        checker = self._checker
        checker.accepted(values)
        self._observe(node, "accepts", values)
        position = 0
        for part in split_ids(SequenceSet(ids), node.replica.settings.ids_runs_per_chunk_max):
            position, _ = node.replica.dequeue(queue, part)  # One operation each: the checker checks each.
            checker.operated(node)
        self.settles(node, queue, position, values)
        if run:
            node.run()
        return True

    def move(self, node: SimNode, source: QueueId, ids: Sequence[MessageId], target: QueueId) -> None:
        """Move messages that the primary holds to another queue, in one operation."""
        values = [self.value_at(node, source, id) for id in ordered(node, source, ids)]
        if self.finds_too_few(node, values):
            return
        self._observe(node, "moves", values)
        _, new = node.replica.move(source, SequenceSet(ids), target)
        self._checker.moved(node, target, list(new), values)
        self._checker.operated(node)
        node.run()

    def skip(self, node: SimNode, queue: QueueId, count: int) -> None:
        """Skip ids, as for a publish that is cancelled before it is stored (O2)."""
        if self.finds_too_few(node):
            return
        node.replica.skip(queue, count)
        self._checker.operated(node)
        node.run()

    # --- commits and deletions -----------------------------------------------------------------------

    def commit(self, node: SimNode, commit: Commit) -> bool:
        """Commit. Returns False if it was refused: the primary has too few members, or is none any more."""
        checker, published = self._checker, commit.published
        checker.attempted(published)
        if self.finds_too_few(node, published):
            checker.refused(published)
            return False
        self._observe(node, "commits", commit.values)
        checker.copies.update(commit.copies)
        checker.accepted(commit.accepted, committed=True)
        for queue in commit.deleted:
            checker.commits.deleting(queue)
        before = {name: queue.next for name, queue in node.replica.queues.items()}
        updates = places_of_updates(node, commit)
        made = node.replica.commit(commit.steps)
        for step, name in commit.declared.items():
            self.on_declared(name, made.declared(step))
        given = self._given(node, commit, before)
        checker.moved_out(
            commit.replaced
        )  # Also to a queue that the commit deletes: a failover may undo that.
        for step, ref, values, _ in commit.given:
            at = made.made[ref].queue if isinstance(ref, int) else ref
            if at in node.replica.queues and at is not None:
                told = [given.get((at, id)) for id in made.made[step].ids]
                assert told == values, f"a step is said to have made {told}, and has {values}"
        for (at, id), place in updates(made).items():
            checker.identities.updated((at, node.replica.generation, id), place)
        checker.commits.made(commit)
        checker.operated(node)
        self._at(node).commits.append((made.position, commit))
        node.run()
        return True

    def _given(
        self, node: SimNode, commit: Commit, before: dict[QueueId, MessageId]
    ) -> dict[tuple[QueueId, MessageId], str]:
        """Tell the checker of each message that a commit made, and return them."""
        given, replaced = {}, set(commit.replaced)
        for queue in node.replica.message_queues:
            ids = [id for id in range(before.get(queue.queue, 1), queue.next) if id in queue.held]
            values = [self.value_at(node, queue.queue, id) for id in ids]
            given.update({(queue.queue, id): value for id, value in zip(ids, values, strict=True)})
            for id, value in zip(ids, values, strict=True):
                note = self._checker.moved if value in replaced else self._checker.published
                note(node, queue.queue, [id], [value])
        return given

    def _declared(self, queue: QueueId) -> None:
        self._checker.commits.declaration_answered(queue, self._checker.members)

    def _deleted(self, queue: QueueId) -> None:
        self._checker.commits.deletion_answered(queue, self._checker.members)

    def delete(self, node: SimNode, queue: QueueId, target: QueueId | None) -> None:
        """Delete a queue and everything in it, or move that to another queue first."""
        held = ordered(node, queue, node.replica.queues[queue].held)
        values = [self.value_at(node, queue, id) for id in held]
        if self.finds_too_few(node, values):
            return
        self._observe(node, "deletes a queue with" if target is None else "moves, deletes a queue", values)
        self._checker.commits.deleting(queue)
        if target is None:
            self._checker.accepted(values)
            position = node.replica.delete(queue)
            self._at(node).deletions.append((position, tuple(values)))
        else:
            first = node.replica.queues[target].next
            position = node.replica.delete(queue, target)
            self._checker.moved(node, target, range(first, first + len(values)), values)
        self._at(node).told.append((position, lambda: self._deleted(queue)))
        self._checker.operated(node)
        node.run()

    # --- what they are told --------------------------------------------------------------------------

    def completed(self, node: SimNode, completion: Completion) -> None:
        """Give the clients of a generation their answers; one that no client waits for is ignored."""
        self.local.completed(node, completion)
        serving = self._serving.get((node.host, completion.generation))
        if serving is None:
            return
        match completion:
            case Safe(queue, upto):
                waiting = serving.publishes.get(queue, [])
                done = [value for id, value in waiting if id <= upto]
                if done:
                    serving.publishes[queue] = [pair for pair in waiting if pair[0] > upto]
                    self._checker.answered_ok(node, done)
            case Settled(upto):
                self._settled(node, serving, upto)
            case Stored():
                pass  # Of `local`.
            case Doubtful():
                self._doubt(node, serving)

    def _settled(self, node: SimNode, serving: Serving, upto: Position) -> None:
        checker = self._checker
        ready = [s for s in serving.settles if s[0] <= upto]
        serving.settles = [s for s in serving.settles if s[0] > upto]
        for _, values in ready:
            checker.settled(node, values)
        done_commits = [commit for position, commit in serving.commits if position <= upto]
        serving.commits = [c for c in serving.commits if c[0] > upto]
        for commit in done_commits:
            if commit.published:
                checker.answered_ok(node, commit.published)
            if commit.accepted:
                checker.settled(node, commit.accepted, committed=True)
            checker.commits.answered(commit, checker.members)
            for queue in commit.deleted:
                self._deleted(queue)
        for _, values in [d for d in serving.deletions if d[0] <= upto]:
            checker.settled(node, values, committed=True)
        serving.deletions = [d for d in serving.deletions if d[0] > upto]
        for _, check in [t for t in serving.told if t[0] <= upto]:
            check()
        serving.told = [t for t in serving.told if t[0] > upto]

    def crashed(self, node: SimNode) -> None:
        """End every connection to a process: all its unanswered publishes and settles are in doubt."""
        self.local.crashed(node)
        for key in [key for key in self._serving if key[0] == node.host]:
            self._doubt(node, self._serving.pop(key))

    def _doubt(self, node: SimNode, serving: Serving) -> None:
        values = [value for waiting in serving.publishes.values() for _, value in waiting]
        settles = [value for _, values in serving.settles + serving.deletions for value in values]
        values += [value for _, commit in serving.commits for value in commit.published]
        settles += [value for _, commit in serving.commits for value in commit.accepted]
        serving.publishes.clear()
        for waiting_for in (serving.settles, serving.deletions, serving.told, serving.commits):
            waiting_for.clear()
        if values or settles:
            self._checker.in_doubt(node, values, settles)
