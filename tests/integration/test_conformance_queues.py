"""Lines of the conformance list in `docs/scenarios.md` about queue types.

H: checks from the high-availability tests of an older broker, applied to this library.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from qpidha import Level, Node, Op, SequenceSet
from qpidha.errors import ConsumerRefused, QueueFull
from qpidha.queues import DeliveryQueue, MessageIndex, Overflow, QueueArguments
from tests.integration.test_queue_types import declared, got, held, put, started
from tests.support.harness import World, run, until

Two = Callable[[World, Node, Node], Awaitable[None]]
PRIORITIES = [8, 9, 5, 1, 2, 2, 3, 4, 9, 7, 8, 9, 9, 2]


def two(main: Two) -> None:
    """Run this with a primary and a backup."""

    async def with_nodes(world: World) -> None:
        a, b = await started(world, "a"), await started(world, "b")
        await b.wait_in_sync()
        await main(world, a, b)

    run(with_nodes)


def shown(node: Node, name: str = "q") -> list[str]:
    """What a node has, in the order in which its index would have it delivered."""
    if name not in {queue.name for queue in node.queues}:
        return []
    queue = node.queue(name)
    index = queue.index
    assert isinstance(index, MessageIndex)
    data = {queue.places(SequenceSet([id])).first: text.decode() for id, text in queue}
    return [data[place] for level in reversed(index.levels) for place in level]


async def same(queue: DeliveryQueue[Op], backup: Node) -> None:
    """The backup gets what the primary has, in the same order."""
    expected = held(queue)
    await until(lambda: shown(backup, queue.queue.name) == expected)


async def promoted(world: World, node: Node, name: str = "q") -> DeliveryQueue[Op]:
    await world.kill("a")
    await node.promote()
    await node.wait_serving()
    return DeliveryQueue(node, node.queue(name))


def test_H12_a_last_value_queue_is_the_same_on_a_backup_after_each_replacement() -> None:
    async def main(world: World, a: Node, b: Node) -> None:
        queue = declared(a, "last-value")
        for n, key in enumerate("abcabac"):
            put(queue, f"{key}{n}", key=key.encode())
            await same(queue, b)
        assert held(queue) == ["b4", "a5", "c6"]
        assert held(await promoted(world, b)) == ["b4", "a5", "c6"]

    two(main)


def test_H13_a_ring_has_its_last_messages_on_a_backup() -> None:
    async def main(world: World, a: Node, b: Node) -> None:
        queue = declared(a, "ring", messages_max=5)
        for n in range(10):
            put(queue, str(n))
        await same(queue, b)
        assert shown(b) == list("56789")

    two(main)


def test_H14_refused_publishes_never_appear_and_the_first_ones_do() -> None:
    async def main(world: World, a: Node, b: Node) -> None:
        queue = declared(a, messages_max=5)
        for n in range(10):
            if n < 5:
                put(queue, str(n))
            else:
                with pytest.raises(QueueFull):
                    put(queue, str(n))
        await same(queue, b)
        assert held(await promoted(world, b)) == list("01234")

    two(main)


@pytest.mark.parametrize("fair_share", [None, 3])
def test_H15_H16_priorities_and_a_fair_share_have_the_same_order_on_a_backup(fair_share: int | None) -> None:
    async def main(world: World, a: Node, b: Node) -> None:
        queue = declared(a, "priority", fair_share=fair_share)
        for n, priority in enumerate(PRIORITIES):
            put(queue, f"{n}:{priority}", priority=priority)
        await same(queue, b)
        expected = got(queue.consumer(), 1)
        assert sorted(expected) == sorted(held(queue)) and (expected == held(queue)) == (fair_share is None)
        assert got((await promoted(world, b)).consumer(), 1) == expected

    two(main)


def test_H17_a_ring_of_priorities_keeps_the_same_messages_on_both_nodes() -> None:
    async def main(world: World, a: Node, b: Node) -> None:
        queue = declared(a, "priority", messages_max=5, overflow=Overflow.DROP_OLDEST)
        for n, priority in enumerate(PRIORITIES):
            put(queue, f"{n}:{priority}", priority=priority)
            await same(queue, b)
        assert held(await promoted(world, b)) == ["1:9", "8:9", "11:9", "12:9", "13:2"]

    two(main)


KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "plain": ("fifo", {}),
    "ring": ("ring", {"messages_max": 5}),
    "priority": ("priority", {}),
    "fair share": ("priority", {"fair_share": 2}),
    "last value": ("last-value", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_H18_messages_that_consumers_have_are_on_old_and_new_backups(kind: str) -> None:
    async def main(world: World, a: Node, b: Node) -> None:
        name, arguments = KINDS[kind]
        queue = declared(a, name, **arguments)
        for n in range(5):
            put(queue, str(n), priority=n % 3, key=b"%d" % n)
        assert len(got(queue.consumer())) == 5
        c = await started(world, "c")
        await c.wait_in_sync()
        for backup in (b, c):
            await same(queue, backup)
        assert len(got((await promoted(world, c)).consumer())) == 5

    two(main)


def test_H22_an_exclusive_consumer_does_not_keep_a_queue_from_being_replicated() -> None:
    async def main(world: World, a: Node, b: Node) -> None:
        queue = declared(a)
        consumer = queue.consumer(exclusive=True)
        with pytest.raises(ConsumerRefused):
            queue.consumer()
        put(queue, "1", "2")
        await same(queue, b)
        taken = consumer.acquire(1)
        assert taken is not None
        await consumer.accept(taken[0])
        await same(queue, b)
        assert got((await promoted(world, b)).consumer(exclusive=True)) == ["2"]

    two(main)


def test_H23_a_queue_of_one_connection_is_on_the_primary_only_and_replication_keeps_none_alive() -> None:
    """An exclusive queue that is deleted with its connection has level "none"; others are deleted on all nodes."""

    async def main(world: World, a: Node, b: Node) -> None:
        mine = a.declare("mine", replicate=Level.NONE)
        await mine.enqueue(b"1")
        shared = a.declare("shared")
        await shared.enqueue(b"1")
        await until(lambda: "shared" in {queue.name for queue in b.queues})
        await a.delete(shared)
        await until(lambda: not b.queues)
        await world.kill("a")
        await b.promote()
        assert not b.queues

    two(main)


def test_H27_a_reroute_of_a_queue_to_itself_keeps_the_order() -> None:
    """Each message is published again to the queue in which it is, and the old one is dropped, in one operation."""

    async def main(world: World, a: Node, b: Node) -> None:
        queue = declared(a, "priority")
        for n, priority in enumerate(PRIORITIES):
            put(queue, f"{n}:{priority}", priority=priority)
        before = held(queue)
        consumer = queue.consumer()
        first = consumer.acquire(1)  # A client is busy with one of them.
        with a.transaction() as t:
            for id, data, props in list(queue.browse()):
                t.enqueue(queue.queue, data, props)
                t.dequeue(queue.queue, SequenceSet([id]))
        await t.op
        await same(queue, b)
        assert held(queue) == before
        assert first is not None
        await consumer.accept(first[0])  # It was consumed by the reroute.
        assert got(consumer) == before
        consumer.close()
        assert got((await promoted(world, b)).consumer()) == before

    two(main)


def test_H32_messages_expire_while_a_backup_joins() -> None:
    """With a time to live of a millisecond: no crash, and nothing that is left on one node only."""

    async def main(world: World) -> None:
        a = await started(world, "a")
        draw = random.Random(1)
        queue = declared(a, "priority", clock=time.time)

        def publish(count: int) -> None:
            for n in range(count):
                put(queue, str(n), priority=draw.randrange(10), expires_at=time.time() + 0.001)

        publish(500)
        for name in "bc":
            joining = asyncio.create_task(started(world, name))
            while not joining.done():
                publish(20)
                queue.expire()
                await asyncio.sleep(0.001)
            backup = await joining
            for _ in range(20):
                publish(20)
                await asyncio.sleep(0.001)
            await backup.wait_in_sync()
        put(queue, "stays")
        await asyncio.sleep(0.2)
        queue.expire()
        for node in (world.nodes["b"], world.nodes["c"]):
            await until(lambda node=node: shown(node) == ["stays"])  # type: ignore[misc]
        assert held(queue) == ["stays"]

    run(main)


def test_H34_a_new_primary_has_the_limits_of_the_old_one() -> None:
    async def main(world: World, a: Node, b: Node) -> None:
        queue = declared(a, messages_max=3)
        put(queue, "1", "2")
        await same(queue, b)
        after = await promoted(world, b)
        put(after, "3")
        with pytest.raises(QueueFull):
            put(after, "4")
        assert after.arguments == QueueArguments(messages_max=3)
        assert held(after) == ["1", "2", "3"]

    two(main)
