"""Tests of the proxy that other process tests depend on."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

import pytest

from qpidha.engines.ports import free_ports
from tests.support.proxy import Network

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
THERE, BACK = ("me", "echo"), ("echo", "me")


def run(main: Callable[[Network, Callable[[], Awaitable[Streams]]], Awaitable[None]]) -> None:
    """Run a test with an echo server behind a gate; this process is the node "me"."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    async def wrapped() -> None:
        ports = free_ports()
        gate, listen = ("127.0.0.1", next(ports)), ("127.0.0.1", next(ports))
        server = await asyncio.start_server(echo, *listen)
        opened: list[asyncio.StreamWriter] = []

        async def connect() -> Streams:
            reader, writer = await asyncio.open_connection(*gate)
            opened.append(writer)
            return reader, writer

        async with Network(lambda: {"me": os.getpid()}) as network:
            await network.gate("echo", gate, listen)
            await main(network, connect)
            for writer in opened:
                writer.close()
        server.close()

    asyncio.run(wrapped())


async def passed(network: Network, way: tuple[str, str], count: int) -> None:
    while network.passage(way).bytes_passed < count:  # noqa: ASYNC110 - the proxy sends no signal.
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("way", [THERE, BACK])
def test_held_data_waits_and_passes_in_order(way: tuple[str, str]) -> None:
    """This also shows that the proxy finds the process that opened the link: otherwise it would hold nothing."""

    async def main(network: Network, connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = await connect()
        network.hold(*way)
        writer.write(b"one ")
        if way == BACK:
            await passed(network, THERE, 4)
        writer.write(b"two")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.1)
        assert network.passage(way).bytes_passed == 0
        network.release(*way)
        assert await reader.readexactly(7) == b"one two"

    run(main)


def test_swallowed_data_is_lost_and_its_link_breaks_when_the_way_is_mended() -> None:
    async def main(network: Network, connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = await connect()
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        network.swallow(*BACK)
        writer.write(b"lost")
        await passed(network, THERE, 10)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.1)
        network.mend()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        reader, writer = await connect()
        writer.write(b"after")
        assert await reader.readexactly(5) == b"after"

    run(main)


def test_a_reset_breaks_only_the_links_that_are_open() -> None:
    async def main(network: Network, connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = await connect()
        writer.write(b"x")
        await reader.readexactly(1)
        network.reset("me", "somebody else")
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        network.reset("echo", "me")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)

    run(main)
