"""Errors of a broker and unlucky timing on one node: neither the node nor a publish may hang."""

from __future__ import annotations

import asyncio

import pytest

from qpidha import Batch, InDoubt, SequenceSet
from qpidha.interfaces import QueueListener
from qpidha.records import MemoryRecordStore
from qpidha.types import QueueId, QueueSpec
from tests.support.harness import Recorder, World, content, run, until

SOON_S = 10.0
"""Time limit for what should happen at once; reached only if the test fails."""


# --- steps down in the turn in which something was published -----------------------------------------


def test_a_step_down_in_the_turn_of_a_publish_leaves_no_queue_stuck() -> None:
    """K1: publishes of that turn are in doubt on every queue; after another promotion all queues work."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queues = [a.declare(name) for name in ("q", "r", "s")]
        ops = [queue.enqueue(b"too late") for queue in queues]
        a._runtime.replica.step_down("the test wants it")
        for op in ops:
            with pytest.raises(InDoubt):
                await asyncio.wait_for(waited(op), SOON_S)
        await a.promote()
        for earlier in queues:
            assert earlier.depth == 0
            queue = a.queue(earlier.name)
            await asyncio.wait_for(waited(queue.enqueue(b"in time")), SOON_S)
            assert [data for _, data in queue] == [data for _, data in earlier] == [b"in time"]

    run(main)


def test_a_node_that_steps_down_with_something_published_can_be_read_and_stopped() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        await queue.enqueue(b"safe")
        queue.enqueue(b"too late")
        a._runtime.replica.step_down("the test wants it")
        assert content(a) == [(1, b"safe")]
        assert queue.get(2) is None
        await world.stop("a")

    run(main)


async def waited(op: object) -> object:
    return await op  # type: ignore[misc]


# --- an operation that is safe already ---------------------------------------------------------------


def test_accepting_what_is_gone_is_safe_at_once_on_a_lone_primary() -> None:
    """The first operation of a generation may change nothing; it must still complete."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        await queue.enqueue(b"one")
        await queue.dequeue(1)
        await world.stop("a")
        a = await world.start("a")
        await a.promote()
        await asyncio.wait_for(waited(a.queue("q").dequeue(1)), SOON_S)

    run(main)


# --- callbacks that raise ----------------------------------------------------------------------------


def test_a_callback_that_raises_affects_no_other_callback() -> None:
    """Other callbacks, other queues and the change of role in the same turn are unaffected."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        one, other = a.declare("one"), a.declare("other")
        told: list[object] = []
        one.on_safe_upto(broken)
        one.on_safe_upto(told.append)
        one.on_content(broken)
        op = one.enqueue(b"1")
        op.add_safe_callback(broken)
        op.add_safe_callback(lambda op, error: told.append(error))
        await asyncio.wait_for(waited(other.enqueue(b"2")), SOON_S)
        assert told == [None, 1]
        doubtful = one.enqueue(b"3")
        doubtful.add_safe_callback(broken)
        a._runtime.replica.step_down("the test wants it")
        with pytest.raises(InDoubt):
            await asyncio.wait_for(waited(doubtful), SOON_S)
        await until(lambda: world.brokers["a"].demoted == [1])

    run(main)


def broken(*_: object) -> None:
    raise ZeroDivisionError


# --- a broker that follows the content of its queues ---------------------------------------------------


class Following(Recorder):
    """Keeps a list of what its listeners received."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, list[tuple[str, int]]] = {}

    def on_queue(self, queue: QueueId, spec: QueueSpec) -> QueueListener:
        return Listener(self.told.setdefault(spec.name, []))


class Listener:
    def __init__(self, told: list[tuple[str, int]]) -> None:
        self._told = told

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        self._told += [("inserted", id) for id in ids]

    def removed(self, ids: SequenceSet) -> None:
        self._told += [("removed", id) for id in ids]


def test_a_listener_is_told_of_each_message_once() -> None:
    """The message may come from a resync, from an operation, or from the store."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        await a.declare("q").enqueue_many([b"1", b"2"])
        follower = Following()
        b = await world.start("b", broker=follower)
        await until(lambda: b.status().in_sync)
        late = a.declare("late")
        await late.enqueue(b"1")
        await a.queue("q").enqueue(b"3")
        await a.queue("q").dequeue(2)
        await until(lambda: ("removed", 2) in follower.told["q"])
        assert follower.told == {
            "q": [("inserted", 1), ("inserted", 2), ("inserted", 3), ("removed", 2)],
            "late": [("inserted", 1)],
        }
        await world.stop("b")
        again = Following()
        await world.start("b", broker=again)
        assert again.told == {"q": [("inserted", 1), ("inserted", 3)], "late": [("inserted", 1)]}

    run(main)


def test_a_polling_record_store_is_asked_to_poll_when_something_may_have_changed() -> None:
    """A broken link or a change of role may mean that a node died or that the record changed."""

    class Polling(MemoryRecordStore):
        def __init__(self) -> None:
            super().__init__()
            self.polls = 0

        def poll_soon(self) -> None:
            self.polls += 1

    async def main() -> None:
        async with World() as world:
            world.records = records = Polling()
            a, _ = await world.cluster("a", "b")
            assert records.polls > 0, "a change of role causes a poll"
            before = records.polls
            await asyncio.sleep(2 * world.settings.heartbeat_interval_s)
            assert records.polls == before, "without a change there is no poll"
            await world.kill("b")
            await until(lambda: not a._parts.links.peers)
            assert records.polls > before

    asyncio.run(main())
