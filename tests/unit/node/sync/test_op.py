"""The outcome of a change, for threads: its receipt, or in doubt. A wait ends in time, and can be repeated."""

from __future__ import annotations

import pytest

from qpidha import ArgumentError, InDoubt, OpTimeout, Settle, WrongThread
from qpidha.errors import LocalProtocolError
from tests.support.harness import PATIENT
from tests.support.threads import SOON_S, Worker, answered, nodes


def test_a_thread_waits_until_it_is_safe() -> None:
    with nodes("a", "b") as (_, _, (a, _)):
        op = a.sync.declare("q").enqueue(b"1")
        assert op.ids == range(1, 2)
        receipt = op.safe()
        assert (receipt.ids, receipt.nodes, receipt.consumed) == (range(1, 2), {"a", "b"}, False)
        assert op.done
        assert op.receipt() == op.safe() == op.safe(0) == receipt


def test_many_threads_wait_for_one_op() -> None:
    with nodes("a", "b", settings=PATIENT) as (_, world, (a, _)):
        queue = a.sync.declare("q")
        queue.declared.safe()
        world.gates["b"].mute = True
        op = queue.enqueue(b"1")
        workers = [Worker(op.safe) for _ in range(5)]
        assert not op.done
        with pytest.raises(LocalProtocolError, match="not known yet"):
            op.receipt()
        world.gates["b"].mute = False
        queue.enqueue(b"2").safe()  # Acknowledged with all before it.
        assert [worker.join() for worker in workers] == [None] * 5
        assert {str(worker.result) for worker in workers} == {str(op.receipt())}


def test_a_wait_ends_in_time_and_the_op_stays_pending() -> None:
    with nodes("a", "b", settings=PATIENT) as (_, world, (a, _)):
        queue = a.sync.declare("q")
        queue.declared.safe()
        world.gates["b"].mute = True
        op = queue.enqueue(b"1")
        quick = answered(lambda: a.sync.within(0.01).queue("q"))
        other = answered(lambda: quick.enqueue(b"2"))
        with pytest.raises(OpTimeout, match=r"not safe after 0\.01 s"):
            op.safe(0.01)
        with pytest.raises(OpTimeout):
            op.safe(0)
        with pytest.raises(OpTimeout, match=r"not safe after 0\.01 s"):
            other.safe()
        world.gates["b"].mute = False
        queue.enqueue(b"3").safe()
        assert op.safe().nodes == other.safe(SOON_S).nodes == {"a", "b"}


def test_it_is_in_doubt_after_a_step_down() -> None:
    with nodes("a", "b", settings=PATIENT) as (_, world, (a, _)):
        queue = a.sync.declare("q")
        queue.declared.safe()
        world.gates["b"].mute = True
        op = queue.enqueue(b"1")
        waiting = Worker(op.safe)
        a.sync.stop()
        assert type(waiting.join()) is InDoubt
        assert op.done
        for again in (op.safe, op.receipt):
            with pytest.raises(InDoubt):
                again()


def test_waiting_in_the_loop_is_refused() -> None:
    with nodes("a", "b", settings=PATIENT) as (thread, world, (a, _)):
        queue = a.sync.declare("q")
        queue.declared.safe()
        world.gates["b"].mute = True
        op = queue.enqueue(b"1")

        async def main() -> None:
            with pytest.raises(WrongThread, match=r"SyncOp\.safe"):
                op.safe()

        thread.run(main())
        world.gates["b"].mute = False
        queue.enqueue(b"2").safe()
        op.safe()
        thread.run(_read(op.safe))  # The outcome is known: nothing waits.


async def _read(call: object) -> None:
    assert callable(call)
    call()


def test_an_accept_that_is_safe_at_once() -> None:
    with nodes("a") as (_, _, (a,)):
        queue = a.sync.declare("q", settle=Settle.IMMEDIATE)
        queue.enqueue(b"1").safe()
        op = queue.dequeue(1)
        assert op.done and op.receipt().nodes == frozenset()


def test_arguments_are_checked() -> None:
    with nodes("a") as (_, _, (a,)):
        op = a.sync.declare("q").enqueue(b"1")
        with pytest.raises(ArgumentError, match="timeout_s"):
            op.safe("1")  # type: ignore[arg-type]
        assert "SyncOp of <Op range(1, 2)" in repr(op)
