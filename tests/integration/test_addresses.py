"""Nodes with several addresses, with IPv6, with names that resolve to other addresses later, and nodes that move."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from qpidha.engines.ports import free_ports
from qpidha.errors import LinkClosed
from qpidha.interfaces import Link, LinkFactory
from qpidha.stores.memory import MemoryStore
from qpidha.transports import TcpTransport
from qpidha.types import Address
from tests.support.harness import World, run, until

NAME = "node-a.test"


class Silent(TcpTransport):
    """A transport on a machine from which some addresses are cut off: their packets are dropped."""

    def __init__(self, *dropped: Address) -> None:
        super().__init__()
        self.dropped = set(dropped)
        self.tried: list[Address] = []

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        self.tried.append(address)
        if address in self.dropped:
            await asyncio.sleep(timeout_s)
            raise LinkClosed(f"cannot connect to {address}: no answer in {timeout_s} s")
        return await super().connect(address, on_link, timeout_s=timeout_s, expect=expect)


def test_a_backup_follows_over_the_second_network_while_the_first_drops_everything() -> None:
    async def main(world: World) -> None:
        a = await world.start("a", listen=[("127.0.0.1", 0), ("127.0.0.2", 0)])
        await a.promote()
        first, second = a.status().addresses
        assert (first[0], second[0], a.address) == ("127.0.0.1", "127.0.0.2", first)
        transport = Silent(first)
        b = await world.start("b", transport=transport)
        await until(lambda: b.status().in_sync)
        await a.declare("orders").enqueue(b"1")
        assert transport.tried[:2] == [first, second]

        transport.dropped = {second}
        for link in list(b._parts.links.peers.values()):
            link.link.abort()
        await until(lambda: transport.tried[-1] == first and b.role.value == "ready")
        assert second in transport.tried[2:], "the one that worked last is tried first"

    run(main)


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_a_cluster_on_ipv6() -> None:
    async def main(world: World) -> None:
        a = await world.start("a", listen=("::1", 0))
        await a.promote()
        b = await world.start("b", listen=("::1", 0))
        await until(lambda: b.status().in_sync)
        await a.declare("orders").enqueue(b"1")
        assert a.address is not None and a.address[0] == "::1"

    run(main)


def test_a_name_is_resolved_again_before_each_attempt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def main(world: World) -> None:
        answers = ["127.0.0.9"]
        real = asyncio.BaseEventLoop.getaddrinfo

        async def resolve(loop: Any, host: Any, port: Any, **options: Any) -> Any:
            if host != NAME:
                return await real(loop, host, port, **options)
            found = [await real(loop, answer, port, **options) for answer in answers]
            return [info for infos in found for info in infos]

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
        port = next(free_ports())
        a = await world.start("a", listen=("127.0.0.1", port), advertise=(NAME, port))
        await a.promote()
        b = await world.start("b")
        await until(lambda: any(NAME in trouble.text for trouble in b.status().troubles))
        answers[:] = ["127.0.0.9", "127.0.0.1"]
        await until(lambda: b.status().in_sync)

    run(main)


def test_a_node_that_moves_is_found_at_its_new_address() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        store = MemoryStore()
        b = await world.start("b", store=store)
        await until(lambda: b.status().in_sync)
        await b.stop()
        moved = await world.start("b", store=store, listen=("127.0.0.3", 0))
        await until(lambda: moved.status().in_sync)
        await moved.promote()
        await until(lambda: moved.role.value == "active" and a.role.value == "ready")
        assert moved.address is not None and moved.address[0] == "127.0.0.3"

    run(main)
