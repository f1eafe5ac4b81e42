"""A client of the example broker that changes queues and objects, each change once, over failovers.

async with Changer(addresses, "ada") as changer:
await changer.change([("declare", "orders", "priority"), ("publish", ["orders"], 5, b"first")])
queues, objects = await changer.describe()
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgpack
import protocol
from client import Client, Connection
from protocol import U64, Address

Step = tuple[Any, ...]
"""The name of a step and its arguments: see `topology.Topology`."""


class Changer(Client):
    """Sends one change after the other. What was not answered is sent again to the next primary, with its number."""

    def __init__(self, addresses: Sequence[Address], name: str) -> None:
        super().__init__(addresses)
        self.name = name
        self.made = 0
        """How many changes are safe: also the number of the last of them."""
        self.repeated = 0
        """How many were sent again to a new primary."""
        self._epoch: list[int] | None = None
        self._steps: Sequence[Step] | None = None
        self._description: tuple[dict[str, Any], list[Any]] | None = None

    async def change(self, steps: Sequence[Step]) -> None:
        """Make one change: returns when all of its steps are safe on every node."""
        number, self._steps = self.made + 1, steps
        self._send()
        while self.made < number:
            await self._change()

    async def describe(self) -> tuple[dict[str, Any], list[Any]]:
        """All queues with their messages, and all objects, as they are safe on every node."""
        self._description = None
        while self._description is None:
            if self.connection is not None:
                self.connection.send(protocol.DESCRIBE)
            change = asyncio.ensure_future(self._change())
            await asyncio.wait([change], timeout=1.0)
            change.cancel()
        return self._description

    def connected(self, connection: Connection) -> None:
        if self.connections > 1 and self._steps is not None:
            self.repeated += 1
        self._send()

    def _send(self) -> None:
        if self.connection is None:
            return
        if self._epoch is None:
            self.connection.send(protocol.REGISTER, self.name.encode())
        elif self._steps is not None:
            self.connection.send(
                protocol.CHANGE, msgpack.packb([self.name, self._epoch, self.made + 1, self._steps])
            )

    def received(self, connection: Connection, kind: int, body: memoryview | bytes) -> None:
        if kind == protocol.REGISTERED:
            self._epoch = msgpack.unpackb(body)
            self._send()
        elif kind == protocol.CHANGED:
            (number,) = U64.unpack(body)
            if number > self.made:
                self.made, self._steps = number, None
        elif kind == protocol.DESCRIBED:
            self._description = tuple(msgpack.unpackb(body))  # type: ignore[assignment]
        else:
            super().received(connection, kind, body)
        self._changed.set()
