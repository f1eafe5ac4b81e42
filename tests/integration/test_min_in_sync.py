"""The setting ``min_in_sync`` on whole nodes (J4, S8), and deadlines of ops.

With fewer than ``min_in_sync`` members, publishes are refused and not stored. Pending ops wait until a member returns,
or end in doubt. Status, log and events name the missing members.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from qpidha import InDoubt, Node, NotEnoughMembers, OpTimeout
from qpidha.errors import QpidhaError
from qpidha.events import NodeEvent, TooFewMembers, TroubleOver
from tests.support.harness import QUICK, Recorder, World, content, history, run, until

TWO = replace(QUICK, min_in_sync=2)


def is_short(world: World, name: str) -> bool:
    return world.nodes[name].status().below_min_in_sync


def test_with_two_of_three_killed_publishes_wait_or_are_refused_until_one_returns() -> None:
    told: list[NodeEvent] = []

    async def main(world: World) -> None:
        a = await world.start("a", on_event=told.append)
        await world.start("b")
        await world.start("c")
        await a.promote()
        await until(lambda: world.members() == {"a", "b", "c"})
        queue = a.declare("q")
        assert (await queue.enqueue(b"one")).nodes == {"a", "b", "c"}
        await world.kill("b")
        await world.kill("c")
        pending = queue.enqueue(b"two")
        await until(lambda: is_short(world, "a"))
        with pytest.raises(NotEnoughMembers) as refused:
            queue.enqueue(b"three")
        assert (refused.value.members, refused.value.missing) == (("a",), ("b", "c"))
        for call in (
            lambda: queue.dequeue(1),
            lambda: queue.enqueue_many([b"x"] * 10),
        ):
            with pytest.raises(NotEnoughMembers):
                call()
        await until(lambda: world.members() == {"a"})
        with pytest.raises(OpTimeout):
            await pending.within(0.3)
        assert not pending.done and content(a) == [(1, b"one"), (2, b"two")]
        status = a.status()
        assert (status.min_in_sync, status.below_min_in_sync, status.missing) == (2, True, ["b", "c"])
        assert {(hold.kind, hold.node) for hold in status.held_by} >= {("members", "b"), ("members", "c")}
        assert [trouble.cause for trouble in status.troubles if trouble.cause == "too few members"]
        b = await world.start("b")
        assert (await pending).nodes == {"a", "b"}
        await until(lambda: not is_short(world, "a"))
        assert (await queue.enqueue(b"three")).nodes == {"a", "b"}
        assert history(a) == history(b) and [data for _, data in content(b)] == [b"one", b"two", b"three"]

    run(main, TWO)
    began = [event for event in told if isinstance(event, TooFewMembers)]
    over = [event for event in told if isinstance(event, TroubleOver) and event.cause == "too few members"]
    assert began[-1].missing == ("b", "c") and over


def test_a_broker_opens_with_too_few_members_and_serves_when_there_are_enough() -> None:
    """The founder of a cluster is alone at first; its declares in `on_promote` wait for more members."""

    class Declares(Recorder):
        node: Node

        async def on_promote(self, generation: int) -> None:
            self.node.declare("q")
            await super().on_promote(generation)

    async def main(world: World) -> None:
        broker = Declares()
        broker.node = a = await world.start("a", broker=broker)
        await a.promote()
        assert broker.promoted == [1] and a.serving
        with pytest.raises(NotEnoughMembers):
            a.queue("q").enqueue(b"one")
        await world.start("b")
        await until(lambda: not is_short(world, "a"))
        assert (await a.queue("q").enqueue(b"one")).nodes == {"a", "b"}

    run(main, TWO)


def test_what_is_pending_ends_in_doubt_with_the_term() -> None:
    async def main(world: World) -> None:
        a, *_ = await world.cluster("a", "b", "c")
        queue = a.declare("q")
        await queue.enqueue(b"one")
        await world.kill("b")
        await world.kill("c")
        pending = queue.enqueue(b"two")
        await until(lambda: world.members() == {"a"})
        waiting = asyncio.ensure_future(pending.within(60))
        await asyncio.sleep(0.05)
        await world.stop("a")
        with pytest.raises(InDoubt) as doubt:
            await waiting
        assert not isinstance(doubt.value, OpTimeout)

    run(main, TWO)


def test_a_failover_leaves_two_of_three_which_are_enough() -> None:
    async def main(world: World) -> None:
        a, b, _ = await world.cluster("a", "b", "c")
        await a.declare("q").enqueue(b"one")
        await world.kill("a")
        await b.promote()
        assert (await b.queue("q").enqueue(b"two")).nodes == {"b", "c"}

    run(main, TWO)


def test_a_failover_of_two_serves_again_when_the_other_one_is_back() -> None:
    """After its promotion it names the missing member: the old primary."""

    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        await a.declare("q").enqueue(b"one")
        await world.kill("a")
        await b.promote()
        with pytest.raises(NotEnoughMembers, match="missing: a"):
            b.queue("q").enqueue(b"two")
        await world.start("a")
        await until(lambda: not is_short(world, "b"))
        assert (await b.queue("q").enqueue(b"two")).nodes == {"a", "b"}

    run(main, TWO)


def test_a_loop_that_is_blocked_for_longer_than_the_deadline_ends_no_op() -> None:
    """The acknowledgements have arrived, but the loop has not read them yet."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        queue = a.declare("q")
        await queue.enqueue(b"one")
        answers: list[QpidhaError | None] = []
        for _ in range(100):
            queue.enqueue(b"more").add_safe_callback(lambda _, error: answers.append(error))
        op = queue.enqueue(b"last")
        asyncio.get_running_loop().call_soon(time.sleep, 0.9)
        await op
        assert answers == [None] * 100

    run(main, replace(QUICK, op_timeout_s=0.8))


def test_the_setting_ends_every_wait_and_the_op_may_become_safe_later() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        queue = a.declare("q")
        await queue.enqueue(b"one")
        world.gates["b"].mute = True
        op = queue.enqueue(b"two")
        with pytest.raises(OpTimeout):
            await op
        with pytest.raises(OpTimeout):
            await a.barrier()
        world.gates["b"].mute = False
        receipt = None
        for _ in range(100):
            try:
                receipt = await op
                break
            except OpTimeout:
                continue
        assert receipt is not None and content(b)[:1] == [(1, b"one")]

    run(main, replace(QUICK, op_timeout_s=0.2))
