"""A barrier: complete when everything that was done before it is, in doubt when the role ends first."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import born
from qpidha.core.ready import Safe, Settled
from qpidha.errors import InDoubt, NotPrimary
from qpidha.journal import Remove
from qpidha.node.barrier import barrier
from qpidha.node.queue import Queue
from qpidha.types import Generation, QueueSpec
from tests.support.node_parts import Seat, run, turns

QUEUE = born(1, 1)
AB = frozenset({"a", "b"})


def pass_barrier(seat: Seat) -> asyncio.Task[Generation]:
    """A barrier that begins at the next turn of the loop."""
    parts = SimpleNamespace(runtime=seat.runtime, engine=seat.engine, handles=seat.handles)
    return asyncio.ensure_future(barrier(parts))  # type: ignore[arg-type]


def declared(seat: Seat) -> Queue:
    seat.core.declare(QueueSpec(name="q"))
    seat.turn()
    return seat.handles.of(QUEUE)


def waits_for_b() -> tuple[Seat, Queue]:
    """Primary a with one queue: what it does now is complete when member b has it, as the test says."""
    seat = Seat().enter().lead("b")
    return seat, declared(seat)


def safe(seat: Seat, upto: int) -> None:
    seat.effects.complete(Safe(QUEUE, upto, 1, AB))


def settled(seat: Seat) -> None:
    assert seat.core.primary is not None
    seat.effects.complete(Settled(seat.core.primary.position, 1, AB))


def test_a_primary_whose_operations_are_all_safe_waits_for_what_members_acknowledge_now() -> None:
    """One that was cut off, and does not know of its successor, has no other operations that wait (Q7)."""

    async def main() -> None:
        seat, queue = waits_for_b()
        settled(seat)
        assert queue.declared.safe
        passing = pass_barrier(seat)
        await turns()
        assert not passing.done()
        settled(seat)
        assert await passing == 1

    run(main())


def test_a_barrier_changes_nothing() -> None:
    async def main() -> None:
        seat = Seat().enter().lead(generation=7)
        seat.turn()
        seat.persisted.clear()
        before = {queue.queue: (queue.next, list(queue.held)) for queue in seat.core.queues.values()}
        passing = pass_barrier(seat)
        await turns()
        seat.turn()
        assert await passing == 7
        assert [change for change in seat.persisted if not isinstance(change, Remove) or change.ids] == []
        assert {queue.queue: (queue.next, list(queue.held)) for queue in seat.core.queues.values()} == before

    run(main())


def test_what_was_collected_in_this_turn_is_published_before_the_barrier() -> None:
    async def main() -> None:
        seat = Seat().enter().lead()
        queue = declared(seat)
        op = queue.enqueue(b"1")
        passing = pass_barrier(seat)
        await turns()
        assert seat.core.queues[QUEUE].next == 2, "it was flushed"
        assert not passing.done()
        seat.turn()
        assert await passing == 1
        assert op.safe

    run(main())


@pytest.mark.parametrize("publishes_first", [True, False])
def test_a_barrier_waits_for_publishes_and_for_accepts(publishes_first: bool) -> None:
    async def main() -> None:
        seat, queue = waits_for_b()
        queue.enqueue_many(Batch.pack([b"1", b"2"]))
        passing = pass_barrier(seat)
        await turns()
        complete = [lambda: safe(seat, 2), lambda: settled(seat)]
        first, second = complete if publishes_first else complete[::-1]
        first()
        await turns()
        assert not passing.done()
        second()
        assert await passing == 1

    run(main())


def test_a_barrier_does_not_wait_for_what_is_done_after_it() -> None:
    async def main() -> None:
        seat, queue = waits_for_b()
        queue.enqueue(b"1")
        passing = pass_barrier(seat)
        await turns()
        settled(seat)
        seat.turn()
        later = queue.enqueue(b"2")
        queue.flush()
        safe(seat, 1)
        assert await passing == 1
        assert not later.safe

    run(main())


def test_a_barrier_waits_for_what_was_accepted() -> None:
    async def main() -> None:
        seat, queue = waits_for_b()
        queue.enqueue(b"1")
        queue.flush()
        safe(seat, 1)
        settled(seat)
        accepted = queue.dequeue(SequenceSet([1]))
        passing = pass_barrier(seat)
        await turns()
        assert not passing.done()
        settled(seat)
        assert await passing == 1
        assert accepted.safe

    run(main())


def test_a_barrier_is_in_doubt_when_the_node_steps_down() -> None:
    async def main() -> None:
        seat, queue = waits_for_b()
        queue.enqueue(b"1")
        passing = pass_barrier(seat)
        await turns()
        seat.see(2, "b", "a", "b")
        with pytest.raises(InDoubt, match="no longer primary of generation 1"):
            await passing

    run(main())


def test_a_barrier_that_was_half_passed_is_in_doubt_as_well() -> None:
    async def main() -> None:
        seat, queue = waits_for_b()
        queue.enqueue(b"1")
        passing = pass_barrier(seat)
        await turns()
        settled(seat)
        await turns()
        seat.see(2, "b", "a", "b")
        with pytest.raises(InDoubt):
            await passing

    run(main())


def test_a_backup_has_no_barrier_and_says_who_is_primary() -> None:
    async def main() -> None:
        seat = Seat().enter().see(3, "b", "a", "b")
        with pytest.raises(NotPrimary) as caught:
            await pass_barrier(seat)
        assert caught.value.primary == "b"
        assert caught.value.address == ("127.0.0.1", 5000 + ord("b"))

    run(main())


def test_a_primary_whose_broker_has_not_opened_has_no_barrier() -> None:
    async def main() -> None:
        seat = Seat().enter().lead()
        seat.runtime.broker_generation = 0
        with pytest.raises(NotPrimary):
            await pass_barrier(seat)

    run(main())


def test_a_barrier_that_is_cancelled_disturbs_no_other() -> None:
    async def main() -> None:
        seat, queue = waits_for_b()
        queue.enqueue(b"1")
        cancelled, passing = pass_barrier(seat), pass_barrier(seat)
        await turns()
        cancelled.cancel()
        await asyncio.wait({cancelled})
        assert cancelled.cancelled()
        settled(seat)
        safe(seat, 1)
        assert await passing == 1

    run(main())
