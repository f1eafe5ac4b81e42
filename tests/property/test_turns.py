"""Everything that may be called in one turn of the event loop, against a model of lists, in any order.

Publishes of clients and of producers, repetitions, moves, updates, commits, deletions, registrations, a step-down. What
is published in a turn is collected, and made an operation later: at the end of the turn, or when another call needs it.
The model makes each call at once. So at the end of a turn each queue holds what the model holds, in its order; the ids
of each publish are those of its messages; each producer is as far as in the model; and all ops are safe, for this node
is the only member. What a step-down drops was collected in its turn, and is repeated by its producer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from qpidha import Level, MessagesGone, Op, Queue, SequenceGap, Settle, StaleHandle, UnknownProducer
from qpidha.node.producer import Producer
from tests.support.content_parts import Room
from tests.support.node_parts import run

LEVELS = {"q": Level.MESSAGES, "r": Level.MESSAGES, "own": Level.NONE}
NAMES = sorted(LEVELS)
PRODUCERS = ["ada", "bob"]
LARGE = 17_000
"""Bytes of a message whose batch is not joined with others."""
Number: TypeAlias = int


@dataclass
class Client:
    """A client that publishes through a producer, and what it has sent since it registered."""

    handle: Producer
    sent: list[list[tuple[str, bytes]]] = field(default_factory=list)
    """By sequence: the queues and the message; nothing if the sequence was given up."""


class Turns:
    """One node, and the model."""

    def __init__(self) -> None:
        self.room, self.generation = Room().lead(), 1
        self.queues: dict[str, Queue] = {}
        self.held: dict[str, list[bytes]] = {}
        for name in NAMES:
            self.declare(name)
        self.clients = {name: Client(self.room.producer(name)) for name in PRODUCERS}
        self.former: list[tuple[Producer, int, int]] = []
        self.ops: list[Op] = []
        self.published: list[tuple[str, range, list[bytes]]] = []
        self.accepted: list[bytes] = []
        """In this turn: if it does not end in this term, they may be there again."""
        """In this turn: queue, ids, messages."""
        self.fanned_out: set[bytes] = set()
        self.made = 0

    def declare(self, name: str) -> None:
        settle = Settle.IMMEDIATE if name == "r" else Settle.REPLICATED
        self.queues[name] = self.room.declare(name, replicate=LEVELS[name], settle=settle)
        self.held[name] = []

    def data(self, size: int = 0) -> bytes:
        self.made += 1
        return b"%d" % self.made + bytes(size)

    def name(self, number: Number) -> str:
        return NAMES[number % len(NAMES)]

    def client(self, number: Number) -> Client:
        return self.clients[PRODUCERS[number % len(PRODUCERS)]]

    def came(self, name: str, op: Op, messages: Sequence[bytes]) -> None:
        assert len(op.ids) == len(messages)
        self.held[name] += messages
        self.ops.append(op)
        self.published.append((name, op.ids, list(messages)))

    def ids(self, name: str) -> list[int]:
        """The present ids, in the order of the queue. What was collected is made an operation."""
        self.queues[name].flush()
        return [id for id, _, _ in self.queues[name].messages()]

    # --- the calls -------------------------------------------------------------------------------

    def publish(self, a: Number, b: Number, c: Number) -> None:
        name = self.name(a)
        data = self.data()
        self.came(name, self.queues[name].enqueue(data), [data])

    def publish_many(self, a: Number, b: Number, c: Number) -> None:
        name = self.name(a)
        batch = [self.data(LARGE if c == 0 else 0) for _ in range(1 + b)]
        self.came(name, self.queues[name].enqueue_many(batch), batch)

    def fan_out(self, a: Number, b: Number, c: Number) -> None:
        names, data = sorted({self.name(a), self.name(b)}), self.data()
        self.fanned_out.add(data)
        op = self.room.publish([self.queues[name] for name in names], data)
        self.came(names[0], op, [data])
        for name in names[1:]:
            self.held[name].append(data)

    def produce(self, a: Number, b: Number, c: Number) -> None:
        self.produce_once(self.client(a), self.name(b), self.data())

    def produce_many(self, a: Number, b: Number, c: Number) -> None:
        """A batch, the first messages of which may be repetitions."""
        client, name = self.client(a), self.name(b)
        repeated = min(c, len(client.sent))
        batch = [self.data(LARGE if a == 0 else 0) for _ in range(1 + b)]
        client.sent += [[(name, data)] for data in batch]
        first = len(client.sent) - len(batch) - repeated + 1
        op = client.handle.enqueue_many(self.queues[name], [b"again"] * repeated + batch, sequence=first)
        assert op.repeated == repeated
        self.came(name, op, batch)

    def produce_fan_out(self, a: Number, b: Number, c: Number) -> None:
        client, names, data = self.client(a), sorted({self.name(b), self.name(c)}), self.data()
        client.sent.append([(name, data) for name in names])
        self.fanned_out.add(data)
        queues = [self.queues[name] for name in names]
        op = client.handle.publish(queues, data, sequence=len(client.sent))
        assert op.repeated == 0
        self.came(names[0], op, [data])
        for name in names[1:]:
            self.held[name].append(data)

    def repeat(self, a: Number, b: Number, c: Number) -> None:
        client, queue = self.client(a), self.queues[self.name(b)]
        if client.sent:
            op = client.handle.enqueue(queue, b"again", sequence=max(1, len(client.sent) - c))
            assert op.repeated == 1
            self.ops.append(op)

    def skip_ahead(self, a: Number, b: Number, c: Number) -> None:
        client, queue = self.client(a), self.queues[self.name(b)]
        try:
            client.handle.enqueue(queue, b"too early", sequence=len(client.sent) + 2 + c)
        except SequenceGap:
            return
        raise AssertionError("a gap was accepted")

    def give_up(self, a: Number, b: Number, c: Number) -> None:
        client = self.client(a)
        client.sent.append([])
        op = client.handle.give_up(len(client.sent))
        assert op.repeated == 0
        self.ops.append(op)

    def commit(self, a: Number, b: Number, c: Number) -> None:
        """Publishes to two queues, and an accept."""
        client, names = self.client(a), [self.name(b), self.name(c)]
        client.sent.append([])
        transaction = client.handle.transaction(sequence=len(client.sent))
        for name in names:
            data = self.data()
            transaction.enqueue(self.queues[name], data)
            client.sent[-1].append((name, data))
        if accepted := bool(self.held[names[0]]):
            transaction.dequeue(self.queues[names[0]], self.ids(names[0])[0])
        op = transaction.commit()
        for name, data in client.sent[-1]:
            self.held[name].append(data)
        del self.held[names[0]][:accepted]
        self.ops.append(op)

    def accept(self, a: Number, b: Number, c: Number) -> None:
        name = self.name(a)
        if self.held[name]:
            at = b % len(self.held[name])
            self.ops.append(self.queues[name].dequeue(self.ids(name)[at]))
            self.accepted.append(self.held[name].pop(at))

    def accept_published(self, a: Number, b: Number, c: Number) -> None:
        """By the id that the publish of this turn was told; a message that was moved meanwhile is refused."""
        if not self.published:
            return
        name, ids, messages = self.published[a % len(self.published)]
        at = b % len(messages)
        if messages[at] in self.fanned_out:
            return  # The one that is held here may be another copy.
        try:
            self.ops.append(self.queues[name].dequeue(ids[at]))
        except MessagesGone:
            return  # It was moved away, and perhaps back: what is held has not changed.
        self.held[name] = [data for data in self.held[name] if data != messages[at]]
        self.accepted.append(messages[at])

    def update(self, a: Number, b: Number, c: Number) -> None:
        name = self.name(a)
        if self.held[name]:
            id = self.ids(name)[b % len(self.held[name])]
            self.ops.append(self.queues[name].update(id, b"%d" % c))

    def move(self, a: Number, b: Number, c: Number) -> None:
        source, target = self.name(a), self.name(b)
        if source != target:
            ids = self.ids(source)[c:]
            self.ops.append(self.queues[source].move(ids, self.queues[target]))
            self.held[target] += self.held[source][c:]
            del self.held[source][c:]

    def purge(self, a: Number, b: Number, c: Number) -> None:
        name = self.name(a)
        self.ops.append(self.queues[name].purge())
        self.held[name] = []

    def delete(self, a: Number, b: Number, c: Number) -> None:
        name, to = self.name(a), self.name(b)
        if to == name or c == 0:
            self.ops.append(self.room.delete(self.queues[name]))
        else:
            self.ops.append(self.room.delete(self.queues[name], to=self.queues[to]))
            self.held[to] += self.held[name]
        self.published = [each for each in self.published if each[0] != name]
        self.declare(name)

    def register(self, a: Number, b: Number, c: Number) -> None:
        client = self.client(a)
        self.former.append((client.handle, len(client.sent), self.generation))
        if c == 0:
            self.ops.append(client.handle.forget())
        client.handle, client.sent = self.room.producer(client.handle.name), []
        self.ops.append(client.handle.registered)

    def repeat_former(self, a: Number, b: Number, c: Number) -> None:
        """A client whose registration is over must never store anything."""
        if self.former:
            handle, sent, generation = self.former[a % len(self.former)]
            try:
                handle.enqueue(self.queues[self.name(b)], b"over", sequence=max(1, sent + c - 2))
            except UnknownProducer:
                assert generation == self.generation
                return
            except StaleHandle:
                assert generation < self.generation
                return
            raise AssertionError("an epoch that is over was accepted")

    def fail_over(self, a: Number, b: Number, c: Number) -> None:
        """This node steps down in the middle of a turn, and is promoted again: what was collected is dropped.

        So what was accepted may be there again.

        The clients of the producers go on from what they are told, and repeat what is not there, in order.
        """
        collected = {data for _, _, messages in self.published for data in messages}
        self.generation += 2
        self.room.follow(self.generation - 1)
        self.room.lead(generation=self.generation)
        for name in NAMES:
            before = self.held[name]
            self.declare(name)
            self.held[name] = [data for _, data, _ in self.queues[name].messages()]
            missing = [data for data in before if data not in self.held[name]]
            back = [data for data in self.held[name] if data not in before]
            assert [data for data in self.held[name] if data in before] == [
                d for d in before if d not in missing
            ]
            assert collected.issuperset(missing) and set(self.accepted).issuperset(back)
        self.ops, self.published, self.accepted = [], [], []
        held = {data for messages in self.held.values() for data in messages}
        for client in self.clients.values():
            sent, handle = client.sent, client.handle
            client.handle = self.room.producer(handle.name, epoch=handle.epoch)
            client.sent = sent[: client.handle.last]
            for lost in sent[client.handle.last :]:
                ((name, data),) = lost  # Publishes to several queues, and commits, are not collected.
                assert data not in held
                self.produce_once(client, name, data)

    def produce_once(self, client: Client, name: str, data: bytes) -> None:
        client.sent.append([(name, data)])
        op = client.handle.enqueue(self.queues[name], data, sequence=len(client.sent))
        assert op.repeated == 0
        self.came(name, op, [data])

    def turn(self, a: Number = 0, b: Number = 0, c: Number = 0) -> None:
        self.room.turn()
        for name, queue in self.queues.items():
            content = {id: data for id, data, _ in queue.messages()}
            assert [data for _, data, _ in queue.messages()] == self.held[name], name
            for published, ids, messages in self.published:
                for id, data in zip(ids, messages, strict=True):
                    assert published != name or content.get(id, data) == data
        for client in self.clients.values():
            assert client.handle.last == len(client.sent)
        assert all(op.safe for op in self.ops)
        assert self.room.seat.engine.errors == []
        self.room.seat.core.check()
        self.ops, self.published, self.accepted = [], [], []


CALLS: list[Callable[..., None]] = [
    Turns.publish,
    Turns.publish_many,
    Turns.fan_out,
    Turns.produce,
    Turns.produce,
    Turns.produce_many,
    Turns.produce_fan_out,
    Turns.repeat,
    Turns.skip_ahead,
    Turns.give_up,
    Turns.commit,
    Turns.accept,
    Turns.accept_published,
    Turns.update,
    Turns.move,
    Turns.purge,
    Turns.delete,
    Turns.register,
    Turns.repeat_former,
    Turns.fail_over,
    Turns.turn,
]
NUMBER = st.integers(0, 3)
CALL = st.tuples(st.sampled_from(CALLS), NUMBER, NUMBER, NUMBER)


@settings(max_examples=60, deadline=None)
@given(st.lists(CALL, max_size=30))
def test_a_turn_does_what_its_calls_say_in_their_order(
    calls: list[tuple[Callable[..., None], int, int, int]],
) -> None:
    async def main() -> None:
        turns = Turns()
        for call, a, b, c in calls:
            call(turns, a, b, c)
        turns.turn()

    run(main())
