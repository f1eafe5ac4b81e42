"""A queue handle returns ids at once, makes one operation per turn, reports safety later and lets watchers publish."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from qpidha import Batch, SequenceSet, Settings, Settle
from qpidha.core.primary.primary import Primary
from qpidha.errors import ArgumentError, CallerError, InDoubt, NotPrimary
from qpidha.journal import Insert
from qpidha.node.op import Op
from qpidha.node.queue import IDS_RESERVE, Queue
from qpidha.node.waiting import SMALL_BATCH_BYTES
from qpidha.queues import FifoQueue
from qpidha.types import MESSAGE_ID_MAX, QueueSpec
from tests.support.node_parts import Seat, run

SETTINGS = Settings(
    message_bytes_max=64 * 1024,
    frame_bytes_max=128 * 1024,
    operations_bytes=16 * 1024,
    plan_chunk_bytes=1024,
    ids_runs_per_chunk_max=64,
)
LARGE = Batch.pack([bytes(SMALL_BATCH_BYTES), b"end"])
"""Not joined with others: published at once."""


class Stage:
    """Primary a, with queues "q" (settled by all) and "i" (settled at once). Member b never answers."""

    def __init__(self, *others: str) -> None:
        self.seat = Seat(SETTINGS).enter().lead(*others)
        self.q = self.declare("q")
        self.i = self.declare("i", Settle.IMMEDIATE)
        self.seat.persisted.clear()

    def declare(self, name: str, settle: Settle = Settle.REPLICATED) -> Queue:
        queue, _ = self.seat.core.declare(QueueSpec(name=name, settle=settle))
        self.seat.turn()
        return self.seat.handles.of(queue)

    def turn(self) -> None:
        self.seat.turn()

    def acknowledge(self) -> None:
        """Make safe what waits for member b: the record does not list b any more."""
        self.seat.see(1, "a", "a")

    @property
    def batches(self) -> list[list[int]]:
        """The ids of each publish that became an operation."""
        return [list(change.ids) for change in self.seat.persisted if isinstance(change, Insert)]

    @property
    def primary(self) -> Primary:
        assert self.seat.core.primary is not None
        return self.seat.core.primary


def play(main: Callable[[Stage], Coroutine[Any, Any, None] | None], *others: str) -> None:
    async def work() -> None:
        if (done := main(Stage(*others))) is not None:
            await done

    run(work())


# --- publishing ----------------------------------------------------------------------------------


def test_ids_are_given_out_at_once_and_one_turn_is_one_operation() -> None:
    def main(stage: Stage) -> None:
        ids = [
            stage.q.enqueue(b"1").ids,
            stage.q.enqueue_many([b"2", b"3"]).ids,
            stage.q.enqueue(b"4", b"p").ids,
        ]
        assert ids == [range(1, 2), range(2, 4), range(4, 5)]
        assert (stage.q.next_id, stage.q.depth, stage.batches) == (5, 4, [])
        stage.turn()
        assert stage.batches == [[1, 2, 3, 4]]
        stage.q.enqueue(b"5")
        stage.turn()
        assert stage.batches == [[1, 2, 3, 4], [5]]
        assert list(stage.q) == [(1, b"1"), (2, b"2"), (3, b"3"), (4, b"4"), (5, b"5")]

    play(main)


def test_each_op_is_safe_when_every_member_has_its_message() -> None:
    async def main(stage: Stage) -> None:
        one, two = stage.q.enqueue(b"1"), stage.q.enqueue_many(LARGE)
        stage.turn()
        assert not one.safe and not two.safe and stage.q.pending == 3
        stage.acknowledge()
        assert (await one).nodes == (await two).nodes == {"a"}
        assert (stage.q.pending, stage.q.safe_upto) == (0, 3)

    play(main, "b")


def test_a_queue_is_declared_when_every_member_has_its_declaration_and_all_before_the_call() -> None:
    """Also one that was there already when its handle was made: its declaration may be on its way (Q7, LC2)."""

    async def main() -> None:
        stage = Stage("b")
        first = stage.q.declared
        second = stage.seat.handles.of(stage.i.id).declared
        stage.turn()
        assert not first.safe and not second.safe
        stage.acknowledge()
        stage.turn()
        assert first.safe and second.safe

    run(main())


def test_a_full_operation_is_published_before_the_turn_ends() -> None:
    def main(stage: Stage) -> None:
        for _ in range(3):
            stage.q.enqueue(bytes(SETTINGS.operations_bytes // 2))
        small = Batch.pack([bytes(SMALL_BATCH_BYTES // 2)])
        stage.q.enqueue_many(small)
        stage.q.enqueue(b"5")
        stage.turn()
        assert stage.batches == [[1, 2], [3, 4], [5]]

    play(main)


def test_a_large_batch_is_published_at_once_behind_what_was_collected_before() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue(b"1")
        assert stage.q.enqueue_many(LARGE).ids == range(2, 4)
        stage.q.enqueue(b"4")
        stage.turn()
        assert stage.batches == [[1], [2, 3], [4]]

    play(main)


def test_a_batch_larger_than_half_a_frame_is_several_operations_and_one_op() -> None:
    async def main(stage: Stage) -> None:
        op = stage.q.enqueue_many([bytes(40 * 1024)] * 4)
        stage.turn()
        assert op.ids == range(1, 5) and stage.batches == [[1], [2], [3], [4]]
        assert (await op).ids == range(1, 5)

    play(main)


def test_data_may_be_any_kind_of_bytes_and_is_copied() -> None:
    def main(stage: Stage) -> None:
        data = bytearray(b"data")
        stage.q.enqueue(data, memoryview(b"props"))
        data[:] = b"late"
        stage.turn()
        ((_, batch),) = [stage.q.read(1) or (None, LARGE)]
        assert (batch.data(0), batch.props(0)) == (b"data", b"props")

    play(main)


@pytest.mark.parametrize(
    "call",
    [
        lambda q: q.enqueue("text"),
        lambda q: q.enqueue(b"x", 1),
        lambda q: q.enqueue(bytes(SETTINGS.message_bytes_max), b"p"),
        lambda q: q.enqueue_many([]),
        lambda q: q.enqueue_many([b"x", bytes(SETTINGS.message_bytes_max + 1)]),
        lambda q: q.enqueue_many(Batch.pack([bytes(SETTINGS.message_bytes_max)], [bytes(1024)])),
    ],
)
def test_a_refused_publish_gives_out_no_id(call: Callable[[Queue], Op]) -> None:
    def main(stage: Stage) -> None:
        with pytest.raises(ArgumentError):
            call(stage.q)
        assert stage.q.next_id == 1
        stage.turn()
        assert stage.batches == []

    play(main)


def test_a_queue_without_free_ids_refuses_publishes() -> None:
    def main(stage: Stage) -> None:
        stage.q._queue.next = MESSAGE_ID_MAX - IDS_RESERVE + 1
        with pytest.raises(CallerError, match="no ids left"):
            stage.q.enqueue(b"x")
        with pytest.raises(CallerError, match="no ids left"):
            stage.q.enqueue_many(LARGE)

    play(main)


def test_a_flush_publishes_what_was_collected_and_only_that() -> None:
    def main(stage: Stage) -> None:
        stage.q.flush()
        stage.q.enqueue(b"1")
        stage.q.flush()
        stage.q.flush()
        stage.q.enqueue(b"2")
        stage.turn()
        stage.turn()
        assert stage.batches == [[1], [2]]

    play(main)


# --- the end of a term ---------------------------------------------------------------------------


def test_what_was_collected_in_the_turn_of_a_step_down_is_in_doubt_and_forgotten() -> None:
    async def main(stage: Stage) -> None:
        safe = stage.q.enqueue(b"1")
        stage.turn()
        collected = stage.q.enqueue(b"2")
        stage.seat.core.step_down("the test wants it")
        stage.turn()
        assert (stage.batches, safe.safe) == ([[1]], True)
        with pytest.raises(InDoubt):
            await collected
        assert list(stage.q) == [(1, b"1")]
        with pytest.raises(NotPrimary):
            stage.q.enqueue(b"3")

    play(main)


def test_a_flush_after_the_term_publishes_nothing() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue(b"1")
        stage.seat.core.step_down("the test wants it")
        stage.q.flush()
        assert stage.q._queue.next == 1
        stage.turn()

    play(main)


def test_watchers_end_with_the_role() -> None:
    def main(stage: Stage) -> None:
        told: list[object] = []
        stage.q.on_safe_upto(told.append)
        stage.q.on_content(lambda: told.append("content"))
        stage.q.enqueue(b"1")
        stage.seat.core.step_down("the test wants it")
        stage.turn()
        assert told == []

    play(main)


# --- consuming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [range(1, 3), [2, 1], {1, 2}, SequenceSet([1, 2]), iter([1, 2])])
def test_messages_are_accepted_in_whatever_form_their_ids_come(ids: Any) -> None:
    async def main(stage: Stage) -> None:
        stage.q.enqueue_many([b"1", b"2", b"3"])
        op = stage.q.dequeue(ids)
        stage.turn()
        assert list(stage.q) == [(3, b"3")]
        assert (await op).ids == range(1, 3)

    play(main)


def test_an_accept_is_safe_when_all_members_have_it_or_at_once() -> None:
    async def main(stage: Stage) -> None:
        ops = []
        for queue in (stage.q, stage.i):
            queue.enqueue(b"1")
            ops.append(queue.dequeue(1))
        stage.turn()
        replicated, immediate = ops
        assert not replicated.safe and immediate.safe
        assert (await immediate).nodes == frozenset(), "no member has made it durable yet"
        stage.acknowledge()
        assert (await replicated).nodes == {"a"}

    play(main, "b")


def test_accepting_dequeued_messages_or_no_ids_is_allowed() -> None:
    async def main(stage: Stage) -> None:
        stage.q.enqueue(b"1")
        await_first = stage.q.dequeue(1)
        stage.turn()
        pokes = stage.seat.engine.pokes
        again, nothing = stage.q.dequeue(1), stage.q.dequeue([])
        assert stage.seat.engine.pokes == pokes, "nothing is to be done for these"
        assert again.safe and nothing.safe and await_first.safe
        assert (again.ids, nothing.ids) == (range(1, 2), range(0))

    play(main)


@pytest.mark.parametrize("ids", [0, 3, [1, 3], range(1, 4), "1", None, [1.5], SequenceSet([9])])
def test_ids_that_were_never_given_out_are_refused(ids: Any) -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue_many([b"1", b"2"])
        for refused in (lambda: stage.q.dequeue(ids), lambda: stage.q.move(ids, stage.i)):
            with pytest.raises(ArgumentError):
                refused()
        assert (stage.q.depth, stage.i.depth) == (2, 0)

    play(main)


# --- moving --------------------------------------------------------------------------------------


def test_moved_messages_have_new_ids_at_the_end_of_the_target() -> None:
    async def main(stage: Stage) -> None:
        stage.q.enqueue_many([b"1", b"2", b"3"])
        stage.i.enqueue(b"there before")
        op = stage.q.move([1, 3], stage.i)
        assert op.ids == range(2, 4)
        assert list(stage.q) == [(2, b"2")]
        assert list(stage.i) == [(1, b"there before"), (2, b"1"), (3, b"3")]
        stage.turn()
        assert (await op).nodes == {"a"}

    play(main)


def test_a_move_is_safe_when_all_members_have_it() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue(b"1")
        op = stage.q.move(1, stage.i)
        stage.turn()
        assert not op.safe
        stage.acknowledge()
        assert op.safe

    play(main, "b")


def test_a_move_of_dequeued_messages_moves_nothing() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue(b"1")
        stage.q.dequeue(1)
        op = stage.q.move(1, stage.i)
        stage.turn()
        assert (op.ids, op.safe, stage.i.depth) == (range(0), True, 0)

    play(main)


def test_a_move_that_fits_no_frame_is_one_operation() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue_many([bytes(60 * 1024)] * 3)
        before = stage.primary.position
        op = stage.q.move(range(1, 4), stage.i)
        assert op.ids == range(1, 4) and stage.primary.position - before == 1

    play(main)


def test_the_target_of_a_move_is_another_queue_of_the_same_node_in_this_term() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue(b"1")
        for wrong in (stage.q, Stage().i, "i"):
            with pytest.raises(ArgumentError, match="target"):
                stage.q.move(1, wrong)
        stale = stage.i
        stale.generation = 0
        with pytest.raises(CallerError):
            stage.q.move(1, stale)
        assert stage.q.depth == 1

    play(main)


# --- reading -------------------------------------------------------------------------------------


def test_a_read_returns_at_most_one_stored_batch_from_an_id_on() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue_many([b"1", b"2", b"3"])
        stage.turn()
        stage.q.enqueue(b"4")
        assert read(stage.q, 0) == [(1, b"1"), (2, b"2"), (3, b"3")]
        assert read(stage.q, 2, messages_max=1) == [(2, b"2")]
        assert read(stage.q, 1, bytes_max=1) == [(1, b"1")], "one message, however large"
        assert read(stage.q, 4) == [(4, b"4")], "also what was published in this turn"
        assert stage.q.read(5) is None and stage.q.read(1, messages_max=0) is None

    play(main)


def read(queue: Queue, first: int, **limits: int) -> list[tuple[int, bytes]]:
    found = queue.read(first, **limits)
    return [] if found is None else list(zip(found[0], found[1], strict=True))


def test_what_was_read_does_not_change_later() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue_many([b"1", b"2"])
        found = stage.q.read(1)
        stage.q.dequeue(1)
        assert found is not None and list(found[0]) == [1, 2] and list(found[1]) == [b"1", b"2"]

    play(main)


def test_a_single_message_is_found_or_gone() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue_many([b"1", b"2"])
        stage.q.dequeue(1)
        assert [stage.q.get(id) for id in range(4)] == [None, None, b"2", None]
        with pytest.raises(ArgumentError):
            stage.q.get(-1)

    play(main)


def test_an_iteration_goes_through_what_was_held_when_it_began() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue_many([b"1", b"2"])
        going = iter(stage.q)
        stage.q.dequeue(2)
        stage.q.enqueue(b"3")
        assert list(going) == [(1, b"1"), (2, b"2")]

    play(main)


@pytest.mark.parametrize(
    "wrong", [{"first_id": -1}, {"messages_max": -1}, {"bytes_max": 1.5}, {"first_id": None}]
)
def test_a_number_out_of_range_reads_nothing(wrong: dict[str, Any]) -> None:
    def main(stage: Stage) -> None:
        with pytest.raises(ArgumentError):
            stage.q.read(**{"first_id": 1, **wrong})

    play(main)


def test_a_handle_of_an_earlier_term_reads_what_was_published_in_this_one() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue(b"1")
        stage.turn()
        stage.seat.see(2, "b", "a", "b")
        stage.seat.lead(generation=3)
        fresh = stage.seat.handles.of(stage.q.id)
        fresh.enqueue(b"2")
        assert fresh is not stage.q and list(stage.q) == [(1, b"1"), (2, b"2")]
        assert stage.q.get(2) == b"2" and stage.q.depth == 2

    play(main)


# --- watching ------------------------------------------------------------------------------------


def test_watchers_of_safety_are_told_the_highest_id_once_for_many() -> None:
    def main(stage: Stage) -> None:
        told: list[int] = []
        stage.q.on_safe_upto(told.append)
        stage.q.enqueue_many([b"1", b"2"])
        stage.q.enqueue(b"3")
        stage.turn()
        assert told == []
        stage.acknowledge()
        assert told == [3]

    play(main, "b")


def test_watchers_of_content_are_told_once_for_everything_of_a_turn() -> None:
    def main(stage: Stage) -> None:
        told: list[int] = []
        stage.q.on_content(lambda: told.append(stage.q.next_id))
        stage.q.enqueue(b"1")
        stage.q.enqueue_many(LARGE)
        stage.q.enqueue(b"4")
        stage.q.flush()
        stage.turn()
        stage.turn()
        assert told == [5]

    play(main)


def test_watchers_of_content_are_told_of_moves_into_their_queue_only() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue(b"1")
        stage.turn()
        told: list[str] = []
        stage.q.on_content(lambda: told.append("q"))
        stage.i.on_content(lambda: told.append("i"))
        stage.q.move(1, stage.i)
        stage.turn()
        assert told == ["i"]

    play(main)


def test_other_watchers_are_called_although_one_raises() -> None:
    def main(stage: Stage) -> None:
        told: list[object] = []
        for watch, done in (
            (stage.q.on_safe_upto, told.append),
            (stage.q.on_content, lambda: told.append("content")),
        ):
            watch(lambda *_: 1 / 0)
            watch(done)
        stage.q.enqueue(b"1")
        stage.turn()
        assert told == ["content", 1]

    play(main)


@pytest.mark.parametrize("watch", [Queue.on_safe_upto, Queue.on_content])
def test_what_cannot_be_called_is_refused(watch: Callable[[Queue, Any], None]) -> None:
    def main(stage: Stage) -> None:
        with pytest.raises(ArgumentError):
            watch(stage.q, None)

    play(main)


def publishes_once(queue: Queue, found: list[Op], data: bytes = b"of the watcher") -> Callable[[], None]:
    """A watcher of content that publishes itself, when it is called for the first time."""

    def watcher() -> None:
        if not found:
            found.append(queue.enqueue(data))

    return watcher


def test_two_ops_never_have_the_same_id_although_a_watcher_publishes_meanwhile() -> None:
    """A large batch is published after the collected messages; the watcher is called for those."""

    async def main(stage: Stage) -> None:
        found: list[Op] = []
        stage.q.on_content(publishes_once(stage.q, found))
        stage.q.enqueue(b"1")
        large = stage.q.enqueue_many(LARGE)
        stage.turn()
        stage.turn()
        (op,) = found
        assert not set(op.ids) & set(large.ids)
        assert stage.q.get(op.ids[0]) == b"of the watcher"
        assert [stage.q.get(id) for id in large.ids] == list(LARGE)
        assert (await op).ids == op.ids and (await large).ids == large.ids

    play(main)


def test_a_moved_message_never_has_the_id_of_one_that_a_watcher_publishes_meanwhile() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue(b"moved")
        stage.turn()
        found: list[Op] = []
        stage.i.on_content(publishes_once(stage.i, found))
        stage.i.enqueue(b"1")
        moved = stage.q.move(1, stage.i)
        stage.turn()
        stage.turn()
        assert stage.i.get(found[0].ids[0]) == b"of the watcher"
        assert stage.i.get(moved.ids[0]) == b"moved"

    play(main)


def test_an_iterable_of_ids_may_publish_while_it_is_gone_through() -> None:
    def main(stage: Stage) -> None:
        stage.q.enqueue_many([b"1", b"2"])
        found: list[Op] = []

        def ids() -> Any:
            yield 1
            found.append(stage.i.enqueue(b"meanwhile"))
            yield 2

        moved = stage.q.move(ids(), stage.i)
        stage.turn()
        assert stage.i.get(found[0].ids[0]) == b"meanwhile"
        assert [stage.i.get(id) for id in moved.ids] == [b"1", b"2"]

    play(main)


def test_a_message_has_one_consumer_although_one_is_served_while_another_asks() -> None:
    """A read by one consumer publishes the collected messages, and a watcher then serves the other consumer."""

    def main(stage: Stage) -> None:
        fifo, served = FifoQueue(stage.q), list[int]()

        def serve() -> None:
            while taken := fifo.acquire():
                served.extend(taken[0])

        fifo.on_available(serve)
        stage.q.enqueue(b"1")
        asked = fifo.acquire()
        stage.turn()
        assert served + list(asked[0] if asked else ()) == [1]

    play(main)


# --- its description -----------------------------------------------------------------------------


def test_a_queue_says_what_it_is() -> None:
    def main(stage: Stage) -> None:
        assert repr(stage.q) == "<Queue 'q' of node 'a', generation 1>"

    play(main)
