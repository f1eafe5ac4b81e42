"""Amounts larger than one frame, or larger than the send buffer of a link, are sent in pieces."""

from __future__ import annotations

from dataclasses import replace

from qpidha import Batch, Role, SequenceSet
from tests.support.harness import QUICK, World, history, run, until

MIB = 1 << 20
RUNS_MAX = 65_536
"""Runs of ids in one frame."""


def test_more_holes_than_a_frame_can_name_are_made_at_once() -> None:
    """A purge of every second message, sent as an operation and in the plan for a new backup."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        queue = a.declare("q")
        count = 5 * RUNS_MAX
        await queue.enqueue_many([b"%07d" % i for i in range(count)])
        receipt = await queue.dequeue(SequenceSet(range(1, count + 1, 2)))
        assert receipt.nodes == {"a", "b"}
        assert history(a) == history(b)
        c = await world.start("c")
        await until(lambda: c.status().in_sync, what="c in sync")
        assert history(a) == history(c)
        assert (await queue.enqueue(b"last")).nodes == {"a", "b", "c"}

    run(main)


def test_a_move_of_more_than_a_frame_reaches_every_node() -> None:
    """Each message is in exactly one of the queues at any time; the result can be sent to a new backup."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        work, dead = a.declare("work"), a.declare("dead")
        for _ in range(5):
            await work.enqueue_many([b"x" * 500_000] * 8)
        await work.enqueue_many(
            [b"%06d" % i for i in range(500_000)]
        )  # Shorter than the origin that a move adds.
        total = work.depth
        op = work.move(range(1, total + 1), dead)
        assert op.ids == range(1, total + 1)
        await op
        assert work.depth == 0
        assert history(a, "dead") == history(b, "dead") and history(a, "work") == history(b, "work")
        assert b.queue("dead").depth == total
        c = await world.start("c")
        await until(lambda: c.status().in_sync, what="c in sync")
        assert history(a, "dead") == history(c, "dead")

    run(main)


def test_a_resync_of_large_batches_does_not_overrun_its_own_link() -> None:
    """The send buffer of a link is limited: a plan that sent more at once would be cut off each time."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        message = bytes(MIB - 64)
        for _ in range(9):
            await queue.enqueue_many([message] * 8)
        b = await world.start("b")
        await until(lambda: b.role is Role.READY and b.status().in_sync, timeout_s=30, what="b in sync")
        assert b.status().resync_messages == 73, "with the object of the queue"

    run(main, replace(QUICK, ack_timeout_s=10.0))


def test_a_resync_counts_real_sizes_not_the_average() -> None:
    """Many small messages come before large ones: an average would underestimate the remaining bytes."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        await queue.enqueue_many([b"small"] * 300_000)
        for _ in range(10):
            await queue.enqueue(bytes(8 * MIB - 64))
        b = await world.start("b")
        await until(lambda: b.role is Role.READY and b.status().in_sync, timeout_s=30, what="b in sync")
        assert b.status().resync_messages == 300_011, "with the object of the queue"

    run(main, replace(QUICK, ack_timeout_s=10.0))


def test_a_batch_with_many_holes_is_sent_in_pieces() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        count = 4 * RUNS_MAX
        await queue.enqueue_many(Batch.pack([b"x" * 8] * count))
        for first in range(1, count, RUNS_MAX):
            await queue.dequeue(SequenceSet(range(first, first + RUNS_MAX, 3)))
        b = await world.start("b")
        await until(lambda: b.status().in_sync, what="b in sync")
        assert history(a) == history(b)

    run(main)
