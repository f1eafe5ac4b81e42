"""Queues, tables and fan-out of a node: names are shared, deletion is one operation, what is pending completes."""

from __future__ import annotations

import pytest

from qpidha import Settle
from qpidha.errors import ArgumentError, NotPrimary, QueueMismatch, StaleHandle, UnknownQueue
from tests.support.content_parts import Room
from tests.support.harness import World, until
from tests.support.harness import run as run_world
from tests.support.node_parts import run


def test_a_queue_is_declared_once_and_found_by_its_name() -> None:
    async def main() -> None:
        room = Room().lead()
        q = room.declare("q", settle=Settle.IMMEDIATE)
        assert room.declare("q", settle=Settle.IMMEDIATE) is q is room.queue("q")
        assert room.queues == [q]
        with pytest.raises(QueueMismatch, match="exists with settle IMMEDIATE"):
            room.declare("q")
        with pytest.raises(UnknownQueue, match=r"no queue 'x' .*on node 'a'"):
            room.queue("x")
        with pytest.raises(ArgumentError, match="name must be text"):
            room.queue(1)  # type: ignore[arg-type]
        assert room.renew_listener("q") is False
        declared = q.declared
        room.turn()
        assert declared.safe

    run(main())


def test_queues_and_tables_share_their_names() -> None:
    async def main() -> None:
        room = Room().lead()
        room.declare("q")
        table = room.table("t")
        assert room.table("t") is table
        with pytest.raises(QueueMismatch, match="'q' is a queue, no table"):
            room.table("q")
        with pytest.raises(QueueMismatch, match="'t' is a table, no queue") as caught:
            room.declare("t")
        assert (caught.value.existing.kind, caught.value.asked.kind) == ("$table", "fifo")
        with pytest.raises(UnknownQueue, match="no queue 't'"):
            room.queue("t")

    run(main())


def test_a_table_that_is_watched_by_name_tells_at_once_what_is_in_it_and_then_what_changes() -> None:
    async def main() -> None:
        room = Room().lead()
        room.table("t").put(b"1", b"there")
        room.table("other").put(b"1", b"other")
        room.turn()
        told: list[object] = []
        for name in ("t", "later", "a queue"):
            room.watch_table(name, lambda *change, name=name: told.append((name, *change)))  # type: ignore[misc]
        assert told == [("t", b"1", b"there")]
        room.declare("a queue")
        with room.transaction() as t:
            t.put(room.table("t"), b"2", b"new")
            t.put(room.table("later"), b"1", b"new")
        room.turn()
        assert sorted(told[1:]) == [("later", b"1", b"new"), ("t", b"2", b"new")]  # type: ignore[type-var]
        told.clear()
        room.delete(room.table("t"))
        room.table("t").put(b"3", b"another")
        room.turn()
        assert told == [("t", b"1", None), ("t", b"2", None), ("t", b"3", b"another")]

    run(main())


def test_what_cannot_be_watched_is_refused() -> None:
    async def main() -> None:
        room = Room().lead()
        with pytest.raises(ArgumentError, match="name must be"):
            room.watch_table("", print)
        with pytest.raises(ArgumentError, match="callback must be"):
            room.watch_table("t", None)  # type: ignore[arg-type]

    run(main())


def test_a_backup_makes_nothing() -> None:
    async def main() -> None:
        room = Room()
        assert room.configuration is room.configuration
        with pytest.raises(UnknownQueue, match=r"no table 't' .*on node 'a'"):
            room.table("t")
        for call in (lambda: room.declare("q"), room.transaction):
            with pytest.raises(NotPrimary):
                call()

    run(main())


def test_one_message_to_several_queues_is_one_operation() -> None:
    async def main() -> None:
        room = Room().lead()
        q, n = room.declare("q"), room.declare("n")
        n.enqueue(b"before")
        op = room.publish([n, q], b"fan", b"p")
        assert list(op.ids) == [2]
        assert list(q.messages()) == [(1, b"fan", b"p")]
        assert list(n.messages()) == [(1, b"before", b""), (2, b"fan", b"p")]
        room.turn()
        assert op.safe
        with pytest.raises(ArgumentError, match="at least one queue"):
            room.publish([], b"")

    run(main())


def test_a_deletion_moves_what_is_left_or_drops_it() -> None:
    async def main() -> None:
        room = Room().lead()
        q, n, gone = room.declare("q"), room.declare("n"), room.declare("gone")
        q.enqueue_many([b"1", b"2"])
        n.enqueue(b"0")
        gone.enqueue(b"x")
        op, other = room.delete(q, to=n), room.delete(gone)
        assert list(n) == [(1, b"0"), (2, b"1"), (3, b"2")]
        assert room.queues == [n]
        room.turn()
        assert op.safe and other.safe
        again = room.declare("q")
        assert (again.depth, again.next_id) == (0, 1)
        assert again.id != q.id

    run(main())


def test_publishes_that_are_pending_in_a_deleted_queue_complete_and_its_handle_only_reads() -> None:
    async def main() -> None:
        room = Room().lead()
        q, n = room.declare("q"), room.declare("n")
        publish, accept = q.enqueue(b"1"), q.dequeue(())
        room.delete(q)
        assert not publish.done
        assert q.generation == -1
        calls = (
            lambda: q.enqueue(b""),
            lambda: q.dequeue(1),
            q.purge,
            lambda: q.declared,
            lambda: q.move((), n),
            lambda: n.move((), q),
            lambda: room.delete(q),
            lambda: room.delete(n, to=q),
        )
        for call in calls:
            with pytest.raises(UnknownQueue, match="queue 'q' was deleted"):
                call()
        room.turn()
        assert publish.safe and accept.safe
        assert room.seat.handles.made(q.id) is None
        assert list(q) == [(1, b"1")]

    run(main())


def test_a_deletion_is_refused_for_what_is_not_of_this_node_or_term() -> None:
    async def main() -> None:
        room, other = Room().lead(), Room(id="z").lead()
        q, table, foreign = room.declare("q"), room.table("t"), other.declare("q")
        calls = (
            (lambda: room.delete("q"), "queue must be a queue or a table"),  # type: ignore[arg-type]
            (lambda: room.delete(q, to=table), "to must be"),  # type: ignore[arg-type]
            (lambda: room.delete(q, to=q), "to must be another queue"),
            (lambda: room.delete(table, to=q), "must be no table"),
            (lambda: room.delete(foreign), "is not of node 'a'"),
            (lambda: room.delete(q, to=foreign), "is not of node 'a'"),
        )
        for call, message in calls:
            with pytest.raises(ArgumentError, match=message):
                call()
        table.generation = 7
        with pytest.raises(StaleHandle):
            room.delete(table)
        assert room.queues == [q]
        table.generation = 1
        room.delete(table)
        assert room.table("t") is not table, "another one of the same name"

    run(main())


def test_a_purge_completes_no_publish_before_it_is_safe_itself() -> None:
    """Also with settle immediate: nobody consumed the messages, so a failover that undoes the purge must have them."""

    async def main() -> None:
        room = Room().lead("b")
        q = room.declare("q", settle=Settle.IMMEDIATE)
        room.turn()
        published = q.enqueue(b"1")
        room.turn()
        purged = q.purge()
        room.turn()
        assert not published.safe and not purged.safe and q.depth == 0

    run(main())


def test_a_purge_drops_all_that_is_held_also_what_was_published_in_this_turn() -> None:
    async def main() -> None:
        room = Room().lead()
        q = room.declare("q")
        q.enqueue_many([b"1", b"2"])
        room.turn()
        q.enqueue(b"3")
        op = q.purge()
        assert (q.depth, list(op.ids)) == (0, [1, 2, 3])
        room.turn()
        assert op.safe
        assert q.purge().ids == range(0)

    run(main())


def test_primary_and_backup_watch_and_a_flip_that_takes_a_change_back_is_told() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        told: dict[str, list[object]] = {"a": [], "b": []}
        await a.table("t").put(b"k", b"kept")
        for node in (a, b):
            node.table("t").on_change(lambda *x, n=node.id: told[n].append(x))  # type: ignore[misc]
            node.configuration.on_change(lambda *x, n=node.id: told[n].append(x))  # type: ignore[misc]
        await a.table("t").put(b"k", b"1")
        await a.configuration.put("u", "n", b"v")
        await until(lambda: len(told["b"]) == 2)
        assert told["a"] == told["b"] == [(b"k", b"1"), ("u", "n", b"v")]
        world.gates["a"].mute = True  # What follows reaches no backup.
        lost = a.table("t").put(b"k", b"lost"), a.configuration.delete("u", "n")
        await until(lambda: len(told["a"]) == 4)
        await b.promote()
        await until(lambda: b.serving)
        world.gates["a"].mute = False
        await until(lambda: a.status().in_sync and a.table("t").get(b"k") == b"1")
        await until(lambda: len(told["a"]) == 6)
        assert set(told["a"][4:]) == {(b"k", b"1"), ("u", "n", b"v")}
        assert all(not op.safe for op in lost)
        assert a.configuration.objects() == b.configuration.objects() == [("u", "n", b"v")]
        assert len(told["b"]) == 2

    run_world(main)
