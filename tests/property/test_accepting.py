"""Accepts that are collected for one operation have the effects of accepts that are made one by one.

Method: hypothesis draws calls of all kinds that name messages, and where turns end. Two nodes are given the same calls;
the handles of one of them collect nothing. Each call has the same answer on both, and after each turn so have all ops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qpidha import SequenceSet, Settings
from qpidha.errors import QpidhaError
from qpidha.node.op import Op
from qpidha.node.queue import Queue
from tests.support.content_parts import Room
from tests.support.node_parts import run

SETTINGS = Settings(ids_runs_per_chunk_max=3)
IDS = st.integers(1, 14)
SETS = st.lists(IDS, max_size=4)
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("enqueue")),
        st.tuples(st.just("turn")),
        st.tuples(st.just("accept"), IDS),
        st.tuples(st.just("accept"), IDS),
        st.tuples(st.just("accept_set"), SETS),
        st.tuples(st.just("accept_list"), SETS),
        st.tuples(st.just("take")),
        st.tuples(st.just("read"), IDS, st.integers(1, 3)),
        st.tuples(st.just("get"), IDS),
        st.tuples(st.just("look")),
        st.tuples(st.just("update"), IDS),
        st.tuples(st.just("move"), SETS),
        st.tuples(st.just("commit"), IDS),
        st.tuples(st.just("purge")),
    ),
    max_size=25,
)


class Side:
    """A primary with two queues, and what it was asked."""

    def __init__(self, *, collects: bool) -> None:
        self.room = Room(SETTINGS).lead()
        self.queue, self.other = self.room.declare("q"), self.room.declare("other")
        for queue in (self.queue, self.other):
            queue._collects = queue._collects and collects
        self.queue.enqueue_many([b"%d" % n for n in range(1, 7)])
        self.room.turn()
        self.ops: list[Op] = []

    def ask(self, name: str, *arguments: Any) -> object:
        """Make a call; what it answers, or raises."""
        call: Callable[..., object] = getattr(self, "_" + name)
        try:
            answer = call(*arguments)
        except QpidhaError as error:
            return type(error), str(error)
        if isinstance(answer, Op):
            self.ops.append(answer)
            return answer.ids
        return answer

    def _enqueue(self) -> Op:
        return self.queue.enqueue(b"new", b"p")

    def _turn(self) -> object:
        self.room.turn()
        return [(op.safe, op.receipt()) for op in self.ops]

    def _accept(self, id: int) -> Op:
        return self.queue.dequeue(id)

    def _accept_set(self, ids: list[int]) -> Op:
        return self.queue.dequeue(SequenceSet(ids))

    def _accept_list(self, ids: list[int]) -> Op:
        return self.queue.dequeue(ids)

    def _take(self) -> object:
        return (self.queue.depth, self.queue.next_id, self.other.depth)

    def _read(self, first: int, count: int) -> object:
        found = self.queue.read(first, messages_max=count)
        return None if found is None else (list(found[0]), list(found[1]))

    def _get(self, id: int) -> object:
        return self.queue.get(id)

    def _look(self) -> object:
        return [list(queue.messages()) for queue in (self.queue, self.other)]

    def _update(self, id: int) -> Op:
        return self.queue.update([id], b"changed")

    def _move(self, ids: list[int]) -> Op:
        return self.queue.move(ids, self.other)

    def _commit(self, id: int) -> object:
        with self.room.transaction() as transaction:
            transaction.dequeue(self.queue, id)
            transaction.enqueue(self.other, b"made of it")
        return transaction.op

    def _purge(self) -> Op:
        return self.queue.purge()

    def content(self) -> list[tuple[int, int, object]]:
        """Of both queues, at the end."""
        return [self._content_of(queue) for queue in (self.queue, self.other)]

    def _content_of(self, queue: Queue) -> tuple[int, int, object]:
        queue._queue.check()
        return queue.depth, queue.next_id, list(queue.messages())


@given(CALLS)
def test_all_calls_have_the_same_answers(calls: list[tuple[Any, ...]]) -> None:
    async def work() -> None:
        collecting, plain = Side(collects=True), Side(collects=False)
        for call in calls:
            assert collecting.ask(*call) == plain.ask(*call), call
        assert collecting.ask("turn") == plain.ask("turn")
        assert collecting.content() == plain.content()
        for side in (collecting, plain):
            side.room.seat.core.check()

    run(work())
