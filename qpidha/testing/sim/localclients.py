"""Clients of queues whose messages are not replicated: what they did, and the answers they got (LV2, LV3, LV5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from qpidha.core.ready import Completion, Doubtful, Safe, Settled, Stored
from qpidha.core.steps import Erase, Publish, Put
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.checker import Checker
from qpidha.testing.invariants.entries import Entry
from qpidha.testing.invariants.levels import LocalMessages
from qpidha.testing.sim.node import SimNode
from qpidha.types import Generation, Level, MessageId, Position, QueueId, QueueSpec, Settle, level_of
from qpidha.wire.batch import Batch

Given = Callable[[SimNode, QueueId, Sequence[MessageId], Sequence[str]], None]
"""Called with what a primary was given in a replicated queue: node, queue, ids and values."""
Leaving = Callable[[SimNode, Position, Sequence[str]], None]
"""Called with the values that leave a replicated queue, and the position of their accepts."""

Answered = Callable[[QueueId, Iterable[SimNode]], None]


@dataclass(slots=True)
class LocalServing:
    """What clients wait for from one primary, in one generation of one boot."""

    publishes: dict[QueueId, list[tuple[MessageId, str]]] = field(default_factory=dict)
    accepts: list[tuple[Position, int, str]] = field(default_factory=list)
    """Position, number among the operations made here alone, and value."""
    changes: list[tuple[Position, int, Sequence[Entry]]] = field(default_factory=list)
    """The same of changes of keys."""
    told: list[tuple[Position, Callable[[], None]]] = field(default_factory=list)


class LocalClients:
    """See the module."""

    def __init__(self, checker: Checker, given: Given, leaving: Leaving) -> None:
        self._checker = checker
        self.messages: LocalMessages = checker.local
        self._given = given
        self._leaving = leaving
        self._serving: dict[tuple[str, Generation], LocalServing] = {}

    def _at(self, node: SimNode) -> LocalServing:
        return self._serving.setdefault((node.host, node.replica.generation), LocalServing())

    def _pending(self, node: SimNode, queue: QueueId, ids: SequenceSet, values: Sequence[str]) -> None:
        self._at(node).publishes.setdefault(queue, []).extend(zip(ids, values, strict=True))

    def value_at(self, node: SimNode, queue: QueueId, id: MessageId) -> str:
        """The value of a message in a local queue."""
        _, batch = next(iter(node.replica.local[queue].select(SequenceSet([id]))))
        return batch.data(0).rstrip(b".").decode()

    def _tell(self, node: SimNode, position: Position, answered: Answered, queue: QueueId) -> None:
        """Check, when everything up to there is complete, that all members are as the client is told."""
        checker = self._checker
        self._at(node).told.append((position, lambda: answered(queue, checker.members)))
        checker.operated(node)

    def declare(self, node: SimNode, name: str, level: Level, settle: Settle, kind: str = "fifo") -> QueueId:
        """Declare a queue or a table on a primary."""
        queue, position = node.replica.declare(QueueSpec(name=name, settle=settle, kind=kind), b"", level)
        if level is Level.CONFIGURATION:
            self._tell(node, position, self._checker.commits.declaration_answered, queue)
        node.run()
        return queue

    def delete(self, node: SimNode, queue: QueueId) -> None:
        """Delete a queue with what each node has in it."""
        self.messages.deleting(queue)
        if level_of(queue) is Level.CONFIGURATION:
            self._checker.commits.deleting(queue)
        position = node.replica.delete(queue)
        if level_of(queue) is Level.CONFIGURATION:
            self._tell(node, position, self._checker.commits.deletion_answered, queue)
        node.run()

    def publish(self, node: SimNode, queue: QueueId, values: Sequence[str], *, run: bool = True) -> None:
        """Publish one batch."""
        self.messages.stored(node, values)
        _, ids = node.replica.enqueue(queue, Batch.pack([v.encode() for v in values]))
        self._pending(node, queue, ids, values)
        if run:
            node.run()

    def accept(self, node: SimNode, queue: QueueId, ids: Sequence[MessageId]) -> None:
        """Accept messages."""
        values = [self.value_at(node, queue, id) for id in ids]
        self.messages.taken(values)
        position, _ = node.replica.dequeue(queue, SequenceSet(ids))
        self._wait(node, position, values)
        node.run()

    def _wait(self, node: SimNode, position: Position, values: Sequence[str]) -> None:
        primary = node.replica.primary
        assert primary is not None
        waits = position if position > primary.safe else 0
        self._at(node).accepts += [(waits, primary.local.stored, value) for value in values]

    def commit(
        self, node: SimNode, queue: QueueId, values: Sequence[str], other: QueueId, more: Sequence[str]
    ) -> None:
        """Publish to a local and to a replicated queue in one commit (LV2)."""
        self.messages.stored(node, values)
        self._checker.attempted(more)
        local, sent = (Batch.pack([v.encode() for v in some]) for some in (values, more))
        made = node.replica.commit([Publish((queue,), local), Publish((other,), sent)])
        self._pending(node, queue, made.made[0].ids, values)
        self._given(node, other, list(made.made[1].ids), more)
        node.run()

    def change(self, node: SimNode, entries: Sequence[Entry]) -> None:
        """Put and erase keys of local tables, and objects of this node, in one commit."""
        kept = self.messages.entries
        kept.put(node, entries)
        made = node.replica.commit(
            [Erase(q, key) if value is None else Put(q, key, value) for q, key, value in entries]
        )
        primary = node.replica.primary
        assert primary is not None and made.local, "it is about nothing that is replicated"
        waits = made.position if made.position > primary.safe else 0
        self._at(node).changes.append((waits, primary.local.stored, entries))
        node.run()

    def move_out(
        self, node: SimNode, queue: QueueId, ids: Sequence[MessageId], values: Sequence[str], to: QueueId
    ) -> None:
        """Move messages of a replicated queue to a local one (LV3)."""
        self._checker.accepted(values)
        self._checker.moved_out(values)
        self.messages.stored(node, values, crossed=True)
        position, new = node.replica.move(queue, SequenceSet(ids), to)
        self._pending(node, to, new, values)
        self._leaving(node, position, values)
        node.run()

    def move_in(self, node: SimNode, queue: QueueId, ids: Sequence[MessageId], to: QueueId) -> None:
        """Move messages of a local queue to a replicated one: there they are new (LV3)."""
        values = [self.value_at(node, queue, id) for id in ids]
        self.messages.taken(values, crossed=True)
        self._checker.attempted(values)
        position, new = node.replica.move(queue, SequenceSet(ids), to)
        self._given(node, to, list(new), values)
        self._at(node).accepts += [(position, 0, value) for value in values]
        node.run()

    # --- what they are told --------------------------------------------------------------------------

    def completed(self, node: SimNode, completion: Completion) -> None:
        """Give the clients their answers."""
        serving = self._serving.get((node.host, completion.generation))
        if serving is None:
            return
        match completion:
            case Safe(queue, upto):
                waiting = serving.publishes.get(queue, [])
                serving.publishes[queue] = [pair for pair in waiting if pair[0] > upto]
                if done := [value for id, value in waiting if id <= upto]:
                    self.messages.answered(node, queue, done)
            case Settled(upto):
                self._settle(node, serving, lambda position, _: 0 < position <= upto)
                ready = [check for position, check in serving.told if position <= upto]
                serving.told = [pair for pair in serving.told if pair[0] > upto]
                for check in ready:
                    check()
            case Stored(upto):
                self._settle(node, serving, lambda position, number: position == 0 and number <= upto)
            case Doubtful():
                self._serving.pop((node.host, completion.generation))

    def _settle(self, node: SimNode, serving: LocalServing, reached: Callable[[Position, int], bool]) -> None:
        done = [value for position, number, value in serving.accepts if reached(position, number)]
        serving.accepts = [each for each in serving.accepts if not reached(each[0], each[1])]
        if done:
            self.messages.settled(node, done)
        changed = [entries for position, number, entries in serving.changes if reached(position, number)]
        serving.changes = [each for each in serving.changes if not reached(each[0], each[1])]
        for entries in changed:
            self.messages.entries.answered(node, entries)

    def crashed(self, node: SimNode) -> None:
        """End every connection to a process: what is unanswered is in doubt."""
        for key in [key for key in self._serving if key[0] == node.host]:
            del self._serving[key]
