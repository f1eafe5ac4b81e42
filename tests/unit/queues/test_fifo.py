"""What a first-in, first-out queue says of itself. tests/unit/testing/conformance/test_queue.py checks its order."""

from __future__ import annotations

from typing import Any

from qpidha import SequenceSet
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
        assert (woken, queue.acquired) == ([0], 0)
        queue.accept(SequenceSet([(1, 2)]))
        assert queue.acquire() is None and not queue.available

    run(work())
