"""Queue types when consumers, callbacks and clients misbehave: nothing is lost, stuck, or given to two consumers."""

from __future__ import annotations

import asyncio
import sys

import pytest

from qpidha import ArgumentError, Batch, CallerError, Node, Op, SequenceSet
from qpidha.core.indexed import IndexedQueue
from qpidha.queues import MSGPACK, Consumer, DeliveryQueue, FifoQueue, MessageIndex
from tests.integration.test_queue_types import NOW, Clock, alone, declared, got, held, one, put


def index_of(queue: DeliveryQueue[Op]) -> MessageIndex:
    """The index of the queue, after all its invariants were checked."""
    content = queue.queue._queue  # type: ignore[attr-defined]
    assert isinstance(content, IndexedQueue) and isinstance(content.index, MessageIndex)
    content.check()
    return content.index


# --- settling ------------------------------------------------------------------------------------


def test_an_accept_of_what_another_consumer_has_is_ignored() -> None:
    """For example by a client whose message was released, and delivered to another one, in the meantime."""

    async def main(node: Node) -> None:
        queue = declared(node)
        put(queue, "a", "b", "c")
        first, second = queue.consumer(), queue.consumer()
        ids, _ = one(first)
        first.release(ids)
        assert one(second)[0] == ids
        await first.accept(ids)
        first.accept(SequenceSet([3]))  # Nobody has it.
        assert held(queue) == ["a", "b", "c"]
        mine, _ = one(first)
        await first.accept(ids | mine)
        assert held(queue) == ["a", "c"]
        await second.accept(ids)
        assert held(queue) == ["c"] and queue.acquired == 0
        await second.accept(ids)  # Again: it is gone, which is true.

    alone(main)


def test_an_accept_by_an_id_that_updates_have_replaced_is_ignored_as_well() -> None:
    async def main(node: Node) -> None:
        queue = declared(node)
        put(queue, "a", "b")
        first, second = queue.consumer(), queue.consumer()
        one(first)
        second_ids, _ = one(second)
        for _ in range(2):
            await queue.queue.update([1], [b""])  # type: ignore[attr-defined]
        second.accept(SequenceSet([1, 3, 4]) | second_ids)
        assert held(queue) == ["a"]
        await first.accept(SequenceSet([3]))
        assert held(queue) == [] and queue.acquired == 0

    alone(main)


def test_messages_with_and_without_updates_are_delivered_together() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "priority")
        put(queue, "a", "b")
        consumer = queue.consumer()
        ids, _ = one(consumer)
        consumer.fail(ids)
        taken = [consumer.acquire(), consumer.acquire()]
        assert [list(each[1]) for each in taken if each] == [[b"a"], [b"b"]]
        consumer._subscription.give(SequenceSet([7, 8]), SequenceSet([7, 9]))
        assert consumer._subscription.places_of(SequenceSet([7, 9])) == SequenceSet([8])
        assert consumer._subscription.take_back(SequenceSet([7, 8])) == SequenceSet([7, 8])
        await queue.queue.purge()  # type: ignore[attr-defined]
        for each in taken:
            assert each is not None
            consumer.accept(each[0])
        assert queue.acquired == 0

    alone(main)


def test_counts_of_messages_that_left_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpidha.queues.failures.UNCOUNTED_SPARE", 0)

    async def main(node: Node) -> None:
        queue = declared(node)
        consumer = queue.consumer()
        for _ in range(10):
            queue.publish(b"poison", b"\xc1")
            ids, _ = one(consumer)
            consumer.fail(ids)
            await queue.queue.purge()  # type: ignore[attr-defined]
        assert len(queue._dispatch._failures._uncounted) <= 2

    alone(main)


def test_a_group_is_free_when_its_messages_left_in_another_way() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, groups=True)
        put(queue, "a", group=b"g")
        first, second = queue.consumer(), queue.consumer()
        for settle in (first.fail, first.reject, first.accept, first.release):
            ids, _ = one(first)
            await queue.queue.purge()  # type: ignore[attr-defined]
            put(queue, "b", group=b"g")
            settle(ids)
            assert first.acquired == queue.acquired == 0
            taken = second.acquire()
            assert taken is not None
            await second.accept(taken[0])
            put(queue, "a", group=b"g")

    alone(main)


@pytest.mark.parametrize("how", ["fail", "reject", "accept", "release"])
def test_a_group_is_free_when_an_updated_message_was_purged(how: str) -> None:
    async def main(node: Node) -> None:
        queue = declared(node, groups=True)
        put(queue, "a", group=b"g")
        first, second = queue.consumer(), queue.consumer()
        ids, _ = one(first)
        first.fail(ids)  # An update: it has another id now.
        ids, _ = one(first)
        await queue.queue.purge()  # type: ignore[attr-defined]
        put(queue, "b", group=b"g")
        getattr(first, how)(ids)
        assert first.acquired == 0 and queue.acquired == 0
        assert got(second) == ["b"]

    alone(main)


@pytest.mark.parametrize(
    "props", [b"\xc1", b"\x05", MSGPACK.pack(deliveries=2**64 - 1), b"\x81\xa1x\xc4\x04abc"]
)
def test_a_failed_delivery_is_counted_whatever_the_props_are(props: bytes) -> None:
    async def main(node: Node) -> None:
        queue = declared(node, delivery_limit=3)
        queue.publish(b"poison", props)
        queue.publish(b"fine")
        consumer = queue.consumer()
        for _ in range(3):
            ids = SequenceSet()
            while (taken := consumer.acquire(1)) is not None:
                ids |= taken[0]
            consumer.fail(ids)
        assert held(queue) == [] and queue.acquired == 0

    alone(main)


def test_a_message_without_room_for_the_count_is_counted_by_the_primary() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, delivery_limit=2)
        most = node._runtime.settings.message_bytes_max
        queue.publish(b"", MSGPACK.pack(own=bytes(most - 16)) + b"")
        consumer = queue.consumer()
        props = next(iter(queue.browse()))[2]
        assert len(MSGPACK.with_deliveries(props, 1)) > most >= len(props)
        for _ in range(2):
            ids, _ = one(consumer)
            consumer.fail(ids)
        assert held(queue) == []

    alone(main)


# --- expiry --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1.7e308, -1.7e308, 2**64 - 1, float("inf"), float("-inf"), float("nan"), 0])
def test_no_time_of_expiry_is_too_strange(at: float) -> None:
    async def main(node: Node) -> None:
        queue = declared(node)
        put(queue, "a", expires_at=at)
        queue.expire()
        assert held(queue) == ([] if at <= NOW else ["a"])
        index_of(queue)

    alone(main)


def test_what_waited_for_the_owner_of_its_group_expires() -> None:
    async def main(node: Node) -> None:
        clock = Clock()
        queue = declared(node, groups=True, clock=clock)
        put(queue, "a", group=b"g")
        put(queue, "b", group=b"g", expires_at=NOW + 5)
        first, second = queue.consumer(), queue.consumer()
        ids, _ = one(first)
        assert second.acquire() is None  # "b" waits for the first.
        clock.now += 10
        queue.expire()
        await first.accept(ids)
        queue.expire()
        assert held(queue) == []

    alone(main)


def test_what_a_consumer_had_when_it_was_due_expires_in_the_next_term() -> None:
    """The index is the node's: it outlives the term in which the message was due."""

    async def main(node: Node) -> None:
        clock = Clock()
        queue = declared(node, clock=clock)
        put(queue, "a", expires_at=NOW + 5)
        consumer = queue.consumer()
        one(consumer)
        clock.now += 10
        assert queue.expire() is None
        index_of(queue)
        await node.demote()
        await node.promote()
        await node.wait_serving()
        again = DeliveryQueue(node, node.queue("q"), clock=clock)
        again.expire()
        assert held(again) == []
        consumer.close()

    alone(main)


def test_times_of_expiry_take_no_memory_when_their_messages_are_gone() -> None:
    """Nothing is due on a backup, so nothing else would remove them there."""

    async def main(node: Node) -> None:
        queue = declared(node)
        put(queue, "stays", expires_at=NOW + 1e6)
        consumer = queue.consumer()
        one(consumer)
        for n in range(50):
            put(queue, "goes", expires_at=NOW + 1 + n)
            ids, _ = one(consumer)
            consumer.accept(ids)
        assert len(index_of(queue).expiry) == 1

    alone(main)


# --- callbacks -----------------------------------------------------------------------------------


def test_a_callback_that_raises_does_not_keep_others_from_being_called() -> None:
    async def main(node: Node) -> None:
        queue = declared(node)
        called = list[int]()

        def bad() -> None:
            raise RuntimeError("the embedder's")

        first = queue.consumer(on_available=bad)
        queue.consumer(on_available=lambda: called.append(1))
        put(queue, "a")
        await asyncio.sleep(0.01)
        assert called == [1]
        ids, _ = one(first)
        first.release(ids)
        one(first)
        first.close()  # Does not raise what callbacks of others raise.
        await asyncio.sleep(0.01)
        assert len(called) >= 2

    alone(main)


def test_callbacks_of_owners_do_not_reverse_the_order_of_a_group() -> None:
    """Each acquires one message and handles it: also when it passes over messages of the other's group."""

    async def main(node: Node) -> None:
        queue = declared(node, groups=True)
        seen: dict[str, list[int]] = {"a": [], "b": []}
        consumers: dict[str, Consumer[Op]] = {}

        def take(name: str) -> None:
            while (taken := consumers[name].acquire(1)) is not None:
                seen[name].append(int(taken[1].data(0)))

        for name in seen:
            consumers[name] = queue.consumer(on_available=lambda name=name: take(name))  # type: ignore[misc]
        put(queue, "0", group=b"a")
        put(queue, "1", group=b"b")
        for name in seen:
            taken = consumers[name].acquire(1)
            assert taken is not None
        count = 4 * sys.getrecursionlimit()
        for n in range(count):
            queue.publish(b"%d" % n, MSGPACK.pack(group=b"ba"[n % 2 : n % 2 + 1]))
        for _ in range(100):
            await asyncio.sleep(0)
        assert seen["a"] == list(range(1, count, 2)) and seen["b"] == list(range(0, count, 2))

    alone(main)


def test_a_callback_that_gives_everything_back_does_not_hold_up_the_node() -> None:
    async def main(node: Node) -> None:
        queue = declared(node)
        calls = [0]

        def refuse() -> None:
            calls[0] += 1
            if calls[0] < 100_000 and (taken := picky.acquire()) is not None:
                picky.release(taken[0])

        picky = queue.consumer(on_available=refuse)
        put(queue, "a")
        for _ in range(20):
            await asyncio.sleep(0)
        assert 0 < calls[0] < 1000
        picky.close()
        assert got(queue.consumer()) == ["a"]

    alone(main)


def test_an_owner_is_told_of_waiting_messages_when_it_is_ready_again() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, groups=True)
        told = list[int]()
        put(queue, "a", "b", group=b"g")
        first, second = queue.consumer(on_available=lambda: told.append(1)), queue.consumer()
        one(first)
        first.ready = False
        assert second.acquire() is None
        await asyncio.sleep(0.01)
        told.clear()
        first.ready = True
        await asyncio.sleep(0.01)
        assert told and one(first)[1] == "b"

    alone(main)


def test_a_value_that_was_replaced_while_it_waited_for_its_group_is_not_delivered() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "last-value", groups=True)
        put(queue, "a", key=b"a", group=b"g")
        put(queue, "old", key=b"b", group=b"g")
        first, second = queue.consumer(), queue.consumer()
        ids, _ = one(first)
        assert second.acquire() is None
        put(queue, "new", key=b"b", group=b"g")
        await first.accept(ids)
        assert got(second) == ["new"]

    alone(main)


# --- the end -------------------------------------------------------------------------------------


def test_a_consumer_may_be_closed_after_the_queue_was_deleted_or_the_term_has_ended() -> None:
    async def main(node: Node) -> None:
        for end in ("delete", "demote"):
            clock = Clock()
            queue = declared(node, "last-value", end, clock=clock, groups=True)
            put(queue, "old", key=b"k", group=b"g", expires_at=NOW + 1)
            consumer = queue.consumer()
            one(consumer)
            put(queue, "new", key=b"k", group=b"g")
            clock.now += 5
            queue.expire()
            if end == "delete":
                await node.delete(queue.queue)  # type: ignore[arg-type]
            else:
                await node.demote()
            consumer.close()
            consumer.close()
            assert queue.acquired == 0

    alone(main)


# --- limits --------------------------------------------------------------------------------------


def test_a_limit_of_bytes_counts_the_bytes_of_any_buffer() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "ring", bytes_max=100)
        queue.publish(bytes(60))
        queue.publish(memoryview(bytes(80)).cast("I"))
        assert queue.nbytes == 80

    alone(main)


def test_a_queue_cannot_be_its_own_queue_for_dead_letters() -> None:
    async def main(node: Node) -> None:
        with pytest.raises(ArgumentError, match="dead letters"):
            declared(node, dead_letters="q")

    alone(main)


def test_dead_letters_do_not_exceed_the_limit_of_a_ring() -> None:
    async def main(node: Node) -> None:
        dead = declared(node, "ring", "dead", messages_max=2)
        queue = declared(node, dead_letters="dead")
        put(queue, "a", "b", "c", "d")
        consumer = queue.consumer()
        taken = consumer.acquire()
        assert taken is not None
        consumer.reject(taken[0])
        await asyncio.sleep(0.01)
        assert held(dead) == ["c", "d"]

    alone(main)


def test_a_batch_names_the_ids_of_all_its_messages() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "last-value")
        put(queue, "x", key=b"x")
        batch = Batch.pack([b"1", b"2", b"3"], [MSGPACK.pack(key=key) for key in (b"x", b"y", b"z")])
        op = queue.publish_many(batch)
        assert list(op.ids) == [id for id, _, _ in queue.browse()] == [2, 3, 4]
        await op

    alone(main)


def test_a_second_object_that_delivers_the_queue_is_refused() -> None:
    """Each would give every message to a consumer of its own."""

    async def main(node: Node) -> None:
        queue = declared(node)
        for second in (
            lambda: DeliveryQueue(node, node.queue(queue.queue.name)),
            lambda: FifoQueue(queue.queue),
        ):  # type: ignore[arg-type]
            with pytest.raises(CallerError, match=r"has a DeliveryQueue in this term.* use that one"):
                second()
        put(queue, "a")
        taken = queue.consumer()
        one(taken)
        assert queue.acquired == 1, "the first one goes on"

    alone(main)
