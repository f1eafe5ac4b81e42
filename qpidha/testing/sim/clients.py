"""Publishers and consumers: what they did, and the answers they got.

Every published value is unique, so that every message can be traced to one publish. A publish ends in one
of three ways: OK, refused (no node stores it) or in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from qpidha.core.chunks import split_ids
from qpidha.core.ready import Completion, Doubtful, Safe, Settled
from qpidha.errors import NotEnoughMembers, NotPrimary
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.checker import Checker
from qpidha.testing.invariants.commits import Commit
from qpidha.testing.sim.node import SimNode
from qpidha.types import Generation, MessageId, Position, QueueId, QueueSpec, Settle
from qpidha.wire.batch import Batch

TOO_FEW = "finds too few members"
"""What observers are told of an operation that is refused for that."""


@dataclass(slots=True)
class Serving:
    """What clients wait for from one primary, in one generation of one boot."""

    publishes: dict[QueueId, list[tuple[MessageId, str]]] = field(default_factory=dict)
    settles: list[tuple[Position, tuple[str, ...]]] = field(default_factory=list)
    commits: list[tuple[Position, Commit]] = field(default_factory=list)
    delivered: set[tuple[QueueId, MessageId]] = field(default_factory=set)


class Clients:
    """All clients of all nodes."""

    def __init__(
        self, checker: Checker, observe: Callable[[SimNode | None, str, Sequence[str]], None]
    ) -> None:
        """``observe``: called with the node, the action of the client and the values of its messages."""
        self._checker = checker
        self._observe = observe
        self._serving: dict[tuple[str, Generation], Serving] = {}
        self._count = 0

    def _at(self, node: SimNode) -> Serving:
        return self._serving.setdefault((node.host, node.replica.generation), Serving())

    @property
    def waiting(self) -> int:
        """The number of publishes and settles without an answer."""
        return sum(
            len(s.settles) + len(s.commits) + sum(map(len, s.publishes.values()))
            for s in self._serving.values()
        )

    def finds_too_few(self, node: SimNode, values: Sequence[str] = ()) -> bool:
        """The node is a primary with fewer members than ``min_in_sync``: it would refuse what a client is about to do."""
        primary = node.replica.primary
        if primary is None or not primary.minimum.short:
            return False
        self._observe(node, TOO_FEW, values)
        return True

    # --- publishing ----------------------------------------------------------------------------------

    def fresh(self, count: int) -> list[str]:
        """Return ``count`` new values, unique in the run: ``v1``, ``v2`` and so on."""
        self._count += count
        return [f"v{n}" for n in range(self._count - count + 1, self._count + 1)]

    def declare(self, node: SimNode, name: str, settle: Settle) -> QueueId:
        """Declare a queue on a primary. Returns its id."""
        queue, _ = node.replica.declare(QueueSpec(name=name, settle=settle))
        self._checker.operated(node)
        node.run()
        return queue

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
        given = list(ids)
        self._at(node).publishes.setdefault(queue, []).extend(zip(given, values, strict=True))
        checker.published(node, queue, given, values)
        checker.operated(node)
        if run:
            node.run()
        return True

    # --- consuming -----------------------------------------------------------------------------------

    def deliver(self, node: SimNode, queue: QueueId, *, again: bool = False) -> tuple[MessageId, str] | None:
        """Deliver the lowest message that this queue's consumer did not get yet; None if there is none.

        ``again``: forget what was delivered before, as if that consumer had gone away.
        """
        held = node.replica.queues.get(queue)
        if node.replica.primary is None or held is None:
            return None
        serving = self._at(node)
        if again:
            serving.delivered = {d for d in serving.delivered if d[0] != queue}
        for id in held.held:
            if (queue, id) not in serving.delivered:
                serving.delivered.add((queue, id))
                value = self.value_at(node, queue, id)
                self._checker.delivered(node, queue, id, value)
                self._observe(node, "is given", [value])
                return id, value
        return None

    def unsettled(self, node: SimNode, queue: QueueId) -> list[MessageId]:
        """The ids of messages that this primary delivered and still holds, ascending."""
        held = node.replica.queues[queue].held
        return sorted(id for q, id in self._at(node).delivered if q == queue and id in held)

    @staticmethod
    def value_at(node: SimNode, queue: QueueId, id: MessageId) -> str:
        """Return the value of a message that the node holds. Raises `StopIteration` if it does not."""
        _, batch = next(iter(node.replica.queues[queue].select(SequenceSet([id]))))
        return batch.data(0).rstrip(b".").decode()

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
        immediate = node.replica.queues[queue].spec.settle is Settle.IMMEDIATE
        position = 0
        for part in split_ids(SequenceSet(ids), node.replica.settings.ids_runs_per_chunk_max):
            position, _ = node.replica.dequeue(
                queue, part
            )  # One operation each: the checker checks every one.
            checker.operated(node)
        if immediate:
            checker.settled(node, values)
        else:
            self._at(node).settles.append((position, values))
        if run:
            node.run()
        return True

    def move(self, node: SimNode, source: QueueId, ids: Sequence[MessageId], target: QueueId) -> None:
        """Move messages that the primary holds to another queue, in one operation."""
        values = [self.value_at(node, source, id) for id in ids]
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
        checker.accepted(commit.accepted)
        made = node.replica.commit(commit.steps)
        for step, queue, values, moved in commit.given:
            note = checker.moved if moved else checker.published
            note(node, queue, list(made.made[step].ids), values)
        checker.commits.made(commit)
        checker.operated(node)
        self._at(node).commits.append((made.position, commit))
        node.run()
        return True

    def delete(self, node: SimNode, queue: QueueId, target: QueueId | None) -> None:
        """Delete a queue and everything in it, or move that to another queue first."""
        held = list(node.replica.queues[queue].held)
        values = [self.value_at(node, queue, id) for id in held]
        if self.finds_too_few(node, values):
            return
        self._observe(node, "deletes a queue with" if target is None else "moves, deletes a queue", values)
        if target is None:
            self._checker.accepted(values)
            position = node.replica.delete(queue)
            self._at(node).settles.append((position, tuple(values)))
        else:
            first = node.replica.queues[target].next
            node.replica.delete(queue, target)
            self._checker.moved(node, target, range(first, first + len(values)), values)
        self._checker.operated(node)
        node.run()

    # --- what they are told --------------------------------------------------------------------------

    def completed(self, node: SimNode, completion: Completion) -> None:
        """Give the clients of a generation their answers; one that no client waits for is ignored."""
        serving = self._serving.get((node.host, completion.generation))
        if serving is None:
            return
        checker = self._checker
        match completion:
            case Safe(queue, upto):
                waiting = serving.publishes.get(queue, [])
                done = [value for id, value in waiting if id <= upto]
                if done:
                    serving.publishes[queue] = [pair for pair in waiting if pair[0] > upto]
                    checker.answered_ok(node, done)
            case Settled(upto):
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
                        checker.settled(node, commit.accepted)
                    checker.commits.answered(commit, checker.members)
            case Doubtful():
                self._doubt(node, serving)

    def crashed(self, node: SimNode) -> None:
        """End every connection to a process: all its unanswered publishes and settles are in doubt."""
        for key in [key for key in self._serving if key[0] == node.host]:
            self._doubt(node, self._serving.pop(key))

    def _doubt(self, node: SimNode, serving: Serving) -> None:
        values = [value for waiting in serving.publishes.values() for _, value in waiting]
        settles = [value for _, values in serving.settles for value in values]
        values += [value for _, commit in serving.commits for value in commit.published]
        settles += [value for _, commit in serving.commits for value in commit.accepted]
        serving.publishes.clear()
        serving.settles.clear()
        serving.commits.clear()
        if values or settles:
            self._checker.in_doubt(node, values, settles)
