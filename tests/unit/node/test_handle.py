"""What a handle says of its queue, and when it may change it: in its own term only, in the node's thread only."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from uuid import UUID

import pytest

from qpidha import Batch, Settle
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import (
    CallerError,
    ForkedError,
    LocalProtocolError,
    NotEnoughMembers,
    NotPrimary,
    StaleHandle,
    WrongThread,
)
from qpidha.node.handle import Handle
from qpidha.node.queue import Queue
from qpidha.node.runtime import Runtime
from qpidha.node.waiting import Waiting
from qpidha.settings import Settings
from qpidha.types import QueueId, QueueSpec
from tests.support.node_parts import Seat, run

QUEUE = UUID(int=1)
AB = frozenset({"a", "b"})


class Given:
    """The handles of the current term, as a test gives them."""

    def __init__(self) -> None:
        self.current: Handle | None = None

    def made(self, queue: QueueId) -> Handle | None:
        assert queue == QUEUE
        return self.current


def a_queue(messages: int = 3) -> ReplicatedQueue:
    queue = ReplicatedQueue(QUEUE, QueueSpec(name="q", settle=Settle.IMMEDIATE), ((1, 1),), 1)
    if messages:
        queue.append(Batch.pack([b"abcd"] * messages))
    return queue


def handle(
    runtime: Runtime, generation: int = 1, terms: Given | None = None, queue: ReplicatedQueue | None = None
) -> Handle:
    return Handle(runtime, terms or Given(), a_queue() if queue is None else queue, generation)


def refusal(made: Handle) -> CallerError:
    with pytest.raises(CallerError) as caught:
        made._require_term("Queue.enqueue")
    return caught.value


# --- what it says --------------------------------------------------------------------------------


def test_it_says_which_queue_it_is_for() -> None:
    queue = a_queue()
    made = handle(Runtime("a", Settings(), None), queue=queue)
    assert (made.id, made.name, made.spec) == (QUEUE, "q", queue.spec)
    assert (made.depth, made.next_id, made.nbytes) == (3, 4, queue.bytes)


def test_what_was_there_when_it_was_made_is_safe() -> None:
    made = handle(Runtime("a", Settings(), None))
    assert (made.safe_upto, made.pending) == (3, 0)


def test_a_handle_of_an_empty_queue_has_nothing() -> None:
    made = handle(Runtime("a", Settings(), None), queue=a_queue(0))
    assert (made.depth, made.nbytes, made.next_id, made.safe_upto, made.pending) == (0, 0, 1, 0, 0)


def test_what_is_published_counts_at_once_and_is_pending_until_it_is_safe() -> None:
    queue = a_queue()
    made = handle(Runtime("a", Settings(), None), queue=queue)
    made._waiting = Waiting(scheduled=True)
    made._waiting.add(b"collected in this turn", b"")
    assert (made.depth, made.next_id, made.pending) == (4, 5, 1)
    made._waiting = Waiting()
    queue.append(Batch.pack([b"published"]))
    assert (made.depth, made.next_id, made.pending) == (4, 5, 1)
    made._ledger.advance(4, AB)
    assert (made.safe_upto, made.pending) == (4, 0)


def test_a_handle_of_an_earlier_term_reads_what_the_current_one_collects() -> None:
    terms, runtime, queue = Given(), Runtime("a", Settings(), None), a_queue()
    old, terms.current = handle(runtime, 1, terms, queue), handle(runtime, 2, terms, queue)
    terms.current._waiting = Waiting(scheduled=True)
    terms.current._waiting.add(b"collected", b"")
    assert old._current is terms.current
    assert (old.depth, old.next_id) == (4, 5)


def test_a_handle_without_a_later_one_is_the_current_one() -> None:
    made = handle(Runtime("a", Settings(), None))
    assert made._current is made
    made._flush()
    assert made.depth == 3, "it publishes nothing"


# --- who may change it ---------------------------------------------------------------------------


def test_in_its_term_it_may_change_the_queue() -> None:
    async def main() -> None:
        made = handle(Seat().enter().lead().runtime)
        assert made._in_term
        made._require_term("Queue.enqueue")
        made._here("Queue.read")

    run(main())


def test_in_a_later_term_it_is_stale_and_says_how_to_get_another() -> None:
    async def main() -> None:
        seat = Seat().enter().lead(generation=1)
        made = handle(seat.runtime, 1)
        seat.see(2, "b", "a", "b")
        seat.lead("b", generation=3)
        error = refusal(made)
        assert isinstance(error, StaleHandle) and not made._in_term
        assert (error.generation, error.current) == (1, 3)
        assert "made in generation 1" in str(error) and "node.queue('q')" in str(error)

    run(main())


def test_a_handle_that_was_made_on_a_backup_never_changes_the_queue() -> None:
    async def main() -> None:
        seat = Seat().enter().see(1, "b", "a", "b")
        made = handle(seat.runtime, 0)
        assert isinstance(refusal(made), NotPrimary)
        seat.lead("b", generation=2)
        error = refusal(made)
        assert isinstance(error, StaleHandle)
        assert "made while this node was a backup" in str(error)

    run(main())


def test_after_a_step_down_the_error_names_the_new_primary() -> None:
    async def main() -> None:
        seat = Seat().enter().lead("b")
        made = handle(seat.runtime, 1)
        seat.see(2, "b", "a", "b")
        error = refusal(made)
        assert isinstance(error, NotPrimary) and error.primary == "b"

    run(main())


def test_before_the_broker_has_opened_nothing_is_changed() -> None:
    async def main() -> None:
        seat = Seat().enter().lead()
        seat.runtime.broker_generation = 0
        error = refusal(handle(seat.runtime, 1))
        assert isinstance(error, NotPrimary) and error.address is None

    run(main())


def test_between_two_terms_of_this_node_an_old_handle_changes_nothing() -> None:
    """It is primary again, and the broker was not told yet that its earlier term is over."""

    async def main() -> None:
        seat = Seat().enter().lead("b")
        made = handle(seat.runtime, 1)
        seat.see(2, "b", "a", "b")
        seat.see(3, "a", "a", "b")
        assert (seat.runtime.broker_generation, made._in_term) == (1, False)
        assert isinstance(refusal(made), NotPrimary)

    run(main())


def test_another_thread_may_neither_change_nor_read() -> None:
    async def main() -> None:
        seat, errors = Seat().enter().lead(), list[CallerError]()
        made = handle(seat.runtime, 1)

        def elsewhere() -> None:
            for check in (made._require_term, made._here):
                try:
                    check("Queue.enqueue")
                except CallerError as error:
                    errors.append(error)

        thread = Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert [type(error) for error in errors] == [WrongThread, WrongThread]
        assert "Queue.enqueue" in str(errors[0])

    run(main())


def test_before_the_start_every_thread_is_wrong() -> None:
    error = refusal(handle(Runtime("a", Settings(), None)))
    assert isinstance(error, LocalProtocolError)


def test_in_a_forked_child_it_is_the_parents() -> None:
    async def main() -> None:
        seat = Seat().enter().lead()
        made = handle(seat.runtime, 1)
        seat.runtime.forked()
        assert isinstance(refusal(made), ForkedError)

    run(main())


# --- a least number of members -------------------------------------------------------------------


def a_full_queue(seat: Seat) -> Queue:
    """A queue of the primary with two messages, and both members have them as far as the record says."""
    id, _ = seat.core.declare(QueueSpec(name="q"))
    seat.turn()
    queue = seat.handles.of(id)
    queue.enqueue_many([b"1", b"2"])
    seat.turn()
    return queue


def test_with_too_few_members_whatever_changes_a_queue_is_refused_and_reading_is_not() -> None:
    async def main() -> None:
        seat = Seat(Settings(min_in_sync=2)).enter().lead("b")
        queue = a_full_queue(seat)
        id, _ = seat.core.declare(QueueSpec(name="r"))
        seat.turn()
        other = seat.handles.of(id)
        seat.see(1, "a", "a")
        calls: list[Callable[[], object]] = [
            lambda: queue.enqueue(b"3"),
            lambda: queue.enqueue_many([b"3"]),
            lambda: queue.dequeue(1),
            lambda: queue.move(1, other),
        ]
        before = len(seat.persisted)
        for call in calls:
            with pytest.raises(NotEnoughMembers, match=r"1 member \(a\) of 2 \(min_in_sync\); missing: b"):
                call()
        seat.turn()
        assert (len(seat.persisted), queue.depth, queue.next_id) == (before, 2, 3)
        assert queue.get(1) == b"1" and list(queue) == [(1, b"1"), (2, b"2")]
        queue.on_safe_upto(lambda upto: None)
        queue.on_content(lambda: None)

    run(main())


def test_what_was_published_in_the_turn_in_which_a_member_is_lost_waits() -> None:
    """Its id was given out: it cannot be refused any more."""

    async def main() -> None:
        seat = Seat(Settings(min_in_sync=2)).enter().lead("b")
        queue = a_full_queue(seat)
        op = queue.enqueue(b"3")
        seat.see(1, "a", "a")
        assert (queue.get(3), op.done) == (b"3", False)
        assert seat.engine.errors == []

    run(main())


def test_who_may_not_change_it_at_all_is_told_that_first() -> None:
    async def main() -> None:
        seat = Seat(Settings(min_in_sync=2)).enter().lead()
        assert seat.core.primary is not None
        id, _ = seat.core.primary.declare(QueueSpec(name="q"))
        seat.turn()
        queue = seat.handles.of(id)
        seat.see(2, "b", "b", "a")
        with pytest.raises(NotPrimary):
            queue.enqueue(b"1")

    run(main())
