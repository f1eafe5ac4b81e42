"""Accepts and updates of a queue: by any id that a message had, with one op, and only what was never moved away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qpidha import SequenceSet, Settings
from qpidha.errors import ArgumentError, LocalProtocolError, MessagesGone, NotPrimary
from qpidha.node.queue import Queue
from qpidha.queues import FifoQueue
from qpidha.types import MESSAGE_ID_MAX, Level
from tests.support.content_parts import Room
from tests.support.node_parts import run

SETTINGS = Settings(message_bytes_max=1000)


def play(main: Callable[[Room, Queue], Any]) -> None:
    """With a primary whose queue "q" holds messages 1 to 5."""

    async def work() -> None:
        room = Room(SETTINGS).lead()
        q = room.declare("q")
        q.enqueue_many([b"a", b"b", b"c", b"d", b"e"])
        room.turn()
        if (done := main(room, q)) is not None:
            await done

    run(work())


def content(queue: Queue) -> list[tuple[int, bytes, bytes]]:
    return list(queue.messages())


# --- updates -------------------------------------------------------------------------------------


def test_an_update_replaces_the_props_and_keeps_data_and_place() -> None:
    async def main(room: Room, q: Queue) -> None:
        op = q.update(2, props=b"once")
        assert list(op.ids) == [6] and not op.safe
        assert content(q)[:3] == [(1, b"a", b""), (6, b"b", b"once"), (3, b"c", b"")]
        assert list(q)[1] == (6, b"b") and q.depth == 5
        room.turn()
        assert op.safe and (await op).nodes == {"a"}
        assert list(q.update((), []).ids) == []

    play(main)


def test_an_update_is_one_operation_for_many_messages() -> None:
    def main(room: Room, q: Queue) -> None:
        position = room.seat.core.primary.position
        assert list(q.update([1, 3], b"same").ids) == [6, 7]
        assert room.seat.core.primary.position == position + 1
        assert content(q)[:3] == [(6, b"a", b"same"), (2, b"b", b""), (7, b"c", b"same")]

    play(main)


@pytest.mark.parametrize(
    "ids",
    [
        [4, 1, 2],
        (4, 1, 2),
        iter([4, 1, 2]),
    ],
)
def test_props_belong_to_the_ids_in_the_order_in_which_they_are_named(ids: Any) -> None:
    def main(_: Room, q: Queue) -> None:
        assert list(q.update(ids, [b"4", bytearray(b"1"), memoryview(b"2")]).ids) == [6, 7, 8]
        assert [(d, p) for _, d, p in q.messages() if p] == [(b"a", b"1"), (b"b", b"2"), (b"d", b"4")]

    play(main)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (range(4, 1, -1), [b"", b"z", b"y", b"x", b""]),
        (range(1, 6, 2), [b"x", b"", b"y", b"", b"z"]),
        (SequenceSet([2, 3, 5]), [b"", b"x", b"y", b"", b"z"]),
        ({5, 3, 2}, [b"", b"x", b"y", b"", b"z"]),
    ],
)
def test_ranges_and_sets_have_an_order_too(ids: Any, expected: list[bytes]) -> None:
    def main(_: Room, q: Queue) -> None:
        q.update(ids, [b"x", b"y", b"z"])
        assert [props for _, _, props in q.messages()] == expected

    play(main)


def test_what_was_published_in_the_same_turn_comes_first() -> None:
    def main(room: Room, q: Queue) -> None:
        op = q.enqueue(b"f")
        assert list(q.update(op.ids, b"p").ids) == [7]
        assert content(q)[-1] == (7, b"f", b"p")
        room.turn()
        assert op.safe

    play(main)


@pytest.mark.parametrize(
    ("ids", "props", "error", "why"),
    [
        (1, "text", ArgumentError, "props must be bytes, or a list"),
        (1, None, ArgumentError, "props must be bytes, or a list"),
        (1, [b"x", "y"], ArgumentError, r"props\[1\] must be bytes"),
        (1, [b"x", b"y"], ArgumentError, "2 for 1 messages"),
        ([1, 2], [b"x"], ArgumentError, "1 for 2 messages"),
        (range(1, 4), [b"x"], ArgumentError, "1 for 3 messages"),
        (range(2**80), [b"x"], ArgumentError, "ids must be an integer"),
        ([1, 1], [b"x", b"y"], ArgumentError, "name a message twice"),
        (1, bytes(1001), ArgumentError, "props must have at most 1000 bytes"),
        (1, [bytes(1001)], ArgumentError, r"props\[0\] must have at most 1000 bytes"),
        (6, b"", ArgumentError, "given out"),
        (range(1, 6), b"", None, ""),
        ([1, 2, 3, 4, 5, 6], b"", ArgumentError, "given out"),
        ("1", b"", ArgumentError, "ids must be"),
        ("1", [b""], ArgumentError, "ids must be"),
        (None, [b""], ArgumentError, "ids must be"),
    ],
)
def test_a_wrong_update_changes_nothing(ids: Any, props: Any, error: Any, why: str) -> None:
    def main(_: Room, q: Queue) -> None:
        before = content(q)
        if error is None:
            q.update(ids, props)
            return
        with pytest.raises(error, match=why):
            q.update(ids, props)
        assert content(q) == before

    play(main)


def test_an_update_of_messages_that_are_gone_is_refused() -> None:
    """Also of very many: nothing is made for each of them."""

    def main(_: Room, q: Queue) -> None:
        q.dequeue([2, 3])
        for ids in (range(1, 6), [1, 2], 3):
            with pytest.raises(MessagesGone):
                q.update(ids, b"p")
        assert [id for id, _, _ in q.messages()] == [1, 4, 5]

    play(main)


def test_a_handle_of_a_node_that_is_no_longer_primary_updates_nothing() -> None:
    def main(room: Room, q: Queue) -> None:
        q.update(2, b"p")
        q.update(3, b"p")
        room.follow()
        room.turn()
        with pytest.raises(NotPrimary):
            q.update(1, b"p")
        assert q.get(2) == b"b" and q.get(1) == b"a" and q.get(9) is None
        assert q.places(SequenceSet([1, 6])) == SequenceSet([1, 2])

    play(main)


# --- ids that were replaced ----------------------------------------------------------------------


def test_old_ids_go_on_being_understood() -> None:
    def main(room: Room, q: Queue) -> None:
        other = room.declare("other")
        (second,) = q.update(q.update(2, b"1").ids, b"2").ids
        q.update(3, b"1")
        q.update(4, b"1")
        assert (q.get(2), q.get(6), q.get(second)) == (b"b", b"b", b"b")
        assert q.places(SequenceSet([2, 6, second])) == SequenceSet([2])
        q.dequeue(6)
        assert (q.get(2), q.get(6)) == (None, None)
        q.move(3, other)
        q.update(4, b"2")
        assert content(q) == [(1, b"a", b""), (10, b"d", b"2"), (5, b"e", b"")]
        assert content(other) == [(1, b"c", b"1")]
        q.dequeue(2)
        with pytest.raises(MessagesGone):
            q.dequeue([1, 3])
        assert q.depth == 3

    play(main)


def test_a_transaction_takes_what_was_updated_after_its_call() -> None:
    def main(room: Room, q: Queue) -> None:
        other = room.declare("other")
        with room.transaction() as t:
            t.dequeue(q, 1)
            moved = t.move(q, [2], other)
            updated = t.update(q, [5, 3], [b"five", b"three"])
            with pytest.raises(LocalProtocolError):
                _ = updated.ids
            q.update([1, 2, 3], b"meanwhile")
        assert (list(moved.ids), list(updated.ids)) == ([1], [9, 10])
        assert content(q) == [(9, b"c", b"three"), (4, b"d", b""), (10, b"e", b"five")]
        with pytest.raises(ArgumentError), room.transaction() as t:
            t.update(q, 4, "text")

    play(main)


def test_a_message_that_is_moved_away_is_not_in_a_commit() -> None:
    def main(room: Room, q: Queue) -> None:
        other = room.declare("other")
        t = room.transaction()
        t.dequeue(q, 1)
        t.enqueue(other, b"result")
        q.move(1, other)
        with pytest.raises(MessagesGone):
            t.commit()
        assert content(other) == [(1, b"a", b"")]

    play(main)


# --- with consumers ------------------------------------------------------------------------------


def test_a_hold_follows_its_message() -> None:
    def main(room: Room, q: Queue) -> None:
        fifo = FifoQueue(q)
        taken = fifo.acquire(3)
        assert taken is not None and list(taken[0]) == [1, 2, 3]
        q.update(2, b"p")
        rest = fifo.acquire()
        assert rest is not None and list(rest[0]) == [4, 5] and fifo.acquire() is None
        fifo.release(SequenceSet([2]))
        again = fifo.acquire()
        assert again is not None and (list(again[0]), again[1].props(0)) == ([6], b"p")
        fifo.accept(SequenceSet([2, 3]))
        assert [id for id, _, _ in q.messages()] == [1, 4, 5] and fifo.acquired == 3
        q.move(1, room.declare("other"))
        with pytest.raises(MessagesGone):
            fifo.accept(SequenceSet([1, 4]))
        assert fifo.acquired == 2
        fifo.accept(SequenceSet([4]))
        assert fifo.acquired == 1

    play(main)


def test_after_a_failover_the_order_is_that_of_the_places() -> None:
    """A new `FifoQueue` on the content, as the next primary makes it (S4)."""

    def main(_: Room, q: Queue) -> None:
        q.update(4, b"p")
        q.update([2, 1], b"p")
        fifo, found = FifoQueue(q), list[bytes]()
        while taken := fifo.acquire(2):
            found += list(taken[1])
        assert found == [b"a", b"b", b"c", b"d", b"e"]

    play(main)


def test_ids_at_the_end_of_the_space_are_only_ids() -> None:
    def main(_: Room, q: Queue) -> None:
        assert q.get(MESSAGE_ID_MAX) is None
        q.update(1, b"p")
        assert q.get(MESSAGE_ID_MAX) is None
        assert q.read(MESSAGE_ID_MAX + 1) is None

    play(main)


# --- queues that are not replicated --------------------------------------------------------------


def test_messages_of_this_node_alone_are_updated_here_alone() -> None:
    """The op is safe when the update is on this node's disk (LV5)."""

    def main(room: Room, _: Queue) -> None:
        own = room.declare("own", replicate=Level.NONE)
        own.enqueue_many([b"a", b"b"])
        position = room.seat.core.primary.position
        op = own.update(1, b"p")
        assert room.seat.core.primary.position == position
        assert content(own) == [(3, b"a", b"p"), (2, b"b", b"")] and not op.safe
        room.turn()
        assert op.safe
        own.dequeue(1)
        assert [id for id, _ in own] == [2]

    play(main)


def test_what_was_moved_to_a_queue_of_another_level_is_not_accepted() -> None:
    """It is another message there, and the old one is not settled (LV3)."""

    def main(room: Room, q: Queue) -> None:
        own = room.declare("own", replicate=Level.NONE)
        q.update(2, b"p")
        q.move([1, 2], own)
        assert content(own) == [(1, b"a", b""), (2, b"b", b"p")]
        for id in (1, 2, 6):
            with pytest.raises(MessagesGone):
                q.dequeue(id)

    play(main)
