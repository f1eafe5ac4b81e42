"""Role changes that are faster than the broker's callbacks, and brokers whose callbacks fail."""

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
"""Time limit for what should happen at once; reached only if the test fails."""


class Slow(Recorder):
    """A broker that takes long to disconnect its clients."""

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
    """A broker that cannot be primary, for example because its port is in use."""

    async def on_promote(self, generation: int) -> None:
        await super().on_promote(generation)
        raise OSError("injected")


def test_a_broker_that_cannot_be_primary_gives_way_to_another() -> None:
    """Even a preferred broker must not be promoted again and again."""

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
        again = await world.start("a")  # Its store was closed cleanly and released.
        assert again._runtime.replica.epoch == broker.node._runtime.replica.epoch

    run(main)


def test_a_role_that_has_already_ended_is_not_reported() -> None:
    """While a broker handles a demotion, a promotion may end again; the broker is then not promoted."""

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


def test_a_promotion_reads_the_current_record_not_the_last_one_seen() -> None:
    """P1: a node that was just removed is refused at once, instead of after a lost compare-and-set."""

    async def main(world: World) -> None:
        world.records = records = LateWatch()
        _, b = await world.cluster("a", "b")
        records.late = True
        current = await records.read()
        assert current is not None
        alone = frozenset(m for m in current.record.members if m.node == "a")
        await records.compare_and_set(current.version, replace(current.record, members=alone), timeout_s=1)
        assert "b" in b.status().members, "b has not seen its removal yet"
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
    """An operator can read why a publish is held; the reason is logged once, not for every attempt."""

    def said() -> int:
        return caplog.text.count("node a: cluster manager: the record store is not reachable")

    async def main(world: World) -> None:
        nodes = await world.cluster("a", "b", "c")
        queue = nodes[0].declare("q")
        await queue.declared
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
