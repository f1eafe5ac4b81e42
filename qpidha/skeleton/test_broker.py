"""The broker under kills, stops and cut networks, in virtual time: what a client was told must be true.

pip install pytest; pytest
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from qpidha import Node
from qpidha.promoters import PriorityPromoter
from qpidha.skeleton.broker import LINE_BYTES_MAX, Broker
from qpidha.testing.rehearsal import NodeParts, Rehearsal, Workload

T = TypeVar("T")


async def one_node(parts: NodeParts) -> None:
    """As `main` does it, with the parts of a rehearsal in place of disks and sockets."""
    broker = Broker()
    broker.node = node = Node(
        parts.id,
        broker=broker,
        store=parts.store,
        transport=parts.transport,
        records=parts.records,
        client_address=parts.client_address,
        promoter=PriorityPromoter(priority=parts.number),
    )
    parts.show(node)
    port = await asyncio.start_server(broker.serve, *parts.client_address, limit=LINE_BYTES_MAX)
    try:
        await node.start()
        await node.wait_stopped()
    finally:
        port.close()
        await node.stop()


class Connection:
    """A client of one node, which asks one thing at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, line: bytes) -> bytes:
        """The answer. Raises `ConnectionError` if there is none: what was asked for may be done, or not."""
        self._writer.write(line + b"\n")
        answer = await self._reader.readline()
        if not answer or answer.startswith((b"DOUBT", b"BUSY")):
            raise ConnectionError("no answer that says that it is done")
        return answer.rstrip(b"\n")


async def with_primary(workload: Workload, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do a piece of work with the primary, and again with the next one until it is done."""
    while True:
        for host, port in workload.addresses:
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 1.0)
            except (OSError, TimeoutError, asyncio.TimeoutError):
                continue
            try:
                return await asyncio.wait_for(work(Connection(reader, writer)), 10.0)
            except (OSError, TimeoutError, asyncio.TimeoutError):
                continue
            finally:
                writer.close()
        await asyncio.sleep(0.05)


async def publish(workload: Workload) -> None:
    """Put each value, again if it is in doubt: so it is there at least once."""
    async for value in workload.values():
        line = b"PUT " + value.hex().encode()
        await with_primary(workload, lambda connection, line=line: connection.ask(line))  # type: ignore[misc]
        workload.confirmed(value)


async def consume(workload: Workload) -> None:
    """Take one line after the other, for ever."""

    async def until_it_ends(connection: Connection) -> None:
        workload.consumer_connected(1)
        while True:
            word, *rest = (await connection.ask(b"TAKE")).split(b" ")
            if word == b"EMPTY":
                await asyncio.sleep(0.01)
                continue
            id, text = rest
            workload.delivered(bytes.fromhex(text.decode()))
            await workload.work()
            await connection.ask(b"DONE " + id)

    while True:
        await with_primary(workload, until_it_ends)


@pytest.mark.parametrize("seed", range(10))
def test_nothing_that_was_confirmed_is_lost(seed: int) -> None:
    """A seed decides which nodes are killed and when; one that fails does so each time."""
    report = Rehearsal(one_node, publish, consume, seed=seed, values=60).run()
    assert report.confirmed == 60
