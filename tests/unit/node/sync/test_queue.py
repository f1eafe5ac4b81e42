"""The methods of a queue, from a thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qpidha import ArgumentError, Batch, MessagesGone, NotPrimary, SequenceSet, StaleHandle, WrongThread
from tests.support.threads import nodes


def test_publish_read_move_and_accept() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        queue, other = a.sync.declare("q"), a.sync.declare("other")
        assert queue.enqueue(b"1", b"p").ids == range(1, 2)
        assert queue.enqueue_many([b"2", b"3"]).ids == range(2, 4)
        assert queue.enqueue_many(Batch.pack([b"4"])).safe().ids == range(4, 5)
        assert list(queue) == [(1, b"1"), (2, b"2"), (3, b"3"), (4, b"4")]
        assert next(queue.messages()) == (1, b"1", b"p")
        assert queue.get(2) == b"2" and queue.get(99) is None
        found = queue.read(3, messages_max=1)
        assert found is not None and list(found[0]) == [3]
        assert (queue.depth, queue.next_id, queue.safe_upto, queue.pending) == (4, 5, 4, 0)
        assert queue.nbytes > 0
        assert queue.move([1], other).ids == range(1, 2)
        assert queue.dequeue(2).safe().ids == range(2, 3)
        other.purge().safe()
        assert [data for _, data in queue] == [b"3", b"4"] and list(other) == []
        assert list(b.sync.queue("q")) == list(queue)
        assert (
            queue.id == b.sync.queue("q").id
            and queue.name == "q" == queue.spec.name
            and queue.generation == 1
        )


def test_ids_are_read_in_the_thread() -> None:
    """An iterable of the caller does not run in the event loop: it may itself ask the node."""
    with nodes("a") as (_, _, (a,)):
        queue = a.sync.declare("q")
        queue.enqueue_many([b"x"] * 10)

        def ids() -> Iterator[int]:
            yield from (id for id, _ in queue if id <= 3)

        queue.dequeue(ids())
        queue.dequeue(range(4, 6))
        queue.dequeue(SequenceSet([6]))
        queue.dequeue((7, 8))
        assert [id for id, _ in queue] == [9, 10]
        for wrong in (b"9", None, ["9"]):
            with pytest.raises(ArgumentError):
                queue.dequeue(wrong)  # type: ignore[arg-type]
        assert queue.depth == 2


def test_updates_keep_places_and_take_the_props_as_they_are_now() -> None:
    with nodes("a") as (_, _, (a,)):
        queue = a.sync.declare("q")
        queue.enqueue_many([b"1", b"2", b"3"])
        props = bytearray(b"p")
        assert queue.update(2, props).safe().ids == range(4, 5)
        assert queue.update((3, 1), [props, b"one"]).ids == range(5, 7)
        props[:] = b"x"
        assert list(queue.messages()) == [(5, b"1", b"one"), (4, b"2", b"p"), (6, b"3", b"p")]
        assert queue.places(SequenceSet([2, 5])) == SequenceSet([1, 2])
        with pytest.raises(ArgumentError, match="props must be"):
            queue.update(1, "text")  # type: ignore[arg-type]
        with a.sync.transaction() as t:
            part = t.update(queue, [1], [memoryview(b"again")])
        assert part.ids == range(7, 8) and next(queue.messages()) == (7, b"1", b"again")


def test_props_that_were_released_are_refused() -> None:
    with nodes("a") as (_, _, (a,)):
        queue = a.sync.declare("q")
        queue.enqueue_many([b"1", b"2"])
        released = memoryview(b"p")
        released.release()
        for props in (released, [b"p", released]):
            with pytest.raises(ArgumentError, match="released"):
                queue.update(range(1, 3), props)
        assert queue.depth == 2


def test_errors_come_back_to_the_thread() -> None:
    with nodes("a", "b") as (thread, _, (a, b)):
        queue = a.sync.declare("q")
        queue.declared.safe()
        with pytest.raises(ArgumentError, match="data"):
            queue.enqueue("text")  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="target"):
            queue.move([1], a.queue)  # type: ignore[arg-type]
        with pytest.raises(NotPrimary):
            b.sync.queue("q").enqueue(b"1")
        queue.enqueue(b"1").safe()
        with pytest.raises(MessagesGone), a.sync.transaction() as t:
            t.dequeue(queue, 1)
            queue.dequeue(1)
        a.sync.demote()
        b.sync.promote()
        a.sync.wait_in_sync(20.0)
        b.sync.demote()
        a.sync.promote()
        with pytest.raises(StaleHandle):
            queue.enqueue(b"2")
        assert list(queue) == []
        assert "SyncQueue of <Queue 'q'" in repr(queue)

        current = a.sync.queue("q")

        async def in_the_loop() -> None:
            with pytest.raises(WrongThread, match=r"SyncQueue.enqueue was called in the node's event loop"):
                current.enqueue(b"1")

        thread.run(in_the_loop())
