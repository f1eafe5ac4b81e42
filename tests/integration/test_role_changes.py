"""Changes of role faster than the broker that has to follow them, and brokers that cannot follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from qpidha import Node, NotPrimary, Role
from qpidha.errors import ClusterError, PromotionRefused
from qpidha.promoters import PriorityPromoter
from qpidha.records import MemoryRecordStore
from qpidha.types import Versioned
from tests.support.harness import Recorder, World, content, run, until

SOON_S = 10.0
"""For what is due at once: a limit for failures, never waited for otherwise."""


class Slow(Recorder):
    """Takes its time to drop its clients."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = asyncio.Event()

    async def on_demote(self, generation: int) -> None:
        await self.may_go_on.wait()
        await super().on_demote(generation)


def test_a_node_serves_no_new_generation_before_its_broker_has_left_the_old_one() -> None:
    """A client of the first generation still holds id 2. In the third one that id is another message."""

    async def main(world: World) -> None:
        slow = Slow()
        a = await world.start("a", broker=slow)
        b = await world.start("b")
        await a.promote()
        await until(lambda: a.status().in_sync and b.status().in_sync)
        queue = a.declare("q")
        await queue.enqueue(b"one")
        world.gates["a"].mute = True
        queue.enqueue(b"old two")  # Delivered to a client of a, and never confirmed.
        await until(lambda: content(a)[-1] == (2, b"old two"))
        await b.promote()
        world.gates["a"].mute = False
        await b.queue("q").enqueue(b"new two")
        await until(lambda: a.role is Role.READY and content(a)[-1] == (2, b"new two"))
        await until(lambda: a.status().in_sync)
        again = asyncio.ensure_future(a.promote())
        await until(lambda: a._runtime.replica.primary is not None)
        await asyncio.sleep(0.05)
        with pytest.raises(NotPrimary):
            queue.dequeue(2)  # The client accepts before its broker learns that the term has ended.
        slow.may_go_on.set()
        await asyncio.wait_for(again, SOON_S)
        assert slow.demoted and slow.promoted == [1, 3]
        assert content(a) == [(1, b"one"), (2, b"new two")]

    run(main)


class Failing(Recorder):
    """Cannot be primary: its port is taken, say."""

    async def on_promote(self, generation: int) -> None:
        await super().on_promote(generation)
        raise OSError("injected")


def test_a_broker_that_cannot_be_primary_makes_room_for_another() -> None:
    """Also if it is the preferred one: it must not take the place again and again."""

    async def main(world: World) -> None:
        first = PriorityPromoter(2, patience_s=0.3)
        await world.start("a", broker=Failing(), promoter=first)
        await until(lambda: world.brokers["a"].promoted)
        b = await world.start("b", promoter=PriorityPromoter(1, patience_s=0.3))
        await until(lambda: b.role is Role.ACTIVE, timeout_s=30, what="b is primary")

    run(main)


class Stopping(Recorder):
    """Stops its node from within a callback."""

    node: Node

    async def on_demote(self, generation: int) -> None:
        await self.node.stop()
        await super().on_demote(generation)


def test_a_broker_may_stop_its_node_from_a_callback() -> None:
    async def main(world: World) -> None:
        broker = Stopping()
        broker.node = await world.start("a", broker=broker)
        await broker.node.promote()
        broker.node._runtime.replica.step_down("the test wants it")
        broker.node._runtime.poke()
        await until(lambda: broker.demoted, what="on_demote to return")
        await asyncio.wait_for(world.stop("a"), SOON_S)
        assert broker.node.role is Role.STOPPED
        again = await world.start("a")  # Its store was released, cleanly.
        assert again._runtime.replica.epoch == broker.node._runtime.replica.epoch

    run(main)


def test_a_role_that_is_already_over_is_not_reported() -> None:
    """A broker busy with a demotion is not promoted into a generation that is over by then."""

    async def main(world: World) -> None:
        slow = Slow()
        a = await world.start("a", broker=slow)
        await a.promote()
        a._runtime.replica.step_down("the test wants it")
        a._runtime.poke()
        again = asyncio.ensure_future(a.promote(timeout_s=0.5))
        await until(lambda: a._runtime.replica.primary is not None)
        a._runtime.replica.step_down("the test wants it")
        a._runtime.poke()
        await asyncio.wait([again])
        assert again.exception() is not None
        slow.may_go_on.set()
        await a.promote()
        assert slow.promoted == [1, 3]

    run(main)


# --- an operator and a watch that is late ------------------------------------------------------------


class LateWatch(MemoryRecordStore):
    """Stops notifying its watches once `late` is set."""

    late = False

    async def watch(self) -> AsyncIterator[Versioned | None]:  # type: ignore[override]
        async for current in super().watch():
            if self.late:
                await asyncio.Event().wait()
            yield current


def test_a_promotion_goes_by_the_record_as_it_is_not_as_it_was_last_seen() -> None:
    """P1: a node that was removed a moment ago is refused at once; it does not lose a compare-and-set and wait."""

    async def main(world: World) -> None:
        world.records = records = LateWatch()
        _, b = await world.cluster("a", "b")
        records.late = True
        current = await records.read()
        assert current is not None
        alone = frozenset(m for m in current.record.members if m.node == "a")
        await records.compare_and_set(current.version, replace(current.record, members=alone), timeout_s=1)
        assert "b" in b.status().members, "it has not been told"
        with pytest.raises(PromotionRefused, match="P1"):
            await asyncio.wait_for(b.promote(), SOON_S)

    run(main)


def test_a_promotion_needs_the_manager() -> None:
    async def main(world: World) -> None:
        _, b = await world.cluster("a", "b")
        world.records.reachable = False
        with pytest.raises(ClusterError):
            await asyncio.wait_for(b.promote(), SOON_S)
        world.records.reachable = True

    run(main)


def test_a_manager_that_does_not_answer_is_reported_once_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """A held publish needs a reason that an operator can read, and not one for every try."""

    def said() -> int:
        return caplog.text.count("node a: cluster manager: the record store is not reachable")

    async def main(world: World) -> None:
        nodes = await world.cluster("a", "b", "c")
        queue = nodes[0].declare("q")
        for times, name in ((1, "c"), (2, "b")):
            await world.kill(name)
            world.records.reachable = False
            op = queue.enqueue(b"held until the dead backup is removed")
            await until(lambda times=times: said() == times)
            await asyncio.sleep(5 * world.settings.record_retry_s)
            assert said() == times
            assert not op.safe
            world.records.reachable = True
            await until(lambda op=op: op.safe)

    caplog.set_level("INFO", "qpidha")
    run(main)
