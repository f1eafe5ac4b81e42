"""Catch-up of a backup: in chunks, during publishes, with holes in the ids, and again after falling behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qpidha import Batch, Role, SequenceSet
from qpidha.core.legality import SessionState
from qpidha.node.queue import Queue
from tests.support.harness import QUICK, World, history, run, until

SMALL = replace(
    QUICK,
    plan_chunk_bytes=2_000,
    plan_chunks_in_flight_max=2,
    window_bytes_max=40_000,
    operations_bytes=2_000,
    ids_runs_per_chunk_max=16,
    frame_bytes_max=64 * 1024,
    message_bytes_max=8 * 1024,
)


def holes(queue: Queue, every: int) -> SequenceSet:
    """Return every n-th of the held ids."""
    return SequenceSet(list(queue._queue.held)[::every])


def test_a_fresh_backup_gets_everything_in_chunks_while_publishes_go_on() -> None:
    """Operations continue during the copy, and none are buffered for the new backup (C4, C5)."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        for number in range(300):
            await queue.enqueue_many([b"%d.%d" % (number, i) * 5 for i in range(20)])
        await queue.dequeue(holes(queue, 3))
        b = await world.start("b")
        published = 0
        while b.role is not Role.READY or "b" not in world.members():
            queue.enqueue_many([b"meanwhile %d" % published] * 5)
            queue.dequeue(SequenceSet([queue._queue.held.first]))
            published += 1
            await asyncio.sleep(0)
        receipt = await queue.enqueue(b"last")
        assert receipt.nodes == {"a", "b"}
        assert history(a) == history(b)
        assert b.status().resync_messages >= 4000
        a._runtime.replica.check()
        b._runtime.replica.check()

    run(main, SMALL)


def test_the_primary_says_how_far_a_catch_up_has_come() -> None:
    """What was copied grows to what there is, and nothing is left; a backup that follows has no catch-up."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        for name in ("one", "two"):
            await a.declare(name).enqueue_many([b"x" * 1000] * 1000)
        everything = sum(queue.bytes for queue in a.status().queues)
        await world.start("b")
        seen = []
        while "b" not in world.members():
            seen += [session.catch_up for session in a.status().sessions if session.catch_up is not None]
            await asyncio.sleep(0)
        assert [session.catch_up for session in a.status().sessions] == [None]
        copied = [one.copied_bytes for one in seen]
        assert copied == sorted(copied) and copied[-1] >= everything and seen[-1].left_bytes == 0
        halfway = [one for one in seen if 0 < one.copied_bytes < everything]
        assert halfway, "it was never seen while it copied"
        for one in halfway:
            whole = one.copied_bytes + one.left_bytes
            assert 0.9 * everything < whole < 1.1 * everything + SMALL.plan_chunk_bytes
            assert one.left_s is not None and one.copied_messages > 0

    run(main, SMALL)


def test_many_holes_travel_in_chunks() -> None:
    """T09, I5: more runs of ids than fit in one frame arrive complete, in both directions."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue = a.declare("q")
        for _ in range(50):
            await queue.enqueue_many(Batch.pack([b"x"] * 400))
        await queue.dequeue(holes(queue, 2))
        await world.kill("b")
        await queue.dequeue(holes(queue, 3))  # b does not receive these …
        again = await world.start("b")
        await until(lambda: again.status().in_sync and again.role is Role.READY)
        assert history(a) == history(again)
        assert again.status().resync_messages == 0  # … and needs no message to drop them.
        assert a.queue("q")._queue.held.run_count > SMALL.ids_runs_per_chunk_max

    run(main, replace(SMALL, frame_bytes_max=1 << 20))


def test_a_backup_that_falls_behind_is_planned_again_and_nothing_is_buffered() -> None:
    """C7, L3: when the window is exceeded, the stream to the backup ends, and the backup catches up by difference."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        queue = a.declare("q")
        await queue.enqueue(b"first")
        session = next(iter(a._runtime.replica.primary.sessions.values()))
        seen: set[SessionState] = set()
        ops = []
        for number in range(200):  # In one turn of the loop: b cannot acknowledge in between.
            ops.append(queue.enqueue_many([b"%d" % number * 50] * 10))
            a._runtime.replica.primary.seal()
            seen.add(session.state)
            assert session.window_bytes <= SMALL.window_bytes_max + 2 * SMALL.operations_bytes + 10_000
        assert SessionState.LAGGING in seen
        receipts = [await op for op in ops]
        assert all(r.nodes == {"a", "b"} for r in receipts)
        assert history(a) == history(b)
        assert b.status().resyncs >= 2
        assert world.members() == {"a", "b"}

    run(main, SMALL)


@pytest.mark.parametrize("cut_after", [1, 3, 10])
def test_a_resync_may_be_cut_anywhere_and_begun_again(cut_after: int) -> None:
    """The result equals that of an uninterrupted resync (R-d)."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        for number in range(100):
            await queue.enqueue_many([b"%d" % number * 20] * 20)
        b = await world.start("b")
        await until(lambda: b.status().resync_messages >= cut_after)
        for peer in list(b._parts.links.peers.values()):
            peer.link.abort()
        await until(lambda: b.role is Role.READY and b.status().in_sync)
        assert history(a) == history(b)
        b._runtime.replica.check()

    run(main, SMALL)


def test_moves_are_in_exactly_one_queue_on_every_node() -> None:
    """X2, O3: a move is one operation, and the moved message names its origin."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        work, dead = a.declare("work"), a.declare("dead")
        await work.enqueue_many([b"1", b"2", b"3"])
        assert (await work.move(2, dead)).ids == range(1, 2)
        await dead.enqueue(b"after")
        assert history(a, "work") == history(b, "work")
        assert history(a, "dead") == history(b, "dead")
        assert [d for _, d in b.queue("work")] == [b"1", b"3"]
        assert [d for _, d in b.queue("dead")] == [b"2", b"after"]
        moved = next(b.queue("dead")._queue.select(SequenceSet([1])))[1]
        assert moved.origin(0) == (work.id.bytes, 1, 2)

    run(main)
