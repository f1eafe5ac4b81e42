"""Accepts of one turn are one operation, and nobody sees the difference but the backups, which get less to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from qpidha import InDoubt, MessagesGone, NotPrimary, SequenceSet, Settings, Settle
from qpidha.core.ready import Doubtful
from qpidha.errors import OpTimeout
from qpidha.journal import Insert, Remove
from qpidha.node.queue import Queue
from qpidha.types import Level
from tests.support.content_parts import Room
from tests.support.node_parts import run, turns

SETTINGS = Settings(ids_runs_per_chunk_max=4)


def play(main: Callable[[Room, Queue], Any], *others: str) -> None:
    """With a primary whose queue "q" holds messages 1 to 20."""

    async def work() -> None:
        room = Room(SETTINGS).lead(*others)
        q = room.declare("q")
        q.enqueue_many([b"%d" % n for n in range(1, 21)])
        room.turn()
        room.seat.persisted.clear()
        if (done := main(room, q)) is not None:
            await done

    run(work())


def removals(room: Room) -> list[list[int]]:
    return [list(change.ids) for change in room.seat.persisted if isinstance(change, Remove)]


def test_accepts_of_a_turn_are_one_operation_and_each_has_its_own_answer() -> None:
    async def main(room: Room, q: Queue) -> None:
        before, told = room.seat.core.primary.position, []  # type: ignore[union-attr]
        ops = [q.dequeue([3]), q.dequeue(4), q.dequeue(SequenceSet([(6, 8)])), q.dequeue(4)]
        for op in ops:
            op.add_safe_callback(lambda op, error: told.append((op.ids, error)))
        assert not any(op.done for op in ops) and removals(room) == []
        room.turn()
        assert removals(room) == [[3, 4, 6, 7, 8]]
        assert room.seat.core.primary.position == before + 1  # type: ignore[union-attr]
        assert told == [(range(3, 4), None), (range(4, 5), None), (range(6, 9), None), (range(4, 5), None)]
        assert {(await op).nodes for op in ops} == {frozenset("a")}

    play(main)


def test_an_accept_waits_for_all_members() -> None:
    async def main(room: Room, q: Queue) -> None:
        op, waited = q.dequeue(1), asyncio.ensure_future(q.dequeue(2)._wait(None))
        room.turn()
        await turns()
        assert not op.safe and not waited.done()
        room.seat.see(1, "a", "a")
        room.turn()
        assert (await op).nodes == (await waited).nodes == {"a"}

    play(main, "b")


def test_with_too_many_runs_they_are_some_operations_and_safe_with_the_last() -> None:
    async def main(room: Room, q: Queue) -> None:
        ops = [q.dequeue([n]) for n in range(1, 20, 2)]
        room.turn()
        assert removals(room) == [[1, 3, 5, 7], [9, 11, 13, 15], [17, 19]]
        assert len({op._cover for op in ops}) == 1

    play(main)


def test_what_is_accepted_is_not_read_or_counted_any_more() -> None:
    def main(room: Room, q: Queue) -> None:
        q.dequeue(2)
        assert q.depth == 19
        q.dequeue(2)
        assert q.depth == 19 and q.get(2) is None
        q.dequeue(3)
        assert [id for id, _ in q][:2] == [1, 4]
        q.dequeue(4)
        found = q.read(4)
        assert found is not None and found[0].first == 5
        q.dequeue(5)
        found = q.select(SequenceSet([5, 6]))
        assert found is not None and list(found[0]) == [6]
        assert removals(room) == []
        room.turn()
        assert removals(room) == [[2, 3, 4, 5]], "made in parts, and sent as one"

    play(main)


def test_reading_behind_what_was_accepted_does_not_make_the_operation() -> None:
    def main(room: Room, q: Queue) -> None:
        q.dequeue(2)
        for first in (3, 7):
            found = q.read(first, messages_max=1)
            assert found is not None and list(found[0]) == [first]
        assert 2 in q._queue.held
        found = q.read(1, messages_max=2)
        assert found is not None and list(found[0]) == [1, 3]
        assert 2 not in q._queue.held

    play(main)


def test_publishes_of_the_same_turn_stay_one_batch() -> None:
    def main(room: Room, q: Queue) -> None:
        for n in range(1, 4):
            q.enqueue(b"new")
            q.dequeue(n)
        assert q.dequeue(21).ids == range(21, 22), "published in this turn"
        room.turn()
        assert [list(c.ids) for c in room.seat.persisted if isinstance(c, Insert)] == [[21, 22, 23]]
        assert sorted(id for ids in removals(room) for id in ids) == [1, 2, 3, 21]

    play(main)


def test_what_was_accepted_is_not_moved_updated_or_committed_any_more() -> None:
    def main(room: Room, q: Queue) -> None:
        other = room.declare("other")
        q.dequeue(1)
        assert q.move([1, 2], other).ids == range(1, 2)
        q.dequeue(3)
        with pytest.raises(MessagesGone):
            q.update([3], b"props")
        transaction = room.transaction()
        transaction.dequeue(q, 5)
        q.dequeue(5)
        with pytest.raises(MessagesGone):
            transaction.commit()
        with pytest.raises(MessagesGone):
            q.dequeue(2)
        q.dequeue(6)
        assert q.purge().ids == range(4, 21)
        room.turn()
        assert (q.depth, other.depth) == (0, 1)

    play(main)


def test_a_queue_that_is_deleted_in_the_same_turn_answers_its_accepts() -> None:
    async def main(room: Room, q: Queue) -> None:
        op = q.dequeue(1)
        room.delete(q)
        room.turn()
        assert (await op).nodes == {"a"}

    play(main)


def test_a_consumer_is_told_at_once_if_the_queue_says_so() -> None:
    async def main(room: Room, _: Queue) -> None:
        queue = room.declare("i", settle=Settle.IMMEDIATE)
        published = queue.enqueue(b"1")
        room.turn()
        op = queue.dequeue(1)
        assert op.safe and (await op).nodes == frozenset()
        room.turn()
        assert published.safe and queue.depth == 0

    play(main, "b")


def test_messages_of_this_node_alone_and_those_that_are_gone_are_looked_at_at_once() -> None:
    def main(room: Room, q: Queue) -> None:
        own = room.declare("own", replicate=Level.NONE)
        own.enqueue(b"1")
        own.flush()
        own.dequeue(1)
        assert own._accepting is None and own._queue.held == SequenceSet()
        q.dequeue(1)
        room.turn()
        assert q.dequeue(1).safe and q.dequeue(SequenceSet([1])).safe and q._accepting is None

    play(main)


@pytest.mark.parametrize("flushed", [False, True])
def test_in_the_turn_of_a_step_down_accepts_are_in_doubt(flushed: bool) -> None:
    async def main(room: Room, q: Queue) -> None:
        told: list[object] = []
        op, silent = q.dequeue(1), q.dequeue(2)
        op.add_safe_callback(lambda op, error: told.append(type(error)))
        room.seat.core.step_down("the test wants it")
        if flushed:
            q.flush()
            assert told == [], "it is in doubt when all is"
        room.turn()
        assert told == [InDoubt] and removals(room) == []
        for each in (op, silent):
            with pytest.raises(InDoubt):
                await each
        with pytest.raises(NotPrimary):
            q.dequeue(1)
        assert list(q._queue.held)[:2] == [1, 2]

    play(main)


def test_if_the_end_of_the_term_is_told_before_the_turn_ends_accepts_are_in_doubt() -> None:
    """The driver also runs when the disk has answered, in the middle of a turn."""

    def main(room: Room, q: Queue) -> None:
        told: list[object] = []
        q.dequeue(1).add_safe_callback(lambda op, error: told.append((op.done, type(error))))
        room.seat.core.step_down("the test wants it")
        room.seat.effects.complete(Doubtful(1))
        assert told == [(True, InDoubt)] and q._accepting is None
        room.turn()
        assert len(told) == 1 and removals(room) == []

    play(main)


def test_a_flush_after_the_end_of_the_term_says_that_all_is_in_doubt() -> None:
    def main(room: Room, q: Queue) -> None:
        told: list[object] = []
        q.dequeue(1).add_safe_callback(lambda op, error: told.append(type(error)))
        room.seat.core.step_down("the test wants it")
        room.seat.runtime.settled.doubt(InDoubt("the test wants it"))
        q.flush()
        assert told == [InDoubt]

    play(main)


def test_a_deadline_may_be_over_before_the_operation_is_made() -> None:
    async def main(room: Room, q: Queue) -> None:
        told: list[object] = []
        op = q.dequeue(1)
        op.add_safe_callback(lambda op, error: told.append(type(error)), timeout_s=0)
        await asyncio.sleep(1)
        assert told == [OpTimeout]
        room.turn()
        assert told == [OpTimeout] and op.safe

    play(main)


def test_a_handle_of_an_earlier_term_does_not_read_what_was_accepted_in_this_one() -> None:
    def main(room: Room, q: Queue) -> None:
        room.follow(2)
        room.lead(generation=3)
        now = room.queue("q")
        now.dequeue(1)
        assert (q.depth, now.depth) == (19, 19)
        assert q.get(1) is None

    play(main)
