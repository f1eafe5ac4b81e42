"""What a first-in, first-out queue says of itself. tests/unit/testing/conformance/test_queue.py checks its order."""

from __future__ import annotations

from typing import Any

import pytest

from qpidha import ArgumentError, CallerError, SequenceSet
from qpidha.queues import FifoQueue
from tests.support.content_parts import Room
from tests.support.node_parts import run


def test_what_consumers_have_and_what_is_left() -> None:
    async def work() -> None:
        room = Room().lead()
        handle = room.declare("q")
        queue: FifoQueue[Any] = FifoQueue(handle)
        woken = list[int]()
        queue.on_available(lambda: woken.append(queue.acquired))
        assert queue.available, "it has not looked yet"
        assert queue.acquire() is None and not queue.available
        handle.enqueue(b"a")
        handle.enqueue(b"b")
        taken = queue.acquire(1)
        assert taken is not None and list(taken[0]) == [1]
        assert (queue.acquired, queue.available) == (1, True)
        del woken[:]
        queue.release(SequenceSet([2]))
        assert not woken, "no consumer had it"
        queue.release(taken[0])
        assert (woken, queue.acquired) == ([], 0), "not from inside the call"
        room.turn()
        assert woken == [0]
        queue.accept(SequenceSet([(1, 2)]))
        assert queue.acquire() is None and not queue.available

    run(work())


def test_callbacks_come_after_the_call_and_in_order() -> None:
    """One of them takes what a release gives back, and settles, while the releaser goes on with its own books."""

    async def work() -> None:
        room = Room().lead()
        handle = room.declare("q")
        queue: FifoQueue[Any] = FifoQueue(handle)
        handle.enqueue(b"a")
        handle.enqueue(b"b")
        taken = queue.acquire()
        assert taken is not None
        room.turn()
        seen = list[object]()

        def serve() -> None:
            seen.append("first")
            while got := queue.acquire(1):
                seen.append(list(got[0]))
                if len(seen) == 2:
                    queue.release(
                        SequenceSet([1])
                    )  # Its consumer refuses it: all are called once more, later.
                    break

        queue.on_available(serve)
        queue.on_available(lambda: seen.append("second"))
        queue.release(SequenceSet([1]))
        queue.release(SequenceSet([2]))
        assert seen == [] and queue.acquired == 0
        room.turn()
        assert seen == ["first", [1], "second", "first", [1], [2], "second"]
        assert queue.acquired == 2

    run(work())


def test_one_callback_that_raises_leaves_none_out() -> None:
    async def work() -> None:
        room = Room().lead()
        queue: FifoQueue[Any] = FifoQueue(room.declare("q"))
        seen = list[str]()

        def fails() -> None:
            raise ValueError("a bug of the broker")

        queue.on_available(fails)
        queue.on_available(lambda: seen.append("called"))
        queue.queue.enqueue(b"a")
        room.turn()
        assert seen == ["called"]

    run(work())


def test_a_queue_has_one_object_that_delivers_it() -> None:
    async def work() -> None:
        room = Room().lead()
        handle = room.declare("q")
        FifoQueue(handle)
        with pytest.raises(CallerError, match=r"queue 'q' has a FifoQueue in this term.* use that one"):
            FifoQueue(handle)

    run(work())


class Whole(int):
    """An integer of a class of its own."""


def test_arguments_are_checked_whatever_their_class() -> None:
    async def main() -> None:
        room = Room().lead()
        queue = room.declare("q")
        fifo: FifoQueue[Any] = FifoQueue(queue)
        queue.enqueue(b"one")
        for wrong in (-1, True, "1", 2**63, None):
            for arguments in ((wrong, 1), (1, wrong)):
                with pytest.raises(ArgumentError):
                    fifo.acquire(*arguments)
        assert fifo.acquire(0) is fifo.acquire(1, Whole(0)) is None
        taken = fifo.acquire(Whole(1), Whole(100))
        assert taken is not None and list(taken[1]) == [b"one"]
        with pytest.raises(ArgumentError, match="ids must be"):
            fifo.accept([1])  # type: ignore[arg-type]
        fifo.accept(taken[0])
        assert (fifo.acquired, queue.depth) == (0, 0)

    run(main())
