"""Whole nodes whose record is kept by a real engine: failover, and publishes while the engine fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qpidha import Node, Settings
from qpidha.interfaces import RecordStore
from qpidha.promoters import PriorityPromoter
from tests.engines.case import past
from tests.engines.engine import Engine
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


class EngineWorld(World):
    """A cluster in one process, in which each node has its own record store."""

    def __init__(self, engine: Engine, place: str) -> None:
        super().__init__(SETTINGS)
        self.engine = engine
        self.place = place
        self.opened: list[RecordStore] = []

    async def start(self, name: str, *given: Any, **options: Any) -> Node:
        opened = self.engine.store(self.place, first="abc".index(name) % len(self.engine.ports))
        self.opened.append(opened)
        self.records = opened
        return await super().start(name, *given, promoter=PriorityPromoter(), **options)

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        for records in self.opened:
            await records.close()

    def primary(self) -> Node | None:
        return next((node for node in self.nodes.values() if node.serving), None)

    def sessions(self, reached: Callable[[Any], bool]) -> bool:
        """Whether the session of each node is as wanted; one that is being opened again is not."""
        found = [node._parts.presence._session for node in self.nodes.values()]
        return all(session is not None and reached(session) for session in found)


def run(engine: Engine, place: str, main: Callable[[EngineWorld], Awaitable[None]]) -> None:
    async def wrapped() -> None:
        await engine.start()
        async with EngineWorld(engine, place) as world:
            for name in "abc":
                await world.start(name)
            await until(lambda: world.primary() is not None, timeout_s=TIMEOUT_S)
            await until(lambda: world.members() == set("abc"), timeout_s=TIMEOUT_S)
            await main(world)

    asyncio.run(wrapped())


def kept_at(session: Any) -> float:
    """When the last keep-alive was sent that was answered."""
    return float(session._kept_at)


async def publish(node: Node, *data: bytes) -> None:
    for one in data:
        await asyncio.wait_for(_confirmed(node, one), TIMEOUT_S)


async def _confirmed(node: Node, data: bytes) -> None:
    await node.queue("q").enqueue(data)


def test_three_nodes_fail_over_and_the_killed_one_joins_again(engine: Engine) -> None:
    async def main(world: EngineWorld) -> None:
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

    run(engine, "/qpidha/failover", main)


def test_without_a_quorum_publishes_go_on_and_nobody_steps_down(engine: Engine) -> None:
    """For longer than the sessions' TTL. The loss of a leader that is replaced costs no session either."""

    async def main(world: EngineWorld) -> None:
        primary = world.primary()
        assert primary is not None
        primary.declare("q")
        generation = primary.status().generation
        sent = 0

        async def publish_until(reached: Callable[[], bool]) -> None:
            nonlocal sent
            deadline = asyncio.get_running_loop().time() + TIMEOUT_S
            while not reached():
                assert asyncio.get_running_loop().time() < deadline
                await publish(primary, b"%d" % sent)
                sent += 1
                await asyncio.sleep(0.02)
            assert primary.serving

        before = time.monotonic()
        engine.kill(await engine.leader() if engine.quorum else await engine.follower())
        await publish_until(lambda: world.sessions(lambda session: kept_at(session) > before))
        if engine.quorum:
            await engine.lose_quorum()
        else:
            engine.kill(await engine.leader())
        await publish_until(
            lambda: world.sessions(
                lambda session: kept_at(session) + session.granted_ttl_s < time.monotonic()
            )
        )
        await engine.start()
        await until(lambda: world.sessions(lambda session: not past(session)), timeout_s=TIMEOUT_S)
        await until(lambda: len(dict(world.nodes)) == 3 and primary.serving, timeout_s=TIMEOUT_S)
        live = await world.opened[0].live()
        assert set(live) == set("abc")
        assert primary.serving and primary.status().generation == generation
        assert world.members() == set("abc")
        for node in world.nodes.values():
            await until(lambda node=node: len(content(node)) == sent, timeout_s=TIMEOUT_S)  # type: ignore[misc]

    run(engine, "/qpidha/no-quorum", main)


def test_a_hand_over_needs_no_time_out(engine: Engine) -> None:
    async def main(world: EngineWorld) -> None:
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

    run(engine, "/qpidha/hand-over", main)
