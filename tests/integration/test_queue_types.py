"""Queue types on running nodes: the order of delivery, limits, dead letters, consumers, and what a failover leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from qpidha import (
    ArgumentError,
    Batch,
    Level,
    MessagesGone,
    Node,
    Op,
    QueueMismatch,
    SequenceSet,
    Settle,
    UnknownQueue,
)
from qpidha.core.indexed import IndexedQueue
from qpidha.errors import ConsumerRefused, LocalProtocolError, QueueFull
from qpidha.queues import (
    MSGPACK,
    Consumer,
    DeliveryQueue,
    MessageIndex,
    Overflow,
    QueueArguments,
    queue_types,
)
from tests.support.harness import World, run, until

Alone = Callable[[Node], Awaitable[None]]
NOW = 1000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def alone(main: Alone) -> None:
    """Run this with one node, which is primary, and whose queues of every kind have an index."""

    async def with_node(world: World) -> None:
        await main(await started(world, "a"))

    run(with_node)


async def started(world: World, name: str) -> Node:
    node = await world.start(name, queue_types=queue_types(fifo=True))
    if name == "a":
        await node.promote()
        await node.wait_serving()
    return node


def declared(
    node: Node,
    kind: str = "fifo",
    name: str = "q",
    clock: Callable[[], float] | None = None,
    **arguments: object,
) -> DeliveryQueue[Op]:
    """A queue of this kind with these arguments."""
    encoded = QueueArguments(**arguments).encode()  # type: ignore[arg-type]
    queue = node.declare(name, kind=kind, arguments=encoded)
    return DeliveryQueue(node, queue, clock=clock or Clock())


def put(queue: DeliveryQueue[Op], *texts: str, **traits: object) -> None:
    for text in texts:
        queue.publish(text.encode(), MSGPACK.pack(**traits))  # type: ignore[arg-type]


def got(consumer: Consumer[Op], messages_max: int = 1000) -> list[str]:
    """Everything that the consumer can have, one acquisition after the other."""
    texts = list[str]()
    while (taken := consumer.acquire(messages_max)) is not None:
        texts += [data.decode() for data in taken[1]]
    return texts


def one(consumer: Consumer[Op]) -> tuple[SequenceSet, str]:
    """The next message."""
    taken = consumer.acquire(1)
    assert taken is not None
    ids, batch = taken
    return ids, batch.data(0).decode()


def made(op: Op | None) -> Op:
    assert op is not None
    return op


def operations(node: Node) -> int:
    """How many operations this primary has made."""
    assert node._runtime.replica.primary
    return node._runtime.replica.primary.position


def held(queue: DeliveryQueue[Op]) -> list[str]:
    """What the queue holds, in the order of delivery."""
    return [data.decode() for _, data, _ in queue.browse()]


# --- order of delivery ---------------------------------------------------------------------------


def test_the_highest_priority_is_delivered_first() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "priority")
        for text, priority in (("a", 1), ("b", 9), ("c", 1), ("d", 4)):
            put(queue, text, priority=priority)
        assert held(queue) == ["b", "d", "a", "c"]
        assert got(queue.consumer()) == ["b", "d", "a", "c"]

    alone(main)


def test_an_update_that_changes_the_priority_changes_the_order() -> None:
    """Also when messages behind it were delivered with its new priority. One that a consumer has stays there."""

    async def main(node: Node) -> None:
        queue = declared(node, "priority")
        put(queue, "a", "b", "c")
        put(queue, "high", priority=9)
        consumer = queue.consumer()
        assert [one(consumer)[1] for _ in range(2)] == ["high", "a"]
        for id in (1, 3):
            await queue.queue.update(id, MSGPACK.pack(priority=9))  # type: ignore[attr-defined]
        assert held(queue) == ["a", "c", "high", "b"]
        assert got(consumer) == ["c", "b"]

    alone(main)


def test_a_fair_share_lets_low_priorities_through() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "priority", fair_share=2)
        put(queue, "a", "b", "c", "d", priority=9)
        put(queue, "x", "y")
        assert got(queue.consumer()) == ["a", "b", "x", "y", "c", "d"]

    alone(main)


def test_a_released_message_comes_back_at_its_place() -> None:
    async def main(node: Node) -> None:
        queue = declared(node)
        put(queue, "a", "b", "c")
        first, second = queue.consumer(), queue.consumer()
        ids, text = one(first)
        assert (text, one(second)[1], queue.acquired) == ("a", "b", 2)
        first.release(ids)
        assert got(second) == ["a", "c"]
        assert not queue.available

    alone(main)


def test_a_limit_in_bytes_is_kept_but_for_the_first_message() -> None:
    async def main(node: Node) -> None:
        queue = declared(node)
        put(queue, "aaa", "bbb", "ccc")
        consumer = queue.consumer()
        for expected in (["aaa", "bbb"], ["ccc"]):
            taken = consumer.acquire(bytes_max=6)
            assert taken is not None and [data.decode() for data in taken[1]] == expected
        consumer.close()
        taken = queue.consumer().acquire(bytes_max=1)
        assert taken is not None and list(taken[1]) == [b"aaa"]

    alone(main)


# --- delivery count and dead letters -------------------------------------------------------------


def test_failed_deliveries_are_counted_and_the_limit_leads_to_dead_letters() -> None:
    async def main(node: Node) -> None:
        dead = declared(node, name="dead")
        queue = declared(node, "priority", delivery_limit=2, dead_letters="dead")
        put(queue, "a", "b", priority=3)
        consumer = queue.consumer()
        ids, _ = one(consumer)
        await made(consumer.fail(ids))
        again, text = one(consumer)
        assert (text, again == ids) == ("a", False)
        (_, _, props), _ = list(queue.browse())
        assert MSGPACK.read(props).deliveries == 1
        await made(consumer.fail(ids))  # By the id of its first delivery.
        assert (held(queue), held(dead)) == (["b"], ["a"])
        assert one(consumer)[1] == "b"

    alone(main)


def test_a_rejected_message_is_a_dead_letter_or_gone() -> None:
    async def main(node: Node) -> None:
        dead = declared(node, name="dead")
        for name, dead_letters in (("q", "dead"), ("r", None)):
            queue = declared(node, name=name, dead_letters=dead_letters)
            put(queue, name)
            consumer = queue.consumer()
            ids, _ = one(consumer)
            await made(consumer.reject(ids))
            assert (held(queue), consumer.acquired) == ([], 0)
            assert consumer.reject(ids) is None and consumer.fail(ids) is None
        assert held(dead) == ["q"]

    alone(main)


def test_without_the_queue_for_dead_letters_nothing_changes() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, dead_letters="nowhere", delivery_limit=1)
        put(queue, "a")
        consumer = queue.consumer()
        ids, _ = one(consumer)
        for refused in (consumer.reject, consumer.fail):
            with pytest.raises(UnknownQueue):
                refused(ids)
        assert consumer.acquired == 1
        await consumer.accept(ids)
        assert held(queue) == []

    alone(main)


def test_an_accept_of_a_message_that_was_moved_away_is_refused() -> None:
    async def main(node: Node) -> None:
        queue, other = declared(node), node.declare("other")
        put(queue, "a", "b")
        consumer = queue.consumer()
        (ids, _), (others, _) = one(consumer), one(consumer)
        queue.queue.move(ids, other)  # type: ignore[attr-defined]
        with pytest.raises(MessagesGone):
            consumer.accept(ids | others)
        assert consumer.acquired == 1
        await consumer.accept(others)

    alone(main)


# --- limits --------------------------------------------------------------------------------------


def test_a_full_queue_refuses_a_publish() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, messages_max=2, bytes_max=10)
        put(queue, "a", "b")
        with pytest.raises(QueueFull, match="2 messages") as full:
            put(queue, "c")
        assert full.value.queue == "q"
        await queue.queue.dequeue(SequenceSet([1]))
        with pytest.raises(QueueFull):
            put(queue, "x" * 10)
        put(queue, "x" * 9)
        assert held(queue) == ["b", "x" * 9]

    alone(main)


def test_a_ring_drops_its_oldest_message_in_the_operation_of_the_publish() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "ring", messages_max=3)
        put(queue, "a", "b", "c")
        queue.queue.flush()
        before = operations(node)
        op = queue.publish(b"d")
        assert (list(op.ids), operations(node) - before) == ([4], 1)
        await op
        assert held(queue) == ["b", "c", "d"]
        op = queue.publish_many(Batch.pack([b"e", b"f"]))
        assert list(op.ids) == [5, 6]
        assert held(queue) == ["d", "e", "f"]
        with pytest.raises(QueueFull):
            queue.publish_many(Batch.pack([b"1", b"2", b"3", b"4"]))

    alone(main)


def test_a_batch_that_fits_is_one_publish_and_counts_once_it_is_here() -> None:
    async def main(node: Node) -> None:
        for queue in (declared(node), declared(node, name="limited", messages_max=5)):
            op = queue.publish_many(Batch.pack([b"a", b"bc"]))
            assert list(op.ids) == [1, 2]
            assert not queue.depth, "published in this turn"
            await op
            assert (queue.depth, queue.nbytes) == (2, 3)

    alone(main)


def test_a_ring_in_bytes() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "ring", bytes_max=10)
        put(queue, "aaaa", "bbbb", "cc", "ddd")
        assert (held(queue), queue.nbytes) == (["bbbb", "cc", "ddd"], 9)

    alone(main)


def test_what_consumers_have_is_driven_out_last_and_low_priorities_first() -> None:
    async def main(node: Node) -> None:
        arguments = {"messages_max": 3, "overflow": Overflow.DROP_OLDEST}
        queue = declared(node, "priority", **arguments)
        put(queue, "high", priority=5)
        put(queue, "low")
        put(queue, "also low")
        consumer = queue.consumer()
        assert one(consumer)[1] == "high"
        put(queue, "new", priority=1)
        assert held(queue) == ["high", "new", "also low"]
        assert got(consumer) == ["new", "also low"]
        put(queue, "last")
        assert held(queue) == ["high", "new", "last"]

    alone(main)


def test_an_overflow_can_lead_to_dead_letters() -> None:
    async def main(node: Node) -> None:
        dead = declared(node, name="dead")
        queue = declared(node, messages_max=1, overflow=Overflow.DEAD_LETTER, dead_letters="dead")
        put(queue, "a")
        queue.queue.flush()
        before = operations(node)
        put(queue, "b")
        assert operations(node) - before == 1
        assert (held(queue), held(dead)) == (["b"], ["a"])

    alone(main)


def test_a_ring_needs_a_limit_and_a_delivery_needs_an_index() -> None:
    async def main(node: Node) -> None:
        with pytest.raises(ArgumentError, match="messages_max"):
            declared(node, "ring")
        with pytest.raises(ArgumentError, match="queue_types"):
            declared(node, "mine", name="r")
        node.declare("s", arguments=b"\xc1")
        with pytest.raises(ArgumentError, match="QueueArguments"):
            DeliveryQueue(node, node.queue("s"))

    alone(main)


# --- last values ---------------------------------------------------------------------------------


def test_a_new_value_replaces_the_old_one() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "last-value")
        for text, key in (("a1", b"a"), ("b1", b"b"), ("a2", b"a")):
            put(queue, text, key=key)
        put(queue, "no key")
        assert held(queue) == ["b1", "a2", "no key"]
        batch = [MSGPACK.pack(key=b"a"), MSGPACK.pack(key=b"c")]
        queue.publish_many(Batch.pack([b"a3", b"c1"], batch))
        assert held(queue) == ["b1", "no key", "a3", "c1"]
        with pytest.raises(ArgumentError, match="one key"):
            queue.publish_many(Batch.pack([b"a", b"a"], [MSGPACK.pack(key=b"a")] * 2))

    alone(main)


def test_a_value_stays_with_its_consumer_and_is_dropped_when_it_is_given_back() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "last-value")
        put(queue, "a1", "a2", key=b"a")
        consumer = queue.consumer()
        ids, text = one(consumer)
        assert text == "a2"
        put(queue, "a3", key=b"a")
        assert held(queue) == ["a2", "a3"]
        consumer.release(ids)
        assert held(queue) == ["a3"]
        assert got(consumer) == ["a3"]

    alone(main)


def test_values_that_are_moved_in_replace_older_ones_too() -> None:
    async def main(node: Node) -> None:
        queue, other = declared(node, "last-value"), node.declare("other")
        put(queue, "a1", key=b"a")
        op = other.enqueue(b"a2", MSGPACK.pack(key=b"a"))
        other.move(op.ids, queue.queue)  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        assert held(queue) == ["a2"]

    alone(main)


# --- expiry --------------------------------------------------------------------------------------


def test_an_expired_message_is_not_delivered() -> None:
    async def main(node: Node) -> None:
        clock = Clock()
        dead = declared(node, name="dead", clock=clock, expires=False)
        queue = declared(node, clock=clock, dead_letters="dead")
        put(queue, "soon", expires_at=NOW + 1)
        put(queue, "later", expires_at=NOW + 100)
        put(queue, "never")
        assert queue.expire() is None
        clock.now += 2
        assert got(queue.consumer()) == ["later", "never"]
        assert dead.expire() is None
        assert got(dead.consumer()) == ["soon"]

    alone(main)


def test_nothing_expires_while_consumers_have_all_that_is_due() -> None:
    async def main(node: Node) -> None:
        clock = Clock()
        queue = declared(node, clock=clock)
        put(queue, "a", expires_at=NOW + 1)
        consumer = queue.consumer()
        ids, _ = one(consumer)
        clock.now += 5
        assert queue.expire() is None
        await consumer.accept(ids)
        assert queue.expire() is None

    alone(main)


def test_what_a_consumer_has_expires_when_it_is_given_back() -> None:
    async def main(node: Node) -> None:
        clock = Clock()
        queue = declared(node, clock=clock)
        put(queue, "a", "b", expires_at=NOW + 1)
        consumer = queue.consumer()
        ids, _ = one(consumer)
        clock.now += 5
        await made(queue.expire())
        assert held(queue) == ["a"]
        assert queue.expire() is None
        consumer.release(ids)
        assert got(consumer) == []
        assert held(queue) == []

    alone(main)


def test_what_could_not_be_dropped_is_looked_at_again() -> None:
    async def main(node: Node) -> None:
        clock = Clock()
        queue = declared(node, clock=clock, dead_letters="dead")
        put(queue, "a", expires_at=NOW + 1)
        queue.queue.flush()
        clock.now += 5
        with pytest.raises(UnknownQueue):
            queue.expire()
        dead = declared(node, name="dead")
        await made(queue.expire())
        assert held(dead) == ["a"]

    alone(main)


def test_an_expiry_completes_no_pending_publish() -> None:
    """Also with settle immediate: the publisher was not told OK, and is not told so because its message has expired."""

    async def main(world: World) -> None:
        first, second = [await started(world, name) for name in ("a", "b")]
        await second.wait_in_sync()
        clock = Clock()
        handle = first.declare("q", settle=Settle.IMMEDIATE)
        await handle.declared
        queue = DeliveryQueue(first, handle, clock=clock)
        world.gates["b"].mute = True
        op = queue.publish(b"a", MSGPACK.pack(expires_at=NOW + 1))
        clock.now += 5
        expired = made(queue.expire())
        await asyncio.sleep(0.01)
        assert held(queue) == []
        assert not op.done and not expired.done

    run(main)


# --- consumers -----------------------------------------------------------------------------------


def test_an_exclusive_consumer_is_alone() -> None:
    async def main(node: Node) -> None:
        queue = declared(node)
        first = queue.consumer(exclusive=True)
        for exclusive in (True, False):
            with pytest.raises(ConsumerRefused):
                queue.consumer(exclusive=exclusive)
        first.close()
        second = queue.consumer()
        with pytest.raises(ConsumerRefused):
            queue.consumer(exclusive=True)
        second.close()
        second.close()
        with pytest.raises(LocalProtocolError, match="closed"):
            second.acquire()

    alone(main)


def test_a_consumer_of_a_lower_priority_waits_while_a_higher_one_is_ready() -> None:
    async def main(node: Node) -> None:
        queue, called = declared(node), list[str]()
        high = queue.consumer(priority=5, on_available=lambda: called.append("high"))
        low = queue.consumer(on_available=lambda: called.append("low"))
        assert (high.priority, high.ready) == (5, True)
        put(queue, "a", "b")
        await asyncio.sleep(0.01)
        assert called == ["high"]
        assert low.acquire() is None
        high.ready = False
        await asyncio.sleep(0.01)
        assert called == ["high", "low"]
        assert one(low)[1] == "a"
        high.ready = True
        assert low.acquire() is None
        assert one(high)[1] == "b"

    alone(main)


def test_consumers_of_one_priority_take_turns_to_be_told_first() -> None:
    async def main(node: Node) -> None:
        queue, called = declared(node), list[str]()
        for name in "ab":
            queue.consumer(on_available=lambda name=name: called.append(name))  # type: ignore[misc]
        for _ in range(2):
            put(queue, "m")
            await asyncio.sleep(0.01)
        assert sorted(called[:2]) == sorted(called[2:]) == ["a", "b"]

    alone(main)


def test_what_a_consumer_has_is_delivered_again_when_it_ends() -> None:
    async def main(node: Node) -> None:
        queue, told = declared(node), list[int]()
        put(queue, "a", "b")
        await asyncio.sleep(0.01)
        first = queue.consumer()
        assert got(first) == ["a", "b"]
        second = queue.consumer(on_available=lambda: told.append(1))
        assert second.acquire() is None
        first.close()
        await asyncio.sleep(0.01)
        assert told and got(second) == ["a", "b"]

    alone(main)


def test_a_consumer_may_close_itself_when_it_is_told() -> None:
    async def main(node: Node) -> None:
        queue, called = declared(node), list[str]()
        leaving = queue.consumer(on_available=lambda: (called.append("leaving"), leaving.close()))
        queue.consumer(on_available=lambda: called.append("other"))
        put(queue, "m")
        await asyncio.sleep(0.01)
        assert (called[0], called.count("leaving")) == ("leaving", 1) and "other" in called

    alone(main)


# --- groups --------------------------------------------------------------------------------------


def test_a_group_goes_to_one_consumer_at_a_time_in_order() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, groups=True)
        for text, group in (("a1", b"a"), ("b1", b"b"), ("a2", b"a"), ("x", None), ("a3", b"a")):
            put(queue, text, group=group)
        told = list[str]()
        first = queue.consumer(on_available=lambda: told.append("first"))
        second = queue.consumer()
        ids, text = one(first)
        assert (text, got(second, 2)) == ("a1", ["b1", "x"])
        told.clear()
        await asyncio.sleep(0.01)
        assert told  # There is more for the owner of the group.
        assert got(first) == ["a2", "a3"]
        first.release(SequenceSet([3]))  # a2
        assert got(second) == []
        first.accept(SequenceSet([5]) | ids)
        assert got(second) == ["a2"]

    alone(main)


def test_an_owner_is_told_once_of_all_that_waits_for_it() -> None:
    async def main(node: Node) -> None:
        queue, told = declared(node, groups=True), list[str]()
        put(queue, "a1", "a2", "a3", group=b"a")
        put(queue, "b1", "b2", group=b"b")
        owner = queue.consumer(on_available=lambda: told.append("owner"))
        silent, third = queue.consumer(), queue.consumer()
        assert one(owner)[1] == "a1"
        await asyncio.sleep(0.01)
        del told[:]
        assert one(silent)[1] == "b1"
        assert third.acquire() is None
        await asyncio.sleep(0.01)
        assert told == ["owner"]
        assert (got(silent), got(owner)) == (["b2"], ["a2", "a3"])

    alone(main)


# --- declarations and failover -------------------------------------------------------------------


def test_a_declaration_with_other_arguments_is_refused() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, messages_max=5)
        assert node.declare("q", arguments=QueueArguments(messages_max=5).encode()) is queue.queue
        assert QueueArguments.decode(node.queue("q").arguments).messages_max == 5
        with pytest.raises(QueueMismatch, match="arguments"):
            declared(node, messages_max=6)
        with node.transaction() as t:
            new = t.declare("new", kind="ring", arguments=b"mine")
        assert (new.queue.arguments, new.queue.spec.kind) == (b"mine", "ring")

    alone(main)


def test_an_index_is_the_same_on_a_backup_and_a_promotion_has_nothing_to_build() -> None:
    async def main(world: World) -> None:
        first, second = [await started(world, name) for name in ("a", "b")]
        await second.wait_in_sync()
        queue = declared(first, "priority")
        for n in range(20):
            put(queue, f"{n}", priority=n % 5)
        consumer = queue.consumer()
        ids, text = one(consumer)
        assert text == "4"
        consumer.fail(ids)
        await consumer.accept(one(consumer)[0])
        await first.barrier()
        await until(lambda: second.status().in_sync)
        expected = held(queue)
        assert indexes(first) == indexes(second)
        await world.kill("a")
        await second.promote()
        await second.wait_serving()
        again = DeliveryQueue(second, second.queue("q"), clock=Clock())
        assert held(again) == expected
        assert got(again.consumer()) == expected
        third = await world.start("a", queue_types=queue_types(fifo=True))
        await third.wait_in_sync()
        await until(lambda: indexes(second) == indexes(third))

    run(main)


def indexes(node: Node) -> list[object]:
    """The index of each queue of this node, checked against its content."""
    found = list[object]()
    for queue in node._runtime.replica.message_queues:
        queue.check()
        assert isinstance(queue, IndexedQueue) and isinstance(queue.index, MessageIndex)
        found.append((queue.spec.name, [list(level) for level in queue.index.levels], queue.index.nbytes))
    return found


# --- transactions, and queues of one node -----------------------------------------------------------


def test_a_transaction_keeps_the_limits_of_its_queues_in_one_operation() -> None:
    @alone
    async def main(node: Node) -> None:
        ring = declared(node, "ring", "ring", messages_max=2)
        state = declared(node, "last-value", "state")
        free = declared(node, name="free")
        put(ring, "1", "2")
        put(state, "off", key=b"lamp")
        await free.queue.declared
        before = operations(node)
        props = MSGPACK.pack(key=b"lamp")
        with node.transaction() as t:
            for queue in (ring, state, free):
                queue.make_room(t, [props], 2)
            t.publish([ring.queue, state.queue, free.queue], b"on", props)
        await t.op
        assert (held(ring), held(state), held(free)) == (["2", "on"], ["on"], ["on"])
        assert operations(node) == before + 1

        full = declared(node, name="full", messages_max=1)
        put(full, "here")
        with pytest.raises(QueueFull), node.transaction() as t:
            full.make_room(t, [b""], 1)


def test_a_queue_of_one_node_is_given_its_arguments_by_the_broker() -> None:
    @alone
    async def main(node: Node) -> None:
        queue = node.declare("local", kind="ring", replicate=Level.NONE)
        with pytest.raises(ArgumentError, match="QueueArguments"):
            DeliveryQueue(node, queue, arguments=b"")  # type: ignore[arg-type]
        ring = DeliveryQueue(node, queue, arguments=QueueArguments(messages_max=1))
        put(ring, "1", "2")
        assert held(ring) == ["2"]
