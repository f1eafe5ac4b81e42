"""A queue handle is good for one term and one thread; an op ends with its term, for every kind of waiter."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from qpidha import InDoubt, Node, NotPrimary, Op, Queue, Role
from qpidha.errors import CallerError, StaleHandle, WrongThread
from qpidha.queues import FifoQueue
from tests.support.harness import World, run, until

SOON_S = 15.0


async def waited(op: Op) -> object:
    return await op


def changes(queue: Queue, other: Queue) -> list[Callable[[], object]]:
    """All calls that are allowed only in the handle's term."""
    return [
        lambda: queue.enqueue(b"x"),
        lambda: queue.enqueue_many([b"x"]),
        lambda: queue.dequeue(1),
        lambda: queue.move(1, other),
        lambda: other.move(1, queue),
        lambda: queue.on_content(print),
        lambda: queue.on_safe_upto(print),
        lambda: FifoQueue(queue),
    ]


def test_a_handle_of_an_earlier_term_only_reads() -> None:
    """The error says that the node is a backup, or, in its next term, names both generations."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        old, other = a.declare("q"), a.declare("other")
        await old.enqueue_many([b"1", b"2"])
        fifo = FifoQueue(old)
        await b.promote()
        await until(lambda: a.role is Role.READY and world.members() == {"a", "b"})
        for change in changes(old, other):
            with pytest.raises(NotPrimary) as refused:
                change()
            assert refused.value.primary == "b"
        await b.queue("q").enqueue(b"3")
        await a.promote()
        fresh, fresh_other = a.queue("q"), a.queue("other")
        assert fresh is a.declare("q") is not old
        for change in (*changes(old, fresh_other), *changes(fresh, other)[3:5]):
            with pytest.raises(StaleHandle) as stale:
                change()
            assert (stale.value.generation, stale.value.current) == (1, 3)
            assert "node.queue(" in str(stale.value)
        with pytest.raises(StaleHandle):
            fifo.accept(old.read(1)[0])  # type: ignore[index]
        before = [(1, b"1"), (2, b"2"), (3, b"3")]
        assert list(old) == list(fresh) == before
        assert old.get(2) == b"2"
        assert fifo.acquire() is not None, "reading goes on"
        op = fresh.enqueue(b"4")
        assert (old.depth, old.next_id) == (fresh.depth, fresh.next_id) == (4, 5)
        assert old.get(4) == b"4"
        assert (await op).generation == 3
        assert (old.generation, fresh.generation) == (1, 3)

    run(main)


def test_tables_transactions_and_objects_of_an_earlier_term() -> None:
    """The node is promoted twice: what belongs to a term is refused after it; the configuration belongs to none."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        q, table = a.declare("q"), a.table("t")
        await table.put(b"k", b"1")
        told: list[object] = []
        table.on_change(lambda *change: told.append(change))
        done = a.transaction()
        new = done.declare("new")
        published = done.enqueue(new, b"1")
        await done.commit()
        left = a.transaction()
        left.enqueue(q, b"never")
        world.gates["b"].mute = True
        with a.transaction() as pending:
            pending.put(table, b"k", b"in doubt")
        objects = a.configuration
        objects_op = objects.put("kind", "name", b"in doubt")
        old: list[Callable[[], object]] = [
            lambda: table.put(b"k", b"2"),
            lambda: table.remove(b"k"),
            lambda: a.delete(table),
            lambda: a.delete(q),
            lambda: a.publish([q], b"x"),
            q.purge,
            lambda: q.declared,
            lambda: left.enqueue(q, b"x"),
            lambda: left.put_object("kind", "name", b"x"),
            lambda: left.declare("other"),
            left.commit,
        ]
        world.gates["a"].mute = True
        await b.promote()
        for op in (pending.op, objects_op):
            with pytest.raises(InDoubt):
                await asyncio.wait_for(waited(op), SOON_S)
        for call in (*old, a.transaction, lambda: objects.delete("kind", "name")):
            with pytest.raises(NotPrimary):
                call()
        world.gates["a"].mute = world.gates["b"].mute = False
        await until(lambda: a.role is Role.READY and world.members() == {"a", "b"})
        as_backup = a.table("t")
        await b.table("t").put(b"k", b"of b")
        await a.promote()
        for call in (*old, lambda: as_backup.put(b"k", b"2")):
            with pytest.raises(StaleHandle) as stale:
                call()
            assert stale.value.current == 3
        left.rollback()
        with a.transaction() as fresh:
            for use in (lambda: fresh.put(table, b"k", b"x"), lambda: fresh.enqueue(q, b"x")):
                with pytest.raises(StaleHandle):
                    use()
            fresh.put(a.table("t"), b"k", b"3")
        await fresh.op
        await objects.put("kind", "name", b"3")
        assert table.get(b"k") == as_backup.get(b"k") == b"3"
        await until(lambda: b.table("t").get(b"k") == b"3")  # It may join after that.
        assert list(published.ids) == [1] and new.queue is a.queue("new"), "what is committed is of no term"
        assert told[-2:] == [(b"k", b"of b"), (b"k", b"3")], "watchers last longer than a term"

    run(main)


def test_a_handle_of_a_backup_never_publishes() -> None:
    """The handle was made while this node was a backup."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        await a.declare("q").enqueue(b"1")
        handle = b.queue("q")
        assert handle.generation == 0
        await b.promote()
        with pytest.raises(StaleHandle, match="while this node was a backup"):
            handle.enqueue(b"2")
        assert handle.get(1) == b"1"
        assert (await b.queue("q").enqueue(b"2")).generation == 2

    run(main)


def test_what_was_collected_in_the_turn_of_a_step_down_is_in_doubt_and_gone() -> None:
    """A publish, and a dequeue and a move that were already operations, do not take effect in any later term."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue, other = a.declare("q"), a.declare("other")
        await queue.enqueue_many([b"1", b"2", b"3"])
        ops = [queue.dequeue(1), queue.move(2, other), queue.enqueue(b"too late")]
        told: list[object] = []
        for op in ops:
            op.add_safe_callback(lambda op, error: told.append(error))
        a._runtime.replica.step_down("the test wants it")
        with pytest.raises(NotPrimary):
            queue.enqueue(b"too late as well")
        a._parts.engine.driver.run()  # Send the answers before the turn ends.
        assert (queue.depth, queue.next_id) == (1, 4), "the queue holds no collected publish"
        for op in ops:
            with pytest.raises(InDoubt):
                await asyncio.wait_for(waited(op), SOON_S)
            with pytest.raises(InDoubt):
                op.receipt()
            assert op.done
            assert not op.safe
        assert [type(error) for error in told] == [InDoubt] * 3
        await a.promote()
        assert [d for _, d in a.queue("q")] == [b"3"]
        assert (await a.queue("q").enqueue(b"4")).generation == 2
        assert [d for _, d in queue] == [b"3", b"4"]

    run(main)


def test_a_flush_in_the_turn_of_a_step_down_publishes_nothing() -> None:
    """An explicit flush, or one caused by a read of the queue: collected publishes are in doubt, and the call returns."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue, other = a.declare("q"), a.declare("other")
        ops = [queue.enqueue(b"too late"), other.enqueue(b"too late")]
        a._runtime.replica.step_down("the test wants it")
        queue.flush()
        assert other.get(1) is None
        for op in ops:
            with pytest.raises(InDoubt):
                await asyncio.wait_for(waited(op), SOON_S)
        await a.promote()
        assert [a.queue(name).depth for name in ("q", "other")] == [0, 0]

    run(main)


def test_an_op_outlives_the_tasks_that_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """One of three is cancelled: the others are answered, and nothing is logged as a callback that raised."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue = a.declare("q")
        await queue.enqueue(b"1")
        world.gates["b"].mute = True
        op = queue.enqueue(b"2")
        waiting = [asyncio.create_task(waited(op)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waited(op), 0.01)
        assert not op.done
        receipt = await asyncio.wait_for(waited(op), SOON_S)  # Without b, once it is removed.
        assert [await task for task in (waiting[0], waiting[2])] == [receipt] * 2
        assert waiting[1].cancelled()
        assert op.receipt() == receipt == await op

    with caplog.at_level(logging.ERROR):
        run(main)
    assert not [record for record in caplog.records if "callback" in record.getMessage()]


def in_a_thread(call: Callable[[], object]) -> BaseException | None:
    """Return the exception that the call raises in another thread."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_every_method_is_refused_from_another_thread() -> None:
    """The refusal reads no state; the documented ways to call from a thread work."""

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        queue, other = a.declare("q"), a.declare("other")
        await queue.enqueue(b"1")
        op = queue.enqueue(b"2")
        calls: list[Callable[[], object]] = [
            *changes(queue, other)[:-1],
            lambda: queue.read(1),
            lambda: queue.get(1),
            lambda: list(queue),
            queue.flush,
            lambda: op.add_safe_callback(print),
            op.receipt,
            lambda: asyncio.run(waited(op)),
            lambda: a.declare("new"),
            lambda: a.queue("q"),
            a.status,
            lambda: asyncio.run(a.promote()),
            lambda: asyncio.run(a.demote()),
            lambda: asyncio.run(a.stop()),
        ]
        for call in calls:
            error = in_a_thread(call)
            assert isinstance(error, WrongThread), (call, error)
            assert isinstance(error, CallerError)
            assert "call_soon_threadsafe" in str(error)
        assert [d for _, d in queue] == [b"1", b"2"]
        assert a.serving
        await op
        loop = asyncio.get_running_loop()

        async def publish() -> object:
            return await queue.enqueue(b"3")

        def from_a_thread() -> Any:
            loop.call_soon_threadsafe(queue.enqueue, b"4")
            return asyncio.run_coroutine_threadsafe(publish(), loop).result(SOON_S)

        await loop.run_in_executor(None, from_a_thread)
        await until(lambda: queue.depth == 4)
        assert sorted(d for _, d in queue) == [b"1", b"2", b"3", b"4"]

    run(main)


def test_threads_that_publish_neither_lose_nor_repeat_anything() -> None:
    """Many threads publish while the loop is busy: every call is refused, and no id is used."""

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        queue = a.declare("q")
        refused: list[int] = []

        def work() -> None:
            for _ in range(500):
                try:
                    queue.enqueue(b"x")
                except WrongThread:
                    refused.append(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        ops = []
        while any(thread.is_alive() for thread in threads):
            ops.append(queue.enqueue(b"ours"))
            await asyncio.sleep(0)
        assert len(refused) == 2000
        for op in ops:
            await op
        assert [d for _, d in queue] == [b"ours"] * len(ops)

    run(main)


def test_nodes_of_one_process_may_run_in_different_threads_and_loops() -> None:
    """A node belongs to the thread and the loop in which it was started."""

    async def main(world: World) -> None:
        await world.cluster("a")
        seen: list[Node] = []

        async def elsewhere() -> None:
            async with World() as other:
                (b,) = await other.cluster("b")
                await b.declare("q").enqueue(b"1")
                seen.append(b)

        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: asyncio.run(elsewhere()))
        assert len(seen) == 1

    run(main)
