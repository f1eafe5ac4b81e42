"""`DeliveryQueue` on a node of one, against a model of lists: whatever consumers, clients and the clock do.

After each step: no message is with two consumers, what is held is what the model holds, and all invariants of the
queue and its index hold. Deliveries come in the order of levels and places, and a group has one consumer at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qpidha import Batch, MessagesGone, Node, Op, SequenceSet
from qpidha.core.indexed import IndexedQueue
from qpidha.errors import QueueFull
from qpidha.queues import (
    MSGPACK,
    Consumer,
    DeliveryQueue,
    MessageIndex,
    Overflow,
    QueueArguments,
    queue_types,
)
from qpidha.records import MemoryRecordStore
from qpidha.stores import MemoryStore
from qpidha.transports import MemoryNetwork, MemoryTransport
from tests.support.harness import Recorder

KINDS = {"fifo": 1, "priority": 3, "ring": 1, "last-value": 1}
"""Kinds of queues, and how many levels they have here."""
LIMIT = 6
DELIVERIES = 2


@dataclass(frozen=True)
class Message:
    """What the model knows of one message."""

    place: int
    id: int
    data: bytes
    priority: int = 0
    key: bytes | None = None
    group: bytes | None = None
    expires_at: float | None = None
    deliveries: int = 0

    def props(self) -> bytes:
        return MSGPACK.pack(
            priority=self.priority,
            key=self.key,
            group=self.group,
            expires_at=self.expires_at,
            deliveries=self.deliveries,
        )


MESSAGES = st.builds(
    Message,
    place=st.just(0),
    id=st.just(0),
    data=st.integers(0, 9).map(bytes),
    priority=st.integers(-1, 4),
    key=st.sampled_from([None, b"j", b"k"]),
    group=st.sampled_from([None, b"g", b"h"]),
    expires_at=st.sampled_from([None, None, 1003.0, 1010.0]),
)
CONSUMER = st.integers(0, 2)
SOME = st.sets(st.integers(0, 5), min_size=1)
"""Which of the messages of a consumer, by their order."""


class Deliveries(RuleBasedStateMachine):
    """A queue with three consumers and the queue of its dead letters."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 1000.0
        self.held: dict[int, Message] = {}
        """By place."""
        self.dead: list[bytes] = []
        self.has: list[dict[int, int]] = [{}, {}, {}]
        """What each consumer has: the id with which it was delivered, by place."""
        self.next = 1

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def call(self, function: Any, *arguments: Any) -> Any:
        """Call a method of the node from its loop, and let its turn end."""

        async def main() -> Any:
            result = function(*arguments)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return result

        return self.do(main())

    @initialize(
        kind=st.sampled_from(sorted(KINDS)),
        groups=st.booleans(),
        limited=st.booleans(),
        overflow=st.sampled_from(list(Overflow)),
        fair_share=st.sampled_from([None, 1, 2]),
    )
    def start(
        self, kind: str, groups: bool, limited: bool, overflow: Overflow, fair_share: int | None
    ) -> None:
        self.kind, self.groups, self.fair = kind, groups, fair_share is not None
        limited = limited or kind == "ring"
        arguments = QueueArguments(
            groups=groups,
            messages_max=LIMIT if limited else None,
            overflow=overflow if limited else Overflow.REFUSE,
            fair_share=fair_share,
            dead_letters="dead",
            delivery_limit=DELIVERIES,
        )

        async def main() -> None:
            self.node = node = Node(
                "a",
                broker=Recorder(),
                store=MemoryStore(),
                transport=MemoryTransport(MemoryNetwork()),
                records=MemoryRecordStore(),
                listen=("a", 1),
                queue_types=queue_types(levels=3, fifo=True),
            )
            await node.start()
            await node.promote()
            await node.wait_serving()
            self.handle = node.declare("q", kind=kind, arguments=arguments.encode())
            self.graveyard = node.declare("dead")
            self.other = node.declare("other")
            self.deliver()

        self.do(main())

    def deliver(self) -> None:
        self.queue: DeliveryQueue[Op] = DeliveryQueue(self.node, self.handle, clock=lambda: self.now)
        self.overflow = self.queue.arguments.overflow
        self.limit = self.queue.arguments.messages_max
        self.consumers: list[Consumer[Op]] = [self.queue.consumer() for _ in self.has]

    def teardown(self) -> None:
        if hasattr(self, "node"):
            self.do(self.node.stop())
        self.loop.close()

    # --- the model -------------------------------------------------------------------------------

    def level(self, message: Message) -> int:
        return min(max(message.priority, 0), KINDS[self.kind] - 1)

    def in_order(self) -> list[Message]:
        return sorted(self.held.values(), key=lambda each: (-self.level(each), each.place))

    def taken(self) -> set[int]:
        return {place for has in self.has for place in has}

    def came(self, message: Message) -> None:
        self.held[self.next] = replace(message, place=self.next, id=self.next)
        self.next += 1

    def bury(self, places: set[int]) -> None:
        self.dead += [self.held.pop(place).data for place in sorted(places)]

    def waiting(self) -> set[int]:
        """Places that wait for the owner of their group: of a kind that the model does not follow."""
        return set(self.queue._dispatch.taken) - self.taken()

    def drop_superseded(self) -> None:
        if self.kind == "last-value":
            newest = {each.key: each.place for each in sorted(self.held.values(), key=lambda m: m.place)}
            for each in list(self.held.values()):
                superseded = each.key is not None and newest[each.key] != each.place
                if superseded and each.place not in self.taken() | self.waiting():
                    del self.held[each.place]

    # --- publishing ------------------------------------------------------------------------------

    @rule(messages=st.lists(MESSAGES, min_size=1, max_size=4), batch=st.booleans())
    def publish(self, messages: list[Message], batch: bool) -> None:
        if not batch or self.kind == "last-value":
            for message in messages:
                self.publish_one([message])
        else:
            self.publish_one(messages)

    def publish_one(self, messages: list[Message]) -> None:
        taken, waiting = self.taken(), self.waiting()
        replaced = set[int]()
        if self.kind == "last-value" and messages[0].key is not None:
            same = {each.place for each in self.held.values() if each.key == messages[0].key}
            replaced = same - taken - waiting
        surplus = 0
        if self.limit is not None:
            surplus = max(0, len(self.held) - len(replaced) + len(messages) - self.limit)
        batch = Batch.pack([each.data for each in messages], [each.props() for each in messages])
        try:
            if len(messages) == 1:
                op = self.call(self.queue.publish, messages[0].data, messages[0].props())
            else:
                op = self.call(self.queue.publish_many, batch)
        except QueueFull:
            assert surplus and self.overflow is Overflow.REFUSE
            return
        assert not surplus or self.overflow is not Overflow.REFUSE
        assert list(op.ids) == list(range(self.next, self.next + len(messages)))
        order = sorted(
            (place for place in self.held if place not in replaced),
            key=lambda place: (place in taken | waiting, self.level(self.held[place]), place),
        )
        for place in replaced:
            del self.held[place]
        driven = set(order[:surplus])
        if self.overflow is Overflow.DEAD_LETTER:
            self.bury(driven)
        for place in driven & self.held.keys():
            del self.held[place]
        for message in messages:
            self.came(message)

    @rule(message=MESSAGES)
    def move_in(self, message: Message) -> None:
        """As the dead letters of another queue come: they are not refused."""

        def move() -> None:
            ids = self.other.enqueue(message.data, message.props()).ids
            self.other.move(ids, self.handle)

        self.call(move)
        self.came(message)
        self.drop_superseded()
        if self.overflow is Overflow.DROP_OLDEST and self.limit is not None:
            given = self.taken() | self.waiting()
            order = sorted(self.held, key=lambda place: (place in given, self.level(self.held[place]), place))
            for place in order[: max(0, len(order) - self.limit)]:
                del self.held[place]

    # --- consuming -------------------------------------------------------------------------------

    @rule(who=CONSUMER, messages_max=st.sampled_from([1, 2, 100]))
    def acquire(self, who: int, messages_max: int) -> None:
        self.expired()
        taken = self.call(self.consumers[who].acquire, messages_max)
        if taken is None:
            free = [each for each in self.in_order() if each.place not in self.taken()]
            owners = self.owners()
            for each in free:  # All of them wait for another consumer.
                assert self.groups and each.group is not None and owners.get(each.group, who) != who
            return
        ids, batch = taken
        assert len(ids) == len(batch) <= messages_max
        by_id = {each.id: each for each in self.held.values()}
        got = [by_id[id] for id in ids]
        assert [each.data for each in got] == list(batch)
        assert [each.props() for each in got] == [batch.props(n) for n in range(len(batch))]
        self.check_order(who, got)
        for each in got:
            assert each.place not in self.taken(), "a message is with two consumers"
            self.has[who][each.place] = each.id

    def owners(self) -> dict[bytes, int]:
        """Whose group is whose, as the index reads the props of what consumers have."""
        groups = self.queue._dispatch._groups
        owners = {} if groups is None else groups._owners
        numbers = {id(consumer._subscription): n for n, consumer in enumerate(self.consumers)}
        return {group: numbers[id(owner)] for group, owner in owners.items()}

    def check_order(self, who: int, got: list[Message]) -> None:
        owners = self.owners() if self.groups else {}
        free = [
            each
            for each in self.in_order()
            if each.place not in self.taken() and (each.group is None or owners.get(each.group, who) == who)
        ]
        if self.fair:
            level = self.level(got[0])
            free = [each for each in free if self.level(each) == level]
        if self.groups and got[0].group is not None:
            assert owners[got[0].group] == who, "a group has two consumers"
        if free[0] != got[0]:
            raise AssertionError(f"{got[0]} was delivered before {free[0]}")
        assert [each.place for each in got] == sorted(each.place for each in got)
        assert got == free[: len(got)]

    def some(self, who: int, which: set[int]) -> set[int]:
        """The places of some messages of a consumer."""
        return {place for n, place in enumerate(sorted(self.has[who])) if n in which}

    def ids(self, who: int, places: set[int]) -> SequenceSet:
        return SequenceSet([self.has[who][place] for place in places])

    def gone(self, who: int, places: set[int]) -> None:
        for place in places:
            self.has[who].pop(place, None)

    @rule(who=CONSUMER, which=SOME)
    def accept(self, who: int, which: set[int]) -> None:
        places = self.some(who, which)
        try:
            self.call(self.consumers[who].accept, self.ids(who, places))
        except MessagesGone:
            places = {place for place in places if place not in self.held}
            assert places
            self.gone(who, places)
            return
        for place in places & self.held.keys():
            del self.held[place]
        self.gone(who, places)
        self.drop_superseded()

    @rule(who=CONSUMER, other=CONSUMER)
    def accept_what_it_does_not_have(self, who: int, other: int) -> None:
        """It is ignored: also when another consumer has it, or none."""
        ids = [each.id for each in self.held.values() if each.place not in self.has[who]]
        self.call(self.consumers[who].accept, SequenceSet(ids))

    @rule(who=CONSUMER, which=SOME)
    def release(self, who: int, which: set[int]) -> None:
        places = self.some(who, which)
        self.call(self.consumers[who].release, self.ids(who, places))
        self.gone(who, places)
        self.drop_superseded()

    @rule(who=CONSUMER, which=SOME)
    def fail(self, who: int, which: set[int]) -> None:
        places = self.some(who, which)
        self.call(self.consumers[who].fail, self.ids(who, places))
        self.gone(who, places)
        there = sorted(places & self.held.keys(), key=lambda place: self.held[place].id)
        dead = {place for place in there if self.held[place].deliveries + 1 >= DELIVERIES}
        for place in there:
            if place in dead:
                continue
            message = self.held[place]
            self.held[place] = replace(message, id=self.next, deliveries=message.deliveries + 1)
            self.next += 1
        self.bury(dead)
        self.drop_superseded()

    @rule(who=CONSUMER, which=SOME)
    def reject(self, who: int, which: set[int]) -> None:
        places = self.some(who, which)
        self.call(self.consumers[who].reject, self.ids(who, places))
        self.gone(who, places)
        self.bury(places & self.held.keys())
        self.drop_superseded()

    @rule(who=CONSUMER)
    def close(self, who: int) -> None:
        self.call(self.consumers[who].close)
        self.has[who].clear()
        self.drop_superseded()
        self.consumers[who] = self.call(self.queue.consumer)

    # --- what others do --------------------------------------------------------------------------

    @precondition(lambda self: self.held)
    @rule(data=st.data(), priority=st.integers(0, 3))
    def update(self, data: st.DataObject, priority: int) -> None:
        """By the handle: a client changes a priority, and keeps the rest."""
        message = self.held[data.draw(st.sampled_from(sorted(self.held)))]
        changed = replace(message, priority=priority)
        self.call(self.handle.update, [message.id], [changed.props()])
        self.held[message.place] = replace(changed, id=self.next)
        self.next += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def move_out(self, data: st.DataObject) -> None:
        message = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
        self.call(self.handle.move, [message.id], self.other)

    @rule()
    def purge(self) -> None:
        self.call(self.handle.purge)
        self.held.clear()

    @rule(seconds=st.sampled_from([1, 5]))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        self.expired()
        self.call(self.queue.expire)

    def expired(self) -> None:
        given = self.taken() | self.waiting()
        due = {each.place for each in self.held.values() if each.expires_at and each.expires_at <= self.now}
        self.bury(due - given)

    @rule()
    def begin_a_new_term(self) -> None:
        async def main() -> None:
            await self.node.demote()
            for consumer in self.consumers:
                consumer.close()
            await self.node.promote()
            await self.node.wait_serving()
            self.handle, self.graveyard = self.node.queue("q"), self.node.queue("dead")
            self.other = self.node.queue("other")
            for has in self.has:
                has.clear()
            self.deliver()

        self.do(main())
        self.drop_superseded()

    # --- always ----------------------------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "queue"):
            return
        content = self.handle._queue
        assert isinstance(content, IndexedQueue) and isinstance(content.index, MessageIndex)
        content.check()
        browsed = self.call(lambda: list(self.queue.browse()))
        expected = [(each.id, each.data, each.props()) for each in self.in_order()]
        assert browsed == expected
        assert self.queue.depth == len(content.index) == len(expected)
        assert self.queue.nbytes == content.index.nbytes == sum(len(data) for _, data, _ in expected)
        assert [consumer.acquired for consumer in self.consumers] == [len(has) for has in self.has]
        assert self.queue.acquired == len(self.taken() | self.waiting())
        assert [data for _, data in self.call(lambda: list(self.graveyard))] == self.dead
        places = [place for consumer in self.consumers for place in consumer._subscription.places]
        assert len(set(places)) == len(places), "a message is with two consumers"
        groups = self.queue._dispatch._groups
        if groups is not None:
            assert set(groups._owners) == set(groups._held) >= set(groups._waiting)
            assert {group for names in groups._waiting_for.values() for group in names} == set(
                groups._waiting
            )


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
