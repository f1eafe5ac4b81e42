"""What clients do: the actions of the state model, done to the core."""

from __future__ import annotations

from typing import Any

from qpidha.core.steps import Accept, DeclareQueue, Publish, Step, Update
from qpidha.queues import MSGPACK
from qpidha.seq import SequenceSet
from qpidha.types import ProducerSequence, QueueId, QueueSpec, Settle
from qpidha.wire.batch import Batch
from tests.model.state import nouns
from tests.model.state.history import objects
from tests.model.state.nouns import MEM
from tests.model.state.options import BUDGET
from tests.model.state.publishing import sent_as, target_queue
from tests.model.stateparts import Parts, State


class Clients(Parts):
    """Each method does one action, by its name; ``before`` is the state of the model before it."""

    def _queue(self, u: int) -> QueueId:
        return self.code.queue(self.model.births[u])

    def _spent(self, name: str) -> int:
        return int(self.state[5][BUDGET[name]])

    @staticmethod
    def _sequence(sent: nouns.Sent) -> ProducerSequence:
        return ProducerSequence(f"p{sent.publisher}", sent.epoch, sent.sequence)

    def _sent_as(self, v: int) -> nouns.Sent:
        return sent_as(nouns.World(self.state), v)

    def _pub(self, before: State, n: int, publisher: int = 1) -> None:
        v, node = self._spent("pub"), self._node(n)
        if self.options.get("dedup"):
            self._re(before, n, v)
            return
        queue = self._queue(target_queue(before[2][n][MEM]) or 0)
        _, ids = node.replica.enqueue(queue, batch(v))
        self.told.when(node, queue, ids.last, ("E", v))
        node.run()

    def _re(self, before: State, n: int, v: int) -> None:
        """A publish with a sequence, for the first time or again."""
        node, target = self._node(n), target_queue(before[2][n][MEM])
        queue = self._queue(target or nouns.A)
        made = node.replica.publish(queue, batch(v), self._sequence(self._sent_as(v)))
        upto = made.position if made.queue is None else made.ids.last
        self.told.when(node, made.queue, upto, ("E", v))
        node.run()

    def _gup(self, before: State, n: int, v: int) -> None:
        node = self._node(n)
        made = node.replica.commit((), self._sequence(self._sent_as(v)))
        self.told.when(node, None, made.position, *([] if made.repeated else [("N", v)]))
        node.run()

    def _reg(self, before: State, n: int, publisher: int) -> None:
        node = self._node(n)
        made = node.replica.register(f"p{publisher}")
        self.told.when(node, None, made.position, ("R", publisher, made.epoch))
        node.run()

    def _exp(self, before: State, n: int, publisher: int) -> None:
        self._node(n).replica.forget(f"p{publisher}")
        self._node(n).run()

    def _acc(self, before: State, n: int, u: int, k: int) -> None:
        node, m = self._node(n), dict(before[2][n][MEM].queues)[u].held[k]
        position, _ = node.replica.dequeue(self._queue(u), ids(m))
        self.told.when(node, None, position, ("S", m.value))
        node.run()

    def _upd(self, before: State, n: int, u: int, k: int) -> None:
        m = dict(before[2][n][MEM].queues)[u].held[k]
        self._node(n).replica.commit([Update(self._queue(u), ids(m), (MSGPACK.pack(priority=3),))])
        self._node(n).run()

    def _move(self, before: State, n: int) -> None:
        m = dict(before[2][n][MEM].queues)[nouns.A].held[0]
        self._node(n).replica.move(self._queue(nouns.A), ids(m), self._queue(nouns.B))
        self._node(n).run()

    def _decl(self, before: State, n: int, name: str) -> None:
        node = self._node(n)
        queue, position = node.replica.declare(QueueSpec(name=name, settle=Settle.REPLICATED))
        self.told.when(node, None, position, ("+", self.code.name(queue)))
        node.run()

    def _del(self, before: State, n: int, name: str) -> None:
        node, store = self._node(n), before[2][n][MEM]
        u = objects(store)[name].value[2]
        target = self._queue(nouns.B) if self.options.get("alt") and nouns.B in dict(store.queues) else None
        position = node.replica.delete(self._queue(u), target)
        self.told.when(node, None, position, ("-", self.model.births[u]))
        node.run()

    def _txn(self, before: State, n: int, shape: int) -> None:
        v = 100 + 2 * self._spent("txn")
        held = dict(before[2][n][MEM].queues)[nouns.A].held if shape == 2 else ()
        self._commit(before, n, shape, v, held[0] if held else None)

    def _retx(self, before: State, n: int, v: int) -> None:
        sent = self._sent_as(v)
        self._commit(before, n, sent.shape, v, sent.taken)

    def _commit(self, before: State, n: int, shape: int, v: int, taken: Any) -> None:
        node = self._node(n)
        steps: list[Step] = []
        facts: list[tuple[Any, ...]] = [("E", v)]
        if shape == 1:
            steps = [
                Publish((self._queue(nouns.A),), batch(v)),
                Publish((self._queue(nouns.B),), batch(v + 1)),
            ]
            facts.append(("E", v + 1))
        elif shape == 2:
            steps = [Accept(self._queue(nouns.A), ids(taken)), Publish((self._queue(nouns.B),), batch(v))]
            facts.append(("S", taken.value))
        else:
            steps = [
                DeclareQueue(QueueSpec(name=nouns.NEW, settle=Settle.REPLICATED)),
                Publish((0,), batch(v)),
            ]
        sequence = self._sequence(self._sent_as(v)) if self.options.get("seqtx") else None
        made = node.replica.commit(steps, sequence)
        if shape == 4 and not made.repeated:
            facts.append(("+", self.code.name(made.declared(0))))
        self.told.when(node, None, made.position, *facts)
        node.run()


def batch(value: int) -> Batch:
    """The message with this value."""
    return Batch.pack([b"v%d" % value])


def ids(message: Any) -> SequenceSet:
    """The id of one message."""
    return SequenceSet([message.id])
