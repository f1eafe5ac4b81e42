"""While bytes flow, no link is closed and no member removed; a link on which none flow is closed soon (L4).

Method: backups reach the primary through a proxy that limits the bytes per second in each direction, down to none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from qpidha import Node, Settings
from qpidha.types import Address
from tests.support.harness import QUICK, World, run, until

PIECE_BYTES = 8 * 1024
SLOW = replace(
    QUICK, ack_timeout_s=1.0, rejoin_timeout_s=1.0, heartbeat_timeout_s=0.6, link_bytes_per_s_min=128 * 1024
)
RATE = 512 * 1024
"""Bytes per second of the proxy: four times the slowest rate that must work, to allow for busy machines."""
LARGE = bytes(1024 * 1024)
"""A size that takes two seconds to send, twice the time-out."""


class Proxy:
    """A proxy in front of a node that limits the rate in each direction."""

    def __init__(self) -> None:
        self.target: Address = ("", 0)
        self.out = self.back = 1e9
        """Bytes per second from the node behind it, and to it. 0: nothing passes."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Address:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=4 * PIECE_BYTES)
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # Transports close in a later turn.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target, limit=4 * PIECE_BYTES)
        except OSError:
            writer.close()
            return
        for task in (self._pass(far_reader, writer, "out"), self._pass(reader, far_writer, "back")):
            self._tasks.add(asyncio.ensure_future(task))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        try:
            while data := await reader.read(PIECE_BYTES):
                rate: float = getattr(self, way)
                await asyncio.sleep(len(data) / rate if rate else 3600.0)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # One end is closed: close the other one too.
        finally:
            writer.close()


def through(main: Callable[[World, Proxy], Awaitable[None]], settings: Settings = SLOW) -> None:
    """Run one test with a cluster and a proxy."""

    async def wrapped(world: World) -> None:
        proxy = Proxy()
        try:
            await main(world, proxy)
        finally:
            await proxy.close()

    run(wrapped, settings)


async def behind(world: World, proxy: Proxy) -> tuple[Node, Node]:
    """Primary a, and member b that reaches it through the proxy."""
    a = await world.start("a", advertise=await proxy.start())
    assert a.address
    proxy.target = a.address
    await a.promote()
    b = await world.start("b")
    await until(lambda: a.status().in_sync and b.status().in_sync)
    return a, b


def no_link_was_given_up(caplog: pytest.LogCaptureFixture) -> bool:
    return not any(word in caplog.text for word in ("silent for", "more slowly", "removing"))


@pytest.mark.parametrize("count", [1, 3])
def test_large_messages_reach_a_backup_behind_a_slow_link(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qpidha")

    async def main(world: World, proxy: Proxy) -> None:
        a, _ = await behind(world, proxy)
        q = a.declare("q")
        await q.enqueue(b"1")
        proxy.out, links = RATE, set(a._parts.links.peers)
        ops = [q.enqueue(LARGE) for _ in range(count)]
        for op in ops:
            assert sorted((await op).nodes) == ["a", "b"]
        assert no_link_was_given_up(caplog), caplog.text
        assert set(a._parts.links.peers) == links

    through(main)


def test_a_member_that_catches_up_over_a_slow_link_stays_a_member(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "qpidha")

    async def main(world: World, proxy: Proxy) -> None:
        a, b = await behind(world, proxy)
        q = a.declare("q")
        await q.enqueue(b"1")
        for peer in list(b._parts.links.peers.values()):
            peer.link.abort()
        proxy.out = RATE
        op = q.enqueue(LARGE)
        assert sorted((await op).nodes) == ["a", "b"]
        assert "removing" not in caplog.text

    through(main)


def test_a_link_that_is_slow_towards_the_primary_is_kept_too(caplog: pytest.LogCaptureFixture) -> None:
    """A backup's report of its queues may be long; other traffic in that direction is small, so heartbeats are enough."""
    caplog.set_level(logging.INFO, "qpidha")

    async def main(world: World, proxy: Proxy) -> None:
        a, b = await behind(world, proxy)
        q = a.declare("q")
        await q.enqueue_many([b"x"] * 100_000)
        await q.dequeue(range(1, 100_000, 2))
        for peer in list(b._parts.links.peers.values()):
            peer.link.abort()
        proxy.back = RATE
        caplog.clear()
        assert sorted((await q.enqueue(b"y")).nodes) == ["a", "b"]
        assert no_link_was_given_up(caplog), caplog.text

    through(main)


@pytest.mark.parametrize("way", ["out", "back"])
def test_a_link_on_which_nothing_passes_is_closed_soon(way: str) -> None:
    """This holds also while much is being sent on it: only a link that makes progress gets extra time for its bytes."""

    async def main(world: World, proxy: Proxy) -> None:
        a, _ = await behind(world, proxy)
        q = a.declare("q")
        await q.enqueue(b"1")
        setattr(proxy, way, 0)
        op = q.enqueue(LARGE)
        loop = asyncio.get_running_loop()
        began, before = loop.time(), set(a._parts.links.peers)
        await until(
            lambda: before.isdisjoint(a._parts.links.peers), timeout_s=60, what="the link is given up"
        )
        receipt = await op
        assert sorted(receipt.nodes) == ["a"]
        # The bytes would take a minute, and must not be waited for: less is right, also on a busy machine.
        assert loop.time() - began < len(LARGE) / slower.link_bytes_per_s_min

    slower = replace(SLOW, link_bytes_per_s_min=16 * 1024)
    through(main, slower)
