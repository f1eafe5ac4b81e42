"""A backup that joins while publishers keep its primary busy: they are slowed until it is in sync, and no longer."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from qpidha import Node, Settings
from qpidha.events import NodeEvent, PublishersSlowed, TroubleOver
from qpidha.node.queue import Queue
from tests.integration.test_catch_up import SMALL
from tests.support.harness import GatedLink, World, history, run, until

AT_ONCE = replace(SMALL, catch_up_time_max_s=0.001, plan_chunks_in_flight_max=256, link_bytes_per_s_min=1)
"""Publishers get the least share of a copy from its beginning."""
BATCH = [b"x" * 200] * 10
BACKLOG = 1000
PUBLISHERS = 5
"""Fewer bytes in all than a session may owe: none lags only because they all publish at once."""


class Publishers:
    """Tasks that publish one batch after the other, each when the one before it is confirmed."""

    def __init__(self, queue: Queue) -> None:
        self.made = self.confirmed = 0
        self._queue = queue
        self._tasks = [asyncio.ensure_future(self._publish()) for _ in range(PUBLISHERS)]

    async def _publish(self) -> None:
        while True:
            self.made += 1
            await self._queue.enqueue_many(BATCH)
            self.confirmed += 1

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def backlog(world: World, told: list[NodeEvent]) -> tuple[Node, Queue]:
    """A primary with a backlog, alone."""
    a = await world.start("a", on_event=told.append)
    await a.promote()
    queue = a.declare("q")
    for _ in range(BACKLOG):
        await queue.enqueue_many(BATCH)
    return a, queue


async def joined(world: World, a: Node, publishers: Publishers) -> tuple[int, set[str]]:
    """A fresh backup joins: how many batches were made until it was in sync, and for whom publishers were slowed."""
    before, slowed = publishers.made, set[str]()
    b = await world.start("b")
    while not b.status().in_sync:
        status = a.status()
        slowed |= {entry.backup for entry in status.slowed}
        assert {hold.node for hold in status.held_by if hold.kind == "catch-up"} == {
            entry.backup for entry in status.slowed
        }
        await asyncio.sleep(0)
    return publishers.made - before, slowed


def test_publishers_make_less_than_a_newcomer_copies_and_are_free_once_it_is_in() -> None:
    """At a quarter of the copy they make at most a third of the backlog until it has caught up."""
    told: list[NodeEvent] = []

    async def main(world: World) -> None:
        a, queue = await backlog(world, told)
        publishers = Publishers(queue)
        made, slowed = await joined(world, a, publishers)
        assert slowed == {"b"}
        assert made < BACKLOG
        confirmed = publishers.confirmed
        await until(lambda: publishers.confirmed > confirmed + 3 * PUBLISHERS)
        assert a.status().slowed == []
        await publishers.stop()
        await a.barrier()
        assert history(a) == history(world.nodes["b"])
        a._runtime.replica.check()

    run(main, AT_ONCE)
    (began,) = (event for event in told if isinstance(event, PublishersSlowed))
    assert began == PublishersSlowed(("b",))
    assert [e.line for e in told if isinstance(e, TroubleOver) and e.cause == began.cause]


def test_publishers_go_on_while_a_newcomer_makes_no_progress() -> None:
    """It reads nothing more: publishers are slowed for ``ack_timeout_s`` at most, and are never stopped."""

    async def main(world: World) -> None:
        a, queue = await backlog(world, [])
        publishers = Publishers(queue)
        b = await world.start("b")
        await until(lambda: any(entry.backup == "b" for entry in a.status().slowed))
        for peer in list(b._parts.links.peers.values()):
            assert isinstance(peer.link, GatedLink)
            peer.link.pause_reading()
        confirmed = publishers.confirmed
        await until(lambda: publishers.confirmed > confirmed + 3 * PUBLISHERS)
        await until(lambda: a.status().slowed == [])
        await publishers.stop()

    run(main, replace(AT_ONCE, ack_timeout_s=0.3, heartbeat_timeout_s=5.0))


def test_without_a_limit_nobody_is_slowed() -> None:
    told: list[NodeEvent] = []

    async def main(world: World) -> None:
        a, queue = await backlog(world, told)
        publishers = Publishers(queue)
        await world.start("b")
        made = publishers.made
        await until(lambda: publishers.made > made + 3 * PUBLISHERS)
        assert a.status().slowed == []
        await publishers.stop()

    run(main, Settings(catch_up_time_max_s=None))
    assert not any(isinstance(event, PublishersSlowed) for event in told)
