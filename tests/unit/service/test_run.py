"""A node as the work of a process: until a signal, the end of standard input, or its own end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import pytest

from qpidha.errors import ArgumentError, ClusterError, NodeStopped, StoreFailed
from qpidha.node import Node
from qpidha.records import MemoryRecordStore
from qpidha.service import run_node
from qpidha.stores import MemoryStore
from qpidha.transports import MemoryNetwork, MemoryTransport
from tests.support.harness import Recorder, until


class Records(MemoryRecordStore):
    """Knows whether it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True
        await super().close()


def made(records: Records) -> Node:
    return Node(
        "a",
        broker=Recorder(),
        store=MemoryStore(),
        transport=MemoryTransport(MemoryNetwork()),
        records=records,
        listen=("a", 1),
    )


def ended(by: Callable[[Node], object], *, until_eof: bool = False) -> tuple[Node, Records]:
    """Run a node, make it serve, and do this."""

    async def main() -> tuple[Node, Records]:
        records = Records()
        running = asyncio.create_task(run_node(node := made(records), until_eof=until_eof))
        await until(lambda: node.status().role != "stopped" or running.done())
        await node.promote()
        by(node)
        await asyncio.wait_for(running, 30)
        return node, records

    return asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    node, records = ended(lambda node: os.kill(os.getpid(), number))
    stopped = node.status()
    assert stopped.role == "stopped" and records.closed
    assert signal.getsignal(number) == before


def test_the_end_of_standard_input_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        node, records = ended(lambda node: os.close(writing), until_eof=True)
    assert node.status().role == "stopped" and records.closed


def test_a_node_that_fails_raises() -> None:
    with pytest.raises(NodeStopped, match=r"node a has stopped: .*disk full") as raised:
        ended(lambda node: node._parts.life.store_failed(StoreFailed("disk full")))
    assert isinstance(raised.value.__cause__, StoreFailed)


def test_a_start_that_fails_raises_and_releases_all() -> None:
    class Broken(Records):
        async def read(self) -> None:
            raise ClusterError("out of reach")

    async def main() -> Broken:
        records = Broken()
        with pytest.raises(ClusterError, match="out of reach"):
            await run_node(made(records))
        return records

    assert asyncio.run(main()).closed


def test_its_arguments_are_checked() -> None:
    async def main() -> None:
        with pytest.raises(ArgumentError, match="node must be a Node"):
            await run_node(7)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="until_eof must be"):
            await run_node(made(Records()), until_eof=1)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="hand_over_s must be"):
            await run_node(made(Records()), hand_over_s=-1.0)

    asyncio.run(main())
