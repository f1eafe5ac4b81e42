"""Batches that drive messages out and come near `transaction_bytes_max`: made whole, or refused with no effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from qpidha import ArgumentError, Batch, Node, Op
from qpidha.queues import MSGPACK, DeliveryQueue, Overflow, queue_types
from tests.integration.test_queue_hazards import index_of
from tests.integration.test_queue_types import declared, held, operations, put
from tests.support.harness import QUICK, World, run

MOST = 4096
SMALL = replace(QUICK, transaction_bytes_max=MOST)


def alone(main: Callable[[Node], Awaitable[None]]) -> None:
    """Run this with one node, which is primary and has small transactions."""

    async def with_node(world: World) -> None:
        node = await world.start("a", queue_types=queue_types(fifo=True))
        await node.promote()
        await node.wait_serving()
        await main(node)

    run(with_node, SMALL)


def state(node: Node, *queues: DeliveryQueue[Op]) -> list[Any]:
    """What a refused publish must not change."""
    for queue in queues:
        queue.queue.flush()
        index_of(queue)
    return [operations(node), *((held(q), q.depth, q.nbytes, q.acquired) for q in queues)]


def test_a_batch_that_drives_messages_out_is_made_whole_or_refused_whole() -> None:
    """Over all lengths around the limit; the ids go on without a gap."""

    async def main(node: Node) -> None:
        ring = declared(node, "ring", messages_max=2)
        put(ring, "a", "b")
        refused, last = 0, 2
        for length in range(MOST // 2 - 120, MOST // 2 + 20, 10):
            before, texts = state(node, ring), [b"1".ljust(length, b"."), b"2".ljust(length, b".")]
            try:
                op = ring.publish_many(Batch.pack(texts))
            except ArgumentError as error:
                assert f"at most {MOST} bytes (transaction_bytes_max)" in str(error)
                assert state(node, ring) == before
                refused += 1
            else:
                assert not refused, "a longer batch than one that was refused"
                assert list(op.ids) == [last + 1, last + 2]
                last += 2
                await op
                assert held(ring) == [text.decode() for text in texts]
        assert refused and last > 2
        op = ring.publish(b"c")
        assert list(op.ids) == [last + 1]
        await op
        assert held(ring)[1:] == ["c"]

    alone(main)


def test_messages_that_go_to_dead_letters_count_by_their_ids_alone() -> None:
    """Each member copies them from its own queue, so a short batch may drive out more bytes than it may have."""

    async def main(node: Node) -> None:
        dead = declared(node, name="dead")
        queue = declared(node, messages_max=3, overflow=Overflow.DEAD_LETTER, dead_letters="dead")
        for text in "abc":
            await queue.publish(text.encode().ljust(MOST // 2, b"."))
        before = state(node, queue, dead)
        with pytest.raises(ArgumentError, match="transaction_bytes_max"):
            queue.publish_many(Batch.pack([b"x" * MOST, b"y", b"z"]))
        assert state(node, queue, dead) == before
        await queue.publish_many(Batch.pack([b"d", b"e", b"f"]))
        assert held(queue) == ["d", "e", "f"]
        assert [text[0] for text in held(dead)] == ["a", "b", "c"]
        state(node, queue, dead)

    alone(main)


def test_messages_of_keys_that_a_batch_replaces_stay_if_it_is_refused() -> None:
    async def main(node: Node) -> None:
        queue = declared(node, "last-value")
        put(queue, "old", key=b"k")
        before = state(node, queue)
        with pytest.raises(ArgumentError, match="transaction_bytes_max"):
            queue.publish_many(Batch.pack([b"x" * MOST, b"new"], [b"", MSGPACK.pack(key=b"k")]))
        assert state(node, queue) == before
        await queue.publish_many(Batch.pack([b"x", b"new"], [b"", MSGPACK.pack(key=b"k")]))
        assert held(queue) == ["x", "new"]

    alone(main)


def test_a_batch_that_drives_nothing_out_is_no_transaction() -> None:
    """It may have more bytes; a batch that holds more than the queue may is refused as too large for it."""

    async def main(node: Node) -> None:
        ring = declared(node, "ring", messages_max=3)
        await ring.publish_many(Batch.pack([b"x" * MOST, b"y" * MOST]))
        assert (ring.depth, ring.nbytes) == (2, 2 * MOST)

    alone(main)


def test_consumers_keep_what_they_have_when_a_batch_is_refused() -> None:
    async def main(node: Node) -> None:
        ring = declared(node, "ring", messages_max=3)
        put(ring, "a", "b", "c")
        consumer = ring.consumer()
        taken = consumer.acquire(1)
        assert taken is not None
        before = state(node, ring)
        with pytest.raises(ArgumentError, match="transaction_bytes_max"):
            ring.publish_many(Batch.pack([b"x" * MOST, b"y"]))
        assert state(node, ring) == before
        await consumer.accept(taken[0])
        assert held(ring) == ["b", "c"] and ring.acquired == 0

    alone(main)
