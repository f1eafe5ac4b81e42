"""Queues of ten times `Settings.memory_bytes_max`, on nodes whose stores give messages back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from qpidha import Node
from qpidha.errors import StoreDamaged, StoreFailed
from qpidha.queues import FifoQueue
from qpidha.seq import SequenceSet
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.wire.batch import Batch
from tests.support.harness import QUICK, World, content, history, run, until

LIMIT = 20_000
SMALL = replace(
    QUICK, memory_bytes_max=LIMIT, heartbeat_timeout_s=30.0, ack_timeout_s=30.0, rejoin_timeout_s=30.0
)
MESSAGES = [b"%d" % n + bytes(1000) for n in range(200)]


async def two_nodes(world: World, tmp_path: Path) -> tuple[Node, Node]:
    a = await world.start("a", SqliteStore(tmp_path / "a"))
    await a.promote()
    b = await world.start("b", SqliteStore(tmp_path / "b"))
    await until(lambda: b.status().in_sync)
    return a, b


async def fill(node: Node) -> None:
    queue = node.declare("q")
    for n in range(0, len(MESSAGES), 5):
        await queue.enqueue_many(Batch.pack(MESSAGES[n : n + 5]))


def in_memory(node: Node) -> int:
    bodies = node._runtime.replica.state.bodies
    assert bodies is not None
    return bodies.nbytes


def on_disk(node: Node) -> int:
    return node.status(queues_max=10).queues[0].on_disk_bytes


def test_a_queue_larger_than_memory_is_published_joined_taken_over_and_consumed(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a, b = await two_nodes(world, tmp_path)
        await fill(a)
        for node in (a, b):
            await until(lambda node=node: in_memory(node) <= LIMIT)  # type: ignore[misc]
            assert on_disk(node) > 8 * LIMIT and node.status().queue_count == 1
        c = await world.start("c", SqliteStore(tmp_path / "c"))
        await until(lambda: c.status().in_sync)
        await until(lambda: in_memory(c) <= LIMIT)
        await world.stop("a")
        await b.promote()
        await until(lambda: b._runtime.serving)
        fifo = FifoQueue(b.queue("q"))
        seen = []
        while (taken := fifo.acquire(messages_max=7)) is not None:
            ids, batch = taken
            seen += list(batch)
            assert in_memory(b) <= LIMIT + batch.nbytes
            await fifo.accept(ids)
        assert seen == MESSAGES
        await until(lambda: not c.status(queues_max=1).queues[0].depth)
        assert (in_memory(c), on_disk(c), on_disk(b)) == (0, 0, 0)

    run(main, SMALL)


def test_a_start_keeps_no_more_than_the_limit_and_has_everything(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a, _ = await two_nodes(world, tmp_path)
        await fill(a)
        await a.queue("q").dequeue(SequenceSet([(2, 4), 50]))
        expected = history(a)
        await world.stop("b")
        b = await world.start("b")
        await until(lambda: b.status().in_sync)
        assert in_memory(b) <= LIMIT < on_disk(b)
        assert history(b) == expected
        assert in_memory(b) <= LIMIT < on_disk(b), "to read all of it keeps no more of it"

    run(main, SMALL)


def test_messages_are_moved_and_updated_from_the_disk(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a, b = await two_nodes(world, tmp_path)
        await fill(a)
        await until(lambda: on_disk(a) > 0)
        other = a.declare("other")
        await a.queue("q").move(SequenceSet([(1, 100)]), other)
        assert [data for _, data in other] == MESSAGES[:100]
        await until(lambda: b.queue("other").depth == 100)
        assert content(b, "other") == content(a, "other") and content(a) == content(b)

    run(main, SMALL)


def damage(node: Node) -> None:
    """Change all messages in the store in use, as a disk does: nobody has written them."""
    store, disk = node._parts.engine._store, node._parts.engine.disk
    assert isinstance(store, SqliteStore) and disk is not None and disk._worker is not None

    def change() -> None:
        assert store._db is not None and store._files is not None
        store._db.execute("UPDATE batches SET data = zeroblob(length(data))")
        store._files.note_synced()
        store._files.written()

    disk._worker.submit(change).result()  # In this thread nothing looks at the files meanwhile.


@pytest.mark.parametrize("who", ["a consumer", "a catch-up"])
def test_a_message_that_does_not_verify_ends_the_node_and_another_one_takes_over(
    who: str, tmp_path: Path
) -> None:
    async def main(world: World) -> None:
        a, b = await two_nodes(world, tmp_path)
        await fill(a)
        await until(lambda: on_disk(a) > 0)
        damage(a)
        if who == "a consumer":
            with pytest.raises(StoreDamaged, match="fails its checksum"):
                a.queue("q").read(1)
            with pytest.raises(StoreFailed, match="an earlier read failed"):
                a.queue("q").read(1)
        else:
            await world.start("c", SqliteStore(tmp_path / "c"))
        stopped = await asyncio.wait_for(a.wait_stopped(), 20)
        assert isinstance(stopped.error, StoreDamaged) and "fails its checksum" in stopped.reason
        await b.promote()
        await until(lambda: b._runtime.serving)
        assert [data for _, data in content(b)] == MESSAGES
        del world.nodes["a"]
        with pytest.raises(StoreDamaged):
            await world.start("a")

    run(main, SMALL)


def test_a_store_that_cannot_give_messages_back_keeps_all_in_memory() -> None:
    async def main(world: World) -> None:
        a = await world.start("a", MemoryStore())
        await a.promote()
        await fill(a)
        assert a._runtime.replica.state.bodies is None and on_disk(a) == 0
        assert [data for _, data in content(a)] == MESSAGES

    run(main, SMALL)
