"""Transactions: nothing before the commit, all of it or nothing there, and one op for all of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qpidha import Settings
from qpidha.errors import (
    ArgumentError,
    CallerError,
    InDoubt,
    LocalProtocolError,
    MessagesGone,
    NotPrimary,
    StaleHandle,
    UnknownQueue,
)
from qpidha.journal import Insert
from qpidha.node.transaction import Transaction
from tests.support.content_parts import Room
from tests.support.node_parts import run


def test_all_calls_become_one_operation_with_one_op_and_ids_of_each_part() -> None:
    async def main() -> None:
        room = Room().lead()
        q, n, table = room.declare("q"), room.declare("n"), room.table("t")
        q.enqueue_many([b"1", b"2", b"3"])
        n.enqueue(b"in n")
        table.put(b"old", b"")
        room.configuration.put("k", "old", b"")
        room.turn()
        position = room.seat.core.primary.position
        with room.transaction() as t:
            first, second = t.enqueue(q, b"4"), t.enqueue(q, bytearray(b"5"), b"props")
            fan = t.publish((n, q), b"both")
            moved, none = t.move(q, [1, 2], n), t.move(q, (), n)
            t.dequeue(q, 3)
            t.put(table, b"new", b"v")
            t.remove(table, b"old")
            t.put_object("k", "new", b"o")
            t.delete_object("k", "old")
            assert (q.next_id, len(table)) == (4, 1), "nothing happens before the commit"
        assert room.seat.core.primary.position == position + 1
        assert [list(part.ids) for part in (first, second, fan, moved, none)] == [[4], [5], [2], [3, 4], []]
        assert list(q.messages()) == [(4, b"4", b""), (5, b"5", b"props"), (6, b"both", b"")]
        assert list(n) == [(1, b"in n"), (2, b"both"), (3, b"1"), (4, b"2")]
        assert list(table.items()) == [(b"new", b"v")]
        assert room.configuration.objects() == [("k", "new", b"o")]
        assert not t.op.safe
        room.turn()
        assert t.op.safe
        assert repr(t) == "<Transaction of 9 steps that was committed>"

    run(main())


def test_consecutive_publishes_to_a_queue_are_one_batch_and_another_call_ends_it() -> None:
    async def main() -> None:
        room = Room().lead()
        q, n = room.declare("q"), room.declare("n")
        q.enqueue(b"0")
        room.turn()
        before = room.stored()
        with room.transaction() as t:
            parts = [t.enqueue(q, b"1"), t.enqueue(n, b"a"), t.enqueue(q, b"2")]
            t.dequeue(q, 1)
            parts.append(t.enqueue(q, b"3"))
        assert [list(part.ids) for part in parts] == [[2], [1], [3], [4]]
        room.turn()
        inserts = [c for c in room.seat.persisted[before:] if isinstance(c, Insert)]
        assert [(c.queue, list(c.batch)) for c in inserts] == [
            (q.id, [b"1", b"2"]),
            (n.id, [b"a"]),
            (q.id, [b"3"]),
        ]

    run(main())


def test_what_a_queue_collected_before_the_commit_has_lower_ids() -> None:
    async def main() -> None:
        room = Room().lead()
        q = room.declare("q")
        with room.transaction() as t:
            part = t.enqueue(q, b"2")
            before = q.enqueue(b"1")
        assert (list(before.ids), list(part.ids)) == ([1], [2])
        assert list(q) == [(1, b"1"), (2, b"2")]

    run(main())


def test_a_queue_that_it_declares_may_be_named_by_its_other_calls_and_by_later_transactions() -> None:
    async def main() -> None:
        room = Room().lead()
        q = room.declare("q")
        q.enqueue(b"1")
        t = room.transaction()
        new = t.declare("new")
        part, moved = t.enqueue(new, b"first"), t.move(q, 1, new)
        for early in (lambda: new.queue, lambda: part.ids, lambda: t.op):
            with pytest.raises(LocalProtocolError, match="the transaction is open: nothing of it is stored"):
                early()
        with pytest.raises(LocalProtocolError, match="is open"):
            room.transaction().enqueue(new, b"of another one")
        op = t.commit()
        assert op is t.op
        assert (list(part.ids), list(moved.ids), new.name) == ([1], [2], "new")
        assert new.queue is room.queue("new")
        with room.transaction() as later:
            later.enqueue(new, b"later")
            later.delete(q, to=new)
        assert list(new.queue) == [(1, b"first"), (2, b"1"), (3, b"later")]

    run(main())


def test_a_declared_queue_that_was_deleted_since_has_no_handle() -> None:
    """Bug: `KeyError` came out of `NewQueue.queue`, and of each call that names it."""

    async def main() -> None:
        room = Room().lead()
        with room.transaction() as t:
            new = t.declare("new")
        room.delete(new.queue)
        room.turn()
        with pytest.raises(UnknownQueue, match="queue 'new' was deleted"):
            _ = new.queue
        with pytest.raises(UnknownQueue, match="queue 'new' was deleted"):
            room.transaction().enqueue(new, b"")

    run(main())


def test_queues_and_tables_are_deleted_with_what_they_hold_or_move_it_first() -> None:
    async def main() -> None:
        room = Room().lead()
        q, n, gone, table = room.declare("q"), room.declare("n"), room.declare("gone"), room.table("t")
        q.enqueue(b"left")
        gone.enqueue(b"dropped")
        with room.transaction() as t:
            t.delete(q, n)
            t.delete(gone)
            t.delete(table)
        assert [queue.name for queue in room.queues] == ["n"]
        assert list(n) == [(1, b"left")]
        with pytest.raises(UnknownQueue, match="table 't' was deleted"):
            room.transaction().put(table, b"k", b"")
        with pytest.raises(UnknownQueue, match="queue 'q' was deleted"):
            room.transaction().enqueue(q, b"")

    run(main())


def test_a_message_that_is_gone_at_the_commit_refuses_all_of_it() -> None:
    async def main() -> None:
        room = Room().lead()
        q, table = room.declare("q"), room.table("t")
        q.enqueue_many([b"1", b"2"])
        t = room.transaction()
        part = t.enqueue(q, b"3")
        t.put(table, b"k", b"")
        t.dequeue(q, [1, 2])
        q.dequeue(1)
        with pytest.raises(MessagesGone, match="of 'q' are not held any more") as caught:
            t.commit()
        assert (caught.value.queue, list(caught.value.ids)) == ("q", [1])
        assert (list(q), len(table), q.next_id) == ([(2, b"2")], 0, 3)
        with pytest.raises(LocalProtocolError, match="the transaction was refused: nothing of it is stored"):
            _ = part.ids
        with pytest.raises(LocalProtocolError, match=r"Transaction\.commit: the transaction was refused"):
            t.commit()

    run(main())


def test_an_exception_in_the_block_rolls_back() -> None:
    async def main() -> None:
        room = Room().lead()
        q = room.declare("q")
        with pytest.raises(ZeroDivisionError), room.transaction() as t:
            t.enqueue(q, b"1")
            raise ZeroDivisionError
        assert (list(q), q.next_id) == ([], 1)
        with pytest.raises(LocalProtocolError, match="was rolled back"):
            _ = t.op

    run(main())


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_after_its_end_each_call_is_refused_and_the_block_ends_in_silence(end: str) -> None:
    async def main() -> None:
        room = Room().lead()
        q, table = room.declare("q"), room.table("t")
        with room.transaction() as t:
            t.enqueue(q, b"1")
            getattr(t, end)()
        calls: list[Callable[[Transaction], object]] = [
            lambda t: t.enqueue(q, b""),
            lambda t: t.publish([q], b""),
            lambda t: t.dequeue(q, 1),
            lambda t: t.move(q, 1, q),
            lambda t: t.put(table, b"", b""),
            lambda t: t.remove(table, b""),
            lambda t: t.put_object("k", "n", b""),
            lambda t: t.delete_object("k", "n"),
            lambda t: t.declare("x"),
            lambda t: t.delete(q),
            lambda t: t.commit(),
            lambda t: t.rollback(),
        ]
        told = "was committed" if end == "commit" else "was rolled back"
        for call in calls:
            with pytest.raises(LocalProtocolError, match=rf"Transaction\.\w+: the transaction {told}$"):
                call(t)
        assert q.depth == (end == "commit")

    run(main())


def test_bad_arguments_are_refused_at_once_and_it_stays_open() -> None:
    async def main() -> None:
        room, other = Room(Settings(message_bytes_max=10)).lead(), Room(id="z").lead()
        q, table = room.declare("q"), room.table("t")
        t = room.transaction()
        calls: list[tuple[Callable[[], object], str]] = [
            (lambda: t.enqueue(table, b""), "queue must be"),  # type: ignore[arg-type]
            (lambda: t.enqueue(other.declare("q"), b""), "queue must be a queue of node 'a'"),
            (lambda: t.enqueue(q, "text"), "data must be bytes"),  # type: ignore[arg-type]
            (lambda: t.enqueue(q, b"12345", b"123456"), "at most 10 bytes .*, not 11"),
            (lambda: t.publish(q, b""), "queues must be a list or tuple"),  # type: ignore[arg-type]
            (lambda: t.publish([], b""), "queues must name at least one queue"),
            (lambda: t.dequeue(q, 1), "ids must be ids that were given out"),
            (lambda: t.move(q, (), q), "target must be another queue"),
            (lambda: t.put(q, b"", b""), "table must be"),  # type: ignore[arg-type]
            (lambda: t.put(other.table("t"), b"", b""), "table must be a table of node 'a'"),
            (lambda: t.put(table, b"12345", b"123456"), "at most 10 bytes .*, not 11"),
            (lambda: t.put_object("k", "n", b"1234567890"), "at most 10 bytes"),
            (lambda: t.remove(table, 1), "key must be bytes"),  # type: ignore[arg-type]
            (lambda: t.put_object("$k", "n", b""), "is reserved"),
            (lambda: t.delete_object("queue", "n"), "is reserved"),
            (lambda: t.declare("n", kind="$k"), "begins the library's own kinds"),
            (lambda: t.delete(1), "queue must be"),  # type: ignore[arg-type]
        ]
        for call, message in calls:
            with pytest.raises(ArgumentError, match=message):
                call()
        t.enqueue(q, b"fine")
        t.commit()
        assert list(q) == [(1, b"fine")]

    run(main())


def test_what_only_the_commit_can_see_refuses_all_of_it() -> None:
    async def main() -> None:
        room = Room(Settings(transaction_bytes_max=1000)).lead()
        q = room.declare("q")
        with pytest.raises(CallerError, match="queue 'q' exists already"), room.transaction() as t:
            t.enqueue(q, b"1")
            t.declare("q")
        with pytest.raises(ArgumentError, match="transaction_bytes_max"), room.transaction() as t:
            t.enqueue(q, bytes(1001))
        with pytest.raises(UnknownQueue, match="'q' is deleted by the same commit"), room.transaction() as t:
            t.delete(q)
            t.enqueue(q, b"")
        assert (list(q), q.next_id) == ([], 1)

    run(main())


def test_a_transaction_without_calls_is_safe_when_everything_before_it_is() -> None:
    async def main() -> None:
        room = Room().lead()
        with room.transaction() as t:
            pass
        room.turn()
        assert t.op.safe

    run(main())


def test_after_a_step_down_what_was_committed_is_in_doubt_and_an_open_one_is_refused() -> None:
    async def main() -> None:
        room = Room().lead("b")
        q = room.declare("q")
        with room.transaction() as t:
            t.enqueue(q, b"1")
        left = room.transaction()
        left.enqueue(q, b"2")
        room.turn()
        assert not t.op.done
        room.follow()
        with pytest.raises(InDoubt, match="no longer primary of generation 1"):
            t.op.receipt()
        with pytest.raises(NotPrimary):
            left.commit()
        left.rollback()  # A broker that cleans up in `on_demote` may end it.
        with pytest.raises(LocalProtocolError, match="was rolled back"):
            left.commit()

    run(main())


def test_one_of_an_earlier_term_is_refused() -> None:
    async def main() -> None:
        room = Room().lead()
        left = room.transaction()
        left._generation = 7
        with pytest.raises(
            StaleHandle, match="begun in generation 7, and the node is now in generation 1"
        ) as caught:
            left.commit()
        assert (caught.value.generation, caught.value.current) == (7, 1)

    run(main())


def test_what_was_published_in_the_same_turn_is_named_like_everything_else() -> None:
    """A range with steps names what is held: an accept of collected messages took only the last."""

    async def main() -> None:
        room = Room().lead()
        q, n = room.declare("q"), room.declare("n")
        for data in (b"1", b"2", b"3", b"4", b"5", b"6"):
            q.enqueue(data)
        with room.transaction() as t:
            t.dequeue(q, range(1, 6, 2))
        assert [data for _, data in q] == [b"2", b"4", b"6"]
        for data in (b"7", b"8", b"9"):
            q.enqueue(data)
        with room.transaction() as t:
            t.move(q, range(7, 10, 2), n)
            t.update(q, [8], [b"props"])
        assert [data for _, data in n] == [b"7", b"9"]
        for data in (b"10", b"11", b"12"):
            q.enqueue(data)
        with room.transaction() as t:
            t.update(q, range(11, 14, 2), b"every second one")
        assert [props for _, _, props in q.messages()] == [
            b"",
            b"",
            b"",
            b"props",
            b"every second one",
            b"",
            b"every second one",
        ]

    run(main())
