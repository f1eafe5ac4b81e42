"""A transaction of a thread: collected there, made in one turn of the loop, wholly or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qpidha import (
    ArgumentError,
    CallTimeout,
    InDoubt,
    MessagesGone,
    NotPrimary,
    StaleHandle,
    SyncNode,
    SyncTransaction,
    UnknownQueue,
)
from qpidha.errors import LocalProtocolError, WaitTimeout
from qpidha.node.sync.loopcalls import LoopCalls
from tests.support.threads import nodes


def test_every_kind_of_call_in_one_operation() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        sync = a.sync
        work, done, old, table = (
            sync.declare("work"),
            sync.declare("done"),
            sync.declare("old"),
            sync.table("t"),
        )
        work.enqueue_many([b"1", b"2"])
        table.put(b"gone", b"x")
        gone = sync.table("gone")
        sync.configuration.put("k", "gone", b"x")
        old.enqueue(b"left").safe()
        before = sync.status().position
        with sync.transaction() as t:
            t.dequeue(work, [1])
            moved = t.move(work, 2, done)
            first, second = t.enqueue(done, b"3", b"p"), t.enqueue(done, bytearray(b"4"))
            new = t.declare("new")
            copies = t.publish([new, work], b"5")
            t.put(table, b"k", b"v")
            t.remove(table, b"gone")
            t.put_object("k", "n", b"v")
            t.delete_object("k", "gone")
            t.delete(old, new)
            t.delete(gone)
            with pytest.raises(LocalProtocolError, match="not committed"):
                _ = moved.ids
            with pytest.raises(LocalProtocolError, match="not committed"):
                _ = new.queue
            with pytest.raises(LocalProtocolError, match="is open"):
                _ = t.op
        assert t.op.safe().nodes == {"a", "b"}
        assert sync.status().position == before + 1
        for node in (a.sync, b.sync):
            assert list(node.queue("done")) == [(1, b"2"), (2, b"3"), (3, b"4")]
            assert list(node.queue("work")) == [(3, b"5")]
            assert [data for _, data in node.queue("new")] == [b"5", b"left"]
            assert dict(node.table("t").items()) == {b"k": b"v"}
            assert node.configuration.objects() == [("k", "n", b"v")]
            with pytest.raises(UnknownQueue):
                node.queue("old")
        assert [part.ids for part in (moved, first, second, copies)] == [
            range(1, 2), range(2, 3), range(3, 4), range(1, 2),
        ]  # fmt: skip
        assert new.name == new.queue.name == "new"
        assert "12 calls that was committed" in repr(t)


def test_an_exception_rolls_back() -> None:
    with nodes("a") as (_, _, (a,)):
        queue = a.sync.declare("q")
        with pytest.raises(ZeroDivisionError), a.sync.transaction() as t:
            t.enqueue(queue, b"1")
            _ = 1 / 0
        assert list(queue) == []
        with pytest.raises(LocalProtocolError, match="was rolled back"):
            t.commit()
        with pytest.raises(LocalProtocolError, match="was rolled back"):
            _ = t.op


def test_a_commit_that_is_refused_stores_nothing() -> None:
    with nodes("a") as (_, _, (a,)):
        queue = a.sync.declare("q")
        queue.enqueue(b"1")
        queue.dequeue(1)
        with pytest.raises(MessagesGone), a.sync.transaction() as t:
            part = t.enqueue(queue, b"2")
            t.dequeue(queue, 1)
        assert list(queue) == []
        with pytest.raises(LocalProtocolError, match="was refused"):
            t.enqueue(queue, b"3")
        with pytest.raises(LocalProtocolError):
            _ = part.ids


WRONG: dict[str, Callable[[SyncNode, SyncTransaction], object]] = {
    "queue": lambda node, t: t.enqueue(node, b"1"),  # type: ignore[arg-type]
    "data": lambda node, t: t.enqueue(node.queue("q"), "1"),  # type: ignore[arg-type]
    "queues": lambda node, t: t.publish(node.queue("q"), b"1"),  # type: ignore[arg-type]
    "queues ": lambda node, t: t.publish([node], b"1"),  # type: ignore[list-item]
    "queue ": lambda node, t: t.dequeue(node.table("t"), 1),  # type: ignore[arg-type]
    "target": lambda node, t: t.move(node.queue("q"), 1, "q"),  # type: ignore[arg-type]
    "table": lambda node, t: t.put(node.queue("q"), b"1", b"2"),  # type: ignore[arg-type]
    "key": lambda node, t: t.remove(node.table("t"), "1"),  # type: ignore[arg-type]
    "value": lambda node, t: t.put_object("k", "n", "v"),  # type: ignore[arg-type]
    "to": lambda node, t: t.delete(node.queue("q"), node.table("t")),  # type: ignore[arg-type]
    "queue  ": lambda node, t: t.delete("q"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_thread_can_see_is_refused_at_once(name: str) -> None:
    with nodes("a") as (_, _, (a,)):
        a.sync.declare("q")
        a.sync.table("t")
        t = a.sync.transaction()
        with pytest.raises(ArgumentError, match=name.strip()):
            WRONG[name](a.sync, t)
        t.rollback()


def test_what_only_the_node_can_see_is_refused_at_the_commit() -> None:
    with nodes("a") as (_, _, (a,)):
        queue = a.sync.declare("q")
        with pytest.raises(ArgumentError, match="reserved"), a.sync.transaction() as t:
            t.enqueue(queue, b"1")
            t.put_object("queue", "n", b"")
        assert list(queue) == []
        other = a.sync.transaction()
        new = other.declare("new")
        with (
            pytest.raises(LocalProtocolError, match="'new' is declared by another transaction"),
            a.sync.transaction() as t,
        ):
            t.enqueue(new, b"1")
        other.commit()
        with a.sync.transaction() as t:  # Now it is there.
            t.enqueue(new, b"1")
        assert list(new.queue) == [(1, b"1")]


def test_it_belongs_to_its_term() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        with pytest.raises(NotPrimary):
            b.sync.transaction()
        queue = a.sync.declare("q")
        t = a.sync.transaction()
        t.enqueue(queue, b"1")
        a.sync.demote()
        b.sync.promote()
        a.sync.wait_in_sync(20.0)
        b.sync.demote()
        a.sync.promote()
        with pytest.raises(StaleHandle):
            t.commit()


@pytest.mark.parametrize("error", [CallTimeout, InDoubt, WaitTimeout])
def test_a_commit_without_an_answer(error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes("a") as (_, _, (a,)):
        queue = a.sync.declare("q")
        t = a.sync.transaction()
        t.enqueue(queue, b"1")

        def lost(*_: object) -> None:
            raise error("no answer")

        monkeypatch.setattr(LoopCalls, "run", lost)
        with pytest.raises(error):
            t.commit()
        with pytest.raises(
            LocalProtocolError, match="refused" if error is WaitTimeout else "may have been committed"
        ):
            t.rollback()
        monkeypatch.undo()
