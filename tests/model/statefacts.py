"""What a node of the real core and a node of the state model have in common, in the model's words.

The queue that the configuration declares at (generation, id) has that birth as its uuid in the code, and a number in the
model. Here it is named by its birth, so that both sides can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qpidha.core.births import birth_of, born, configuration_id
from qpidha.core.configuration import read_key
from qpidha.core.producers import PRODUCER, ProducerEntry
from qpidha.testing.invariants.facts import fact_of
from qpidha.testing.sim.content import DiskQueue, Message
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.world import World
from qpidha.types import QueueId
from tests.model.state import nouns
from tests.model.state.history import in_history
from tests.model.state.options import CFG

Facts = dict[Any, Any]
CONFIGURATION = "the configuration"
Identity = tuple[Any, int, int]
"""(birth of the queue, generation, id)."""


def number(value: str) -> int:
    """The model's value of a message of the code."""
    return int(value[1:])


def content(name: Any, lineage: Iterable[tuple[int, int]], next: int, held: list[Any]) -> Any:
    """What is compared of a queue. Lineages are compared as if they were trimmed (G1), except the configuration's."""
    held, entries = sorted(held), list(lineage)
    low = min([next, *(each[1] for each in held)])
    while name != CONFIGURATION and len(entries) > 1 and entries[1][1] <= low:
        entries.pop(0)
    return tuple(entries), next, tuple(held)


def lives(queues: dict[int, nouns.Queue], u: int, birth: Any, m: nouns.Message) -> bool:
    """Whether this history has the message: it is there, was settled, or went with its queue."""
    if u in queues:
        return bool(in_history(queues[u], m.generation, m.id))
    return bool(in_history(queues[nouns.C], *birth))


class Code:
    """Reads a simulated cluster."""

    def __init__(self, world: World) -> None:
        self._configuration = configuration_id(world.cluster)

    def queue(self, birth: tuple[int, int]) -> QueueId:
        """The uuid of the queue with this birth."""
        return born(*birth)

    def name(self, queue: QueueId) -> Any:
        """What both sides call this queue."""
        return CONFIGURATION if queue == self._configuration else birth_of(queue)

    def memory(self, node: SimNode) -> Facts:
        """What the node holds now."""
        return {
            self.name(q.queue): self._queue(self.name(q.queue), q.lineage, q.next, fact_of(q)[2])
            for q in node.replica.queues.values()
        }

    def disk(self, node: SimNode) -> Facts:
        """What it holds after a crash."""
        queues: dict[QueueId, DiskQueue] = node.disk.content.queues
        return {
            self.name(id): self._queue(self.name(id), q.lineage, q.next, q.identified())
            for id, q in queues.items()
        }

    def _queue(
        self, name: Any, lineage: Iterable[Any], next: int, held: Iterable[tuple[int, int, Message]]
    ) -> Any:
        read = self._object if name == CONFIGURATION else self._message
        return content(name, lineage, next, [read(*each) for each in held])

    @staticmethod
    def _object(generation: int, id: int, message: Message) -> Any:
        kind, name = read_key(message.props)
        if kind != PRODUCER:
            return generation, id, "q", name, ()
        entry = ProducerEntry.decode(message.data)
        assert entry is not None
        return generation, id, "p", name, (entry.epoch, entry.last)

    def _message(self, generation: int, id: int, message: Message) -> Any:
        return generation, id, message.order or id, number(message.value), self._origin(message.origin)

    def _origin(self, raw: Any) -> Any:
        """Of a message that was replaced. One that has a sequence has that as its origin, from the beginning."""
        if raw is None or CFG["dedup"]:
            return ()
        return birth_of(QueueId(bytes=raw[0])), raw[1], raw[2]

    def quarantined(self, node: SimNode) -> set[Identity]:
        """What the node's disk has in quarantine."""
        return {(self.name(queue), generation, id) for queue, generation, id in node.disk.content.shelf}


class Model:
    """Reads states of the model, of one run: it remembers the births of all queues."""

    def __init__(self) -> None:
        self.births: dict[int, Any] = {nouns.C: CONFIGURATION}
        self.quarantined: list[set[Identity]] = [set() for _ in range(nouns.NODES)]
        """Of each node: all that was ever in its quarantine."""

    def see(self, state: tuple[Any, ...]) -> None:
        """Remember what later states may not show any more."""
        for x in state[2]:
            self.births |= {u: q.birth for u, q in x[nouns.MEM].queues if u != nouns.C}
        for b, u, birth, m in state[4][nouns.QUARANTINED]:
            self.births[u] = birth
            self.quarantined[b].add((birth, m.generation, m.id))

    def store(self, store: nouns.Store) -> Facts:
        """What a node holds."""
        return {self.births[u]: self._queue(u, q) for u, q in store.queues}

    def _queue(self, u: int, q: nouns.Queue) -> Any:
        read = self._object if u == nouns.C else self._message
        return content(self.births[u], q.lineage, q.next, [read(m) for m in q.held])

    @staticmethod
    def _object(m: nouns.Message) -> Any:
        if m.value[0] == "q":
            return m.generation, m.id, "q", m.value[1], ()
        return m.generation, m.id, "p", f"p{m.value[1]}", (m.value[2], m.value[3])

    def _message(self, m: nouns.Message) -> Any:
        root = (self.births[m.root[0]], *m.root[1:]) if m.root and not CFG["dedup"] else ()
        return m.generation, m.id, m.key, m.value, root

    def in_quarantine(self, state: tuple[Any, ...], node: int) -> set[Identity]:
        """What is in this node's quarantine now, but for what a primary's history has: it may leave (W2, Q5)."""
        histories = [dict(x[nouns.MEM].queues) for x in state[2] if x[nouns.VIEW] is not None]
        return {
            (birth, m.generation, m.id)
            for b, u, birth, m in state[4][nouns.QUARANTINED]
            if b == node and not any(lives(queues, u, birth, m) for queues in histories)
        }

    def handed_over(self, state: tuple[Any, ...]) -> set[Identity]:
        """First identities of what the embedder may have been told is lost."""
        return {(self.births[u], generation, id) for u, generation, id in state[4][nouns.HANDED_OVER]}
