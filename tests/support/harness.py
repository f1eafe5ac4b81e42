"""Whole nodes in one process, over real TCP, with links that can be measured and cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from qpidha import Discarded, Node, Settings
from qpidha.interfaces import Link, LinkFactory, LinkHandler, Listener, MessageStore
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores.memory import MemoryStore
from qpidha.transports import TcpTransport
from qpidha.transports.stream import TcpLink
from qpidha.types import Address, BytesLike, PeerInfo

QUICK = Settings(
    heartbeat_interval_s=0.1,
    heartbeat_timeout_s=1.0,
    reconnect_interval_s=0.02,
    ack_timeout_s=2.0,
    rejoin_timeout_s=3.0,
    readmission_delay_s=0.1,
)
PATIENT = replace(QUICK, heartbeat_timeout_s=300.0, ack_timeout_s=300.0, rejoin_timeout_s=300.0)
"""However slow a peer or the machine is, its links are kept, and a member stays one as long as it has a session."""


class Recorder:
    """A broker that only records its callbacks."""

    def __init__(self) -> None:
        self.promoted: list[int] = []
        self.demoted: list[int] = []
        self.discarded: list[Discarded] = []

    async def on_promote(self, generation: int) -> None:
        self.promoted.append(generation)

    async def on_demote(self, generation: int) -> None:
        self.demoted.append(generation)

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        self.discarded += messages


class GatedLink:
    """A link whose sent data can be held back and counted."""

    def __init__(self, link: Link, gate: Gate) -> None:
        self._link = link
        self._gate = gate

    @property
    def peer(self) -> PeerInfo:
        return self._link.peer

    @property
    def buffered(self) -> int:
        return self._link.buffered

    def write(self, chunks: Sequence[BytesLike]) -> None:
        self._gate.sent += sum(len(c) for c in chunks)
        if self._gate.tap is not None:
            self._gate.tap(self, chunks)
        if not self._gate.mute:
            self._link.write(chunks)

    def pause_reading(self) -> None:
        """What the peer sends is not read any more."""
        assert isinstance(self._link, TcpLink) and self._link._transport is not None
        self._link._transport.pause_reading()

    def close(self) -> None:
        self._link.close()

    def abort(self) -> None:
        self._link.abort()


class Gate:
    """A transport that counts what one node sends, and can drop it: a cut in one direction.

    Args:
        tap: Is told of everything that is sent.
    """

    def __init__(self, tap: Callable[[GatedLink, Sequence[BytesLike]], None] | None = None) -> None:
        self._inner = TcpTransport()
        self.tap = tap
        self.sent = 0
        self.mute = False

    def _factory(self, on_link: LinkFactory) -> LinkFactory:
        def made(link: Link) -> LinkHandler:
            return on_link(GatedLink(link, self))

        return made

    async def listen(self, address: Address, on_link: LinkFactory) -> Listener:
        return await self._inner.listen(address, self._factory(on_link))

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        return await self._inner.connect(address, self._factory(on_link), timeout_s=timeout_s, expect=expect)

    async def refuses(self, address: Address, *, timeout_s: float) -> bool:
        return await self._inner.refuses(address, timeout_s=timeout_s)


class World:
    """A cluster in one process. An asynchronous context manager that stops all running nodes at its end."""

    def __init__(self, settings: Settings = QUICK) -> None:
        self.records = MemoryRecordStore()
        self.settings = settings
        self.nodes: dict[str, Node] = {}
        self.brokers: dict[str, Recorder] = {}
        self.gates: dict[str, Gate] = {}
        self.stores: dict[str, Any] = {}

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self.nodes):
            await self.stop(name)
        await self.records.close()

    async def start(
        self, name: str, store: MessageStore | None = None, broker: Recorder | None = None, **options: Any
    ) -> Node:
        """Start a node, on its previous store if it had one."""
        self.stores[name] = store or self.stores.get(name) or MemoryStore()
        self.brokers[name] = broker or Recorder()
        self.gates[name] = Gate()
        node = Node(
            name,
            broker=self.brokers[name],
            store=self.stores[name],
            transport=options.pop("transport", self.gates[name]),
            records=self.records,
            settings=self.settings,
            **options,
        )
        await node.start()
        self.nodes[name] = node
        return node

    async def cluster(self, *names: str) -> list[Node]:
        """Start nodes; the first becomes primary, and all become members."""
        nodes = [await self.start(name) for name in names]
        await nodes[0].promote()
        await until(lambda: all(n.in_sync for n in map(Node.status, nodes)))
        return nodes

    async def stop(self, name: str) -> None:
        await self.nodes.pop(name).stop()

    async def kill(self, name: str) -> None:
        """End a node abruptly: links reset, session gone, store left dirty."""
        node = self.nodes.pop(name)
        self.gates[name].mute = True
        for peer in list(node._parts.links.peers.values()):
            peer.link.abort()
        node._runtime.replica.stopped = True
        assert node._parts.engine.driver
        node._parts.engine.driver.failed = RuntimeError("killed")
        node._runtime.stop_reason = "killed"
        await node._parts.life.release(node._runtime.now() + 5.0)

    def members(self) -> set[str]:
        found = next(iter(self.nodes.values()))._runtime.replica.record
        return {m.node for m in found.members} if found else set()


async def until(reached: Callable[[], object], *, timeout_s: float = 15.0, what: str = "") -> None:
    """Wait for a condition by polling, so that tests do not depend on the speed of the machine."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        if time.monotonic() > deadline:
            raise AssertionError(f"never reached: {what or reached}")
        await asyncio.sleep(0.005)


def run(main: Callable[[World], Awaitable[None]], settings: Settings = QUICK) -> None:
    """Run one test in a new world."""

    async def wrapped() -> None:
        async with World(settings) as world:
            await main(world)

    asyncio.run(wrapped())


def content(node: Node, queue: str = "q") -> list[tuple[int, bytes]]:
    return list(node.queue(queue))


def history(node: Node, queue: str = "q") -> tuple[object, int, list[tuple[int, bytes]]]:
    """Return what must be equal on two ready nodes: lineage, next id, content in order."""
    q = node.queue(queue)._queue
    return q.lineage, q.next, content(node, queue)
