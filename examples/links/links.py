"""Links between brokers as objects of the configuration: the primary opens them, its successor opens them again.

    links = Links(connect)

    async def on_promote(self, generation): links.open(node)
    async def on_demote(self, generation): await links.close()

A link pulls messages from a queue of another broker into a queue of this one. Its object says from where to where. How
far it got is a key of a table, changed in one transaction with the messages: so a failover loses none and repeats none.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Protocol

from qpidha import Node, Op, QpidhaError

KIND = "link"
POSITIONS = "link positions"
RETRY_S = 0.5

log = logging.getLogger("links")


@dataclass(frozen=True)
class Link:
    """The value of an object of the kind "link"."""

    address: str
    """Of the other broker."""
    source: str
    """Its queue."""
    target: str
    """Our queue."""

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> Link:
        return cls(**json.loads(value))


class Source(Protocol):
    """A connection to one queue of another broker. Its methods raise `OSError` if that is gone."""

    async def next(self, after: int) -> tuple[int, bytes]:
        """The first message with an id above this one: wait for it. Only messages that are safe there have an id."""

    async def accept(self, upto: int) -> None:
        """We have all messages up to this one: the other broker may drop them."""

    async def close(self) -> None:
        """End the connection."""


class Links:
    """The open links of one broker. There are none while its node is a backup."""

    def __init__(self, connect: Callable[[str, str], Awaitable[Source]]) -> None:
        """``connect``: called with an address and the name of a queue there."""
        self._connect = connect
        self._node: Node | None = None
        self._open = False
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # --- what the broker calls when its role changes ---------------------------------------------

    def open(self, node: Node) -> None:
        """From ``on_promote``: all objects are there, those of this node's time as backup included."""
        if self._node is None:
            self._node = node
            node.configuration.on_change(self._changed)  # Once: it lasts longer than a term.
        self._open = True
        for _, name, value in node.configuration.objects(KIND):
            self._begin(name, value)

    async def close(self) -> None:
        """From ``on_demote``: when it returns, none is open, and the next primary may open them."""
        self._open = False
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- what clients ask for ----------------------------------------------------------------------

    def put(self, node: Node, name: str, link: Link) -> Op:
        """Create a link, or change it: another source begins at its first message."""
        return self._change(node, name, link)

    def delete(self, node: Node, name: str) -> Op:
        """Delete a link, with its position."""
        return self._change(node, name, None)

    @staticmethod
    def _change(node: Node, name: str, link: Link | None) -> Op:
        with node.transaction() as t:
            t.remove(node.table(POSITIONS), name.encode())
            if link is None:
                t.delete_object(KIND, name)
            else:
                t.put_object(KIND, name, link.encode())
        return t.op

    def _changed(self, kind: str, name: str, value: bytes | None) -> None:
        if kind == KIND and self._open:
            if task := self._tasks.pop(name, None):
                task.cancel()
            if value is not None:
                self._begin(name, value)

    # --- one link ----------------------------------------------------------------------------------

    def _begin(self, name: str, value: bytes) -> None:
        self._tasks[name] = asyncio.get_running_loop().create_task(self._pull(name, Link.decode(value)))

    async def _pull(self, name: str, link: Link) -> None:
        try:
            while True:
                try:
                    source = await self._connect(link.address, link.source)
                    try:
                        await self._copy(name, link, source)
                    finally:
                        await source.close()
                except OSError as error:
                    log.warning("link %s to %s: %s", name, link.address, error)
                    await asyncio.sleep(RETRY_S)
        except QpidhaError as error:  # This node is not primary any more: on_demote follows.
            log.info("link %s ends: %s", name, error)

    async def _copy(self, name: str, link: Link, source: Source) -> None:
        """Each message is accepted there when it is safe here, on every member."""
        assert self._node is not None
        node, key = self._node, name.encode()
        queue, positions = node.declare(link.target), node.table(POSITIONS)
        position = int.from_bytes(positions.get(key) or b"", "big")
        await node.barrier()  # The position may come from a primary that died before all members had it.
        while True:
            await source.accept(position)
            position, data = await source.next(position)
            with node.transaction() as t:
                t.enqueue(queue, data)
                t.put(positions, key, position.to_bytes(8, "big"))
            await t.op
