"""The methods of a node, from a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from qpidha import (
    ArgumentError,
    CallTimeout,
    InDoubt,
    NotPrimary,
    Op,
    OpTimeout,
    PromotionRefused,
    QueueMismatch,
    Settle,
    SyncOp,
    UnknownQueue,
    Verdict,
    WrongThread,
)
from qpidha.errors import LocalProtocolError, NodeStopped, WaitTimeout
from qpidha.queues import FifoQueue
from tests.support.harness import PATIENT
from tests.support.threads import Worker, answered, count_time_from_the_begin, nodes


def test_queues() -> None:
    with nodes("a", "b") as (_, _, (a, _)):
        sync = a.sync
        queue = sync.declare("q", settle=Settle.IMMEDIATE)
        other = sync.declare("other")
        assert sync.queue("q").id == queue.id
        assert [each.name for each in sync.queues] == ["q", "other"]
        assert sync.publish([queue, other], b"1", b"p").safe().ids == range(1, 2)
        assert list(queue) == list(other) == [(1, b"1")]
        sync.delete(other, to=queue).safe()
        assert len(list(queue)) == 2
        table = sync.table("t")
        sync.delete(table)
        assert sync.renew_listener("q") is False
        with pytest.raises(QueueMismatch):
            sync.declare("q")
        for missing in (sync.queue, sync.renew_listener):
            with pytest.raises(UnknownQueue):
                missing("other")
        with pytest.raises(ArgumentError, match="queues"):
            sync.publish(queue, b"1")  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="queues"):
            sync.publish([a.configuration], b"1")  # type: ignore[list-item]
        with pytest.raises(ArgumentError, match="queue"):
            sync.delete("q")  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="to"):
            sync.delete(queue, to="other")  # type: ignore[arg-type]
        assert sync.barrier() == 1


def test_questions_about_messages() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        queue = a.sync.declare("q")
        queue.enqueue(b"1").safe()
        for asked in (queue, queue.id, "q"):
            assert a.sync.why(asked, 1).verdict is Verdict.SAFE
            assert a.sync.why(asked, 1, 1).generation == 1
            assert a.sync.unconfirmed(asked).publishes == ()
        assert b.sync.why("q", 9).verdict is Verdict.NOT_HERE
        assert a.sync.unconfirmed(queues_max=1).as_primary and not b.sync.unconfirmed().as_primary
        with pytest.raises(ArgumentError):
            a.sync.why(7, 1)  # type: ignore[arg-type]


def test_roles_waits_and_the_end() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        a.sync.wait_serving()
        b.sync.wait_in_sync(20.0)
        with pytest.raises(WaitTimeout):
            b.sync.wait_serving(0.01)
        with pytest.raises(NotPrimary):
            b.sync.barrier()
        a.sync.demote()
        b.sync.promote(timeout_s=20.0)
        assert b.sync.serving and b.sync.status(queues_max=0).role in ("active", "recovering")
        with pytest.raises(ArgumentError, match="why"):
            a.sync.give_place_away(5)  # type: ignore[arg-type]
        a.sync.wait_in_sync(20.0)
        b.sync.give_place_away("for a test")
        waiting = [Worker(a.sync.wait_stopped), Worker(b.sync.wait_stopped)]
        a.sync.stop()
        b.sync.stop()
        assert [worker.join() for worker in waiting] == [None, None]
        assert a.sync.wait_stopped().reason == "it was asked to stop"
        for refused in (a.sync.wait_serving, a.sync.barrier, lambda: a.sync.declare("q")):
            with pytest.raises((NodeStopped, NotPrimary)):
                refused()
        with pytest.raises((PromotionRefused, LocalProtocolError)):
            a.sync.promote()
        assert a.sync.status().role == "stopped"


def test_a_limit_for_every_call() -> None:
    with nodes("a", "b") as (thread, _, (a, b)):
        quick = a.sync.within(0.05)
        queue, table = answered(lambda: quick.declare("q")), answered(lambda: quick.table("t"))
        objects, t = quick.configuration, answered(quick.transaction)
        blocked, let_go = threading.Event(), threading.Event()
        thread.post(lambda: (blocked.set(), let_go.wait(20.0)))
        assert blocked.wait(20.0)
        began = time.monotonic()
        for call in (
            lambda: quick.queue("q"),
            lambda: queue.enqueue(b"1"),
            lambda: table.put(b"k", b"v"),
            lambda: objects.get("k", "n"),
            t.commit,
        ):
            with pytest.raises(WaitTimeout, match="nothing was changed"):
                call()
        assert time.monotonic() - began < 5
        let_go.set()
        a.sync.barrier()
        assert list(a.sync.queue("q")) == [] and len(table) == 0  # They were withdrawn.
        with pytest.raises(WaitTimeout):
            quick.wait_stopped()
        with pytest.raises(ArgumentError):
            quick.within("1")  # type: ignore[arg-type]
        assert b.sync.within(0.01).within(None).status().node == "b"


def test_a_change_that_the_loop_has_begun_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes("a") as (_, _, (a,)):

        async def long(**_: object) -> None:
            await asyncio.sleep(30)

        monkeypatch.setattr(a, "demote", long)
        count_time_from_the_begin(monkeypatch)
        with pytest.raises(CallTimeout, match="may have been made"):
            a.sync.within(0.05).demote(timeout_s=0)


def test_it_is_the_same_object_and_refuses_its_own_loop() -> None:
    with nodes("a") as (thread, _, (a,)):
        assert a.sync is a.sync

        async def main() -> None:
            with pytest.raises(WrongThread, match=r"SyncNode\.declare was called in the node's event loop"):
                a.sync.declare("q")
            with pytest.raises(WrongThread, match=r"SyncNode\.queues"):
                _ = a.sync.queues

        thread.run(main())
        assert a.sync.queues == []


def test_a_function_runs_in_one_turn() -> None:
    """What it reads is what it changes: of many threads that add one, none is lost."""
    with nodes("a", "b") as (_, _, (a, _)):
        sync, table = a.sync, a.sync.run(lambda: a.table("counters"))

        def add() -> SyncOp:
            value = int(table.get(b"n") or 0)
            return sync.op(table.put(b"n", b"%d" % (value + 1)))

        workers = [Worker(lambda: [sync.run(add).safe() for _ in range(20)]) for _ in range(4)]
        assert [worker.join() for worker in workers] == [None] * 4
        assert sync.table("counters").get(b"n") == b"80"


def test_a_function_that_changes_something_returns_when_that_is_safe() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        table = a.sync.run(lambda: a.table("counters"))

        def add() -> tuple[int, Op]:
            value = int(table.get(b"n") or 0)
            return value, table.put(b"n", b"%d" % (value + 1))

        workers = [Worker(lambda: [a.sync.run_safe(add) for _ in range(20)]) for _ in range(4)]
        assert [worker.join() for worker in workers] == [None] * 4
        seen = [value for worker in workers for value in worker.result]  # type: ignore[attr-defined]
        assert sorted(seen) == list(range(80))
        assert b.sync.table("counters").get(b"n") == b"80", "each was safe when it was told"
        assert a.sync.run_safe(lambda: ("nothing to wait for", None)) == "nothing to wait for"
        op = a.sync.run(lambda: table.put(b"n", b"0"))
        assert a.sync.run_safe(lambda: (1, op)) == a.sync.run_safe(lambda: (1, op)) == 1


def test_a_change_by_a_function_that_is_not_safe() -> None:
    with nodes("a", "b", settings=PATIENT) as (_, world, (a, _)):
        queue = a.sync.run_safe(lambda: (made := a.declare("q"), made.declared))
        world.gates["b"].mute = True
        with pytest.raises(CallTimeout, match=r"SyncNode\.run_safe.*may have been made"):
            a.sync.within(0.05).run_safe(lambda: (None, queue.enqueue(b"1")))
        pending = Worker(lambda: a.sync.run_safe(lambda: (None, queue.enqueue(b"2"))))
        while a.sync.queue("q").next_id < 3:
            time.sleep(0.01)
        a.sync.stop()
        assert isinstance(pending.join(), InDoubt)


def test_a_change_by_a_function_ends_with_the_time_of_its_op() -> None:
    with nodes("a", "b", settings=replace(PATIENT, op_timeout_s=0.05)) as (_, world, (a, _)):
        queue = a.sync.run(lambda: a.declare("q"))
        world.gates["b"].mute = True
        with pytest.raises(OpTimeout, match=r"not safe after 0\.05 s"):
            a.sync.run_safe(lambda: (None, queue.enqueue(b"1")))
        world.gates["b"].mute = False


def test_what_a_function_that_makes_a_change_raises() -> None:
    with nodes("a") as (_, _, (a,)):
        with pytest.raises(ZeroDivisionError):
            a.sync.run_safe(lambda: (1 // 0, None))
        with pytest.raises(ArgumentError, match="work must be a function"):
            a.sync.run_safe(5)  # type: ignore[arg-type]


def test_a_function_uses_queue_types_in_the_loop() -> None:
    with nodes("a") as (_, _, (a,)):
        fifo = a.sync.run(lambda: FifoQueue(a.declare("q")))
        a.sync.queue("q").enqueue(b"1").safe()
        ids, batch = a.sync.run(fifo.acquire) or ((), ())
        assert list(batch) == [b"1"]
        a.sync.run(lambda: a.sync.op(fifo.accept(ids))).safe()  # type: ignore[arg-type]
        assert list(a.sync.queue("q")) == []


def test_what_a_function_raises_and_what_is_no_function() -> None:
    with nodes("a") as (thread, _, (a,)):

        async def coroutine() -> None: ...

        with pytest.raises(ZeroDivisionError):
            a.sync.run(lambda: 1 // 0)
        for wrong in (coroutine, 5):
            with pytest.raises(ArgumentError, match="work must be a function"):
                a.sync.run(wrong)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="op must be"):
            a.sync.op(a.sync.declare("q").declared)  # type: ignore[arg-type]
        op = a.sync.run(lambda: a.declare("q").declared)
        with pytest.raises(WrongThread, match=r"SyncNode\.op"):
            a.sync.op(op)

        async def main() -> None:
            with pytest.raises(WrongThread, match=r"SyncNode\.run"):
                a.sync.run(lambda: None)

        thread.run(main())


def test_a_function_that_is_not_begun_in_time_is_withdrawn() -> None:
    with nodes("a") as (thread, _, (a,)):
        blocked, let_go, made = threading.Event(), threading.Event(), []
        thread.post(lambda: (blocked.set(), let_go.wait(20.0)))
        assert blocked.wait(20.0)
        with pytest.raises(WaitTimeout, match=r"SyncNode\.run.*nothing was changed"):
            a.sync.within(0.05).run(lambda: made.append(1))
        let_go.set()
        a.sync.barrier()
        assert made == []
