"""Whole nodes whose record is kept by a real ZooKeeper ensemble: failover, and publishes while ZooKeeper fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qpidha import Node, Settings
from qpidha.promoters import PriorityPromoter
from qpidha.records import ZooKeeperRecordStore
from tests.engines.zookeeper import Ensemble
from tests.support.harness import World, content, until

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]

SETTINGS = Settings(
    heartbeat_interval_s=0.2,
    heartbeat_timeout_s=5.0,
    reconnect_interval_s=0.02,
    ack_timeout_s=5.0,
    rejoin_timeout_s=6.0,
    readmission_delay_s=0.1,
)
TIMEOUT_S = 40.0


class ZooKeeperWorld(World):
    """A cluster in one process, in which each node has its own `ZooKeeperRecordStore`."""

    def __init__(self, zookeeper: Ensemble, prefix: str) -> None:
        super().__init__(SETTINGS)
        self.zookeeper = zookeeper
        self.prefix = prefix
        self.kept: dict[str, ZooKeeperRecordStore] = {}

    async def start(self, name: str, *given: Any, **options: Any) -> Node:
        self.records = self.kept[name] = self.zookeeper.store(self.prefix, first="abc".index(name))  # type: ignore[assignment]
        return await super().start(name, *given, promoter=PriorityPromoter(), **options)

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        for records in self.kept.values():
            await records.close()

    def primary(self) -> Node | None:
        return next((node for node in self.nodes.values() if node.serving), None)


def run(zookeeper: Ensemble, prefix: str, main: Callable[[ZooKeeperWorld], Awaitable[None]]) -> None:
    async def wrapped() -> None:
        await zookeeper.start()
        async with ZooKeeperWorld(zookeeper, prefix) as world:
            for name in "abc":
                await world.start(name)
            await until(lambda: world.primary() is not None, timeout_s=TIMEOUT_S)
            await until(lambda: world.members() == set("abc"), timeout_s=TIMEOUT_S)
            await main(world)

    asyncio.run(wrapped())


async def publish(node: Node, *data: bytes) -> None:
    for one in data:
        await asyncio.wait_for(_confirmed(node, one), TIMEOUT_S)


async def _confirmed(node: Node, data: bytes) -> None:
    await node.queue("q").enqueue(data)


def test_three_nodes_fail_over_and_the_killed_one_joins_again(zookeeper: Ensemble) -> None:
    async def main(world: ZooKeeperWorld) -> None:
        first = world.primary()
        assert first is not None
        first.declare("q")
        await publish(first, b"1", b"2")
        killed = first.id
        await world.kill(killed)
        await until(lambda: world.primary() is not None, timeout_s=TIMEOUT_S)
        second = world.primary()
        assert second is not None and second.id != killed
        await publish(second, b"3")
        await world.start(killed)
        await until(lambda: world.members() == set("abc"), timeout_s=TIMEOUT_S)
        contents = [[data for _, data in content(node)] for node in world.nodes.values()]
        assert contents == [[b"1", b"2", b"3"]] * 3

    run(zookeeper, "/qpidha/failover", main)


def test_without_a_majority_of_zookeeper_publishes_go_on_and_nobody_steps_down(zookeeper: Ensemble) -> None:
    """For longer than the sessions' TTL. A killed leader with a majority left costs no session either."""

    async def main(world: ZooKeeperWorld) -> None:
        primary = world.primary()
        assert primary is not None
        primary.declare("q")
        generation = primary.status().generation
        zookeeper.members[await zookeeper.leader()].kill()
        sent = 0
        for members_down in (1, 2):
            if members_down == 2:
                next(member for member in zookeeper.members if member.pid is not None).kill()
            loop = asyncio.get_running_loop()
            until_then = loop.time() + (0.5, 2.5)[members_down - 1]
            while loop.time() < until_then:
                await publish(primary, b"%d" % sent)
                sent += 1
                await asyncio.sleep(0.02)
            assert primary.serving
        await zookeeper.start()
        await until(lambda: len(dict(world.nodes)) == 3 and primary.serving, timeout_s=TIMEOUT_S)
        live = await world.kept["a"].live()
        assert set(live) == set("abc")
        assert primary.serving and primary.status().generation == generation
        assert world.members() == set("abc")
        for node in world.nodes.values():
            await until(lambda node=node: len(content(node)) == sent, timeout_s=TIMEOUT_S)  # type: ignore[misc]

    run(zookeeper, "/qpidha/no-majority", main)


def test_a_hand_over_needs_no_time_out(zookeeper: Ensemble) -> None:
    async def main(world: ZooKeeperWorld) -> None:
        first = world.primary()
        assert first is not None
        first.declare("q")
        await publish(first, b"1")
        await asyncio.wait_for(first.demote(), TIMEOUT_S)
        await until(lambda: world.primary() not in (None, first), timeout_s=TIMEOUT_S)
        second = world.primary()
        assert second is not None
        await publish(second, b"2")
        assert [data for _, data in content(second)] == [b"1", b"2"]

    run(zookeeper, "/qpidha/hand-over", main)
