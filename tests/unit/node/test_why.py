"""`Node.why` and `Node.unconfirmed`: from the node's own loop, with what was published in this turn, in slices."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from qpidha.core.explanation import Explanation, Verdict
from qpidha.core.origins import LOOKS
from qpidha.errors import ArgumentError, LocalProtocolError, UnknownQueue
from qpidha.node import slices
from qpidha.node.queue import Queue
from qpidha.node.why import Explaining
from qpidha.types import QueueSpec
from tests.support.node_parts import Seat, run


class Asked(Explaining):
    """Node a, as far as it answers questions."""

    def __init__(self, *others: str, enter: bool = True) -> None:
        self.seat = Seat()
        parts: Any = SimpleNamespace(runtime=self.seat.runtime, engine=self.seat.engine)
        self._parts = parts
        if enter:
            self.seat.enter().lead(*others)

    def declare(self, name: str) -> Queue:
        self.seat.core.declare(QueueSpec(name=name))
        self.seat.turn()
        return self.seat.handles.require(name)


def test_a_queue_is_named_by_its_handle_its_name_or_its_uuid() -> None:
    async def main() -> None:
        node = Asked("b")
        queue = node.declare("orders")
        queue.enqueue(b"one")
        for asked in (queue, "orders", queue.id):
            found = await node.why(asked, 1)
            assert (found.verdict, found.queue, found.id) == (Verdict.PENDING, queue.id, 1)
        assert (await node.why(queue, 1, 1)).generation == 1
        assert (await node.why(queue, 2)).verdict is Verdict.NOT_GIVEN
        assert (await node.why("nothing", 2)).verdict is Verdict.NO_QUEUE

    run(main())


def test_what_was_published_in_this_turn_is_there() -> None:
    async def main() -> None:
        node = Asked("b")
        queue = node.declare("orders")
        op = queue.enqueue(b"one")
        (held,) = node.unconfirmed(queue).publishes
        assert (held.queue_name, held.first) == ("orders", op.ids[0])
        other = node.declare("other")
        other.enqueue(b"two")
        assert [h.queue_name for h in node.unconfirmed().publishes] == ["orders", "other"]
        assert len(node.unconfirmed(queues_max=1).publishes) == 1

    run(main())


def test_a_long_search_lets_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        node = Asked()
        source, target = node.declare("source"), node.declare("target")
        for _ in range(3 * LOOKS // 500):
            ids = source.enqueue_many([b"x"] * 500).ids
            source.move(ids, target)
        source.enqueue(b"last")
        source.dequeue([3 * LOOKS + 1])
        node.seat.turn()
        monkeypatch.setattr(slices, "SLICE_S", -1.0)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        found: Explanation = await node.why(source, 3 * LOOKS + 1)
        counting.cancel()
        assert found.verdict is Verdict.GONE
        assert turns >= 3

    run(main())


def test_wrong_questions_are_refused() -> None:
    async def main() -> None:
        node = Asked()
        queue = node.declare("orders")
        for wrong in ((queue, -1), (queue, "1"), (7, 1), (queue, 1, -1)):
            with pytest.raises(ArgumentError):
                await node.why(*wrong)  # type: ignore[arg-type]
        with pytest.raises(UnknownQueue):
            node.unconfirmed("nothing")
        with pytest.raises(UnknownQueue):
            node.unconfirmed(UUID(int=9))
        with pytest.raises(ArgumentError):
            node.unconfirmed(queues_max=-1)

    run(main())


def test_a_node_that_has_not_started_answers_nothing() -> None:
    async def main() -> None:
        node = Asked(enter=False)
        with pytest.raises(LocalProtocolError):
            await node.why("orders", 1)
        with pytest.raises(LocalProtocolError):
            node.unconfirmed()

    run(main())
