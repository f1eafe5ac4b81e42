"""How clients of a rehearsal ask a broker for something: with a time limit, and with an entry in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from qpidha.testing.rehearsal.ledger import Ledger
from qpidha.testing.rehearsal.registers import Register, Value
from qpidha.testing.rehearsal.requests import (
    NO_ANSWER,
    REQUEST_S,
    DeclaresQueues,
    KeepsKeys,
    KeepsObjects,
    RequestRefused,
    Requests,
)

RETRY_S = 0.2
"""Pause before a request is repeated."""


@dataclass(frozen=True)
class Kind:
    """One kind of state: how a client changes and reads it."""

    title: str
    put: Callable[[str, bytes], Awaitable[None]]
    remove: Callable[[str], Awaitable[None]]
    get: Callable[[str], Awaitable[Value]]
    has_values: bool = True
    """False: it is there, or not."""


def kinds_of(client: Requests) -> list[Kind]:
    """The kinds of state that a client can change."""
    kinds = []
    if isinstance(client, KeepsObjects):
        kinds.append(Kind("object", client.put_object, client.delete_object, client.get_object))
    if isinstance(client, KeepsKeys):
        kinds.append(Kind("key", client.put_key, client.remove_key, client.get_key))
    if isinstance(client, DeclaresQueues):
        queues = client

        async def declare(name: str, value: bytes) -> None:
            await queues.declare_queue(name)

        async def look(name: str) -> Value:
            return b"" if await queues.has_queue(name) else None

        kinds.append(Kind("queue", declare, client.delete_queue, look, has_values=False))
    return kinds


class Asker:
    """One client, and how it asks. Methods raise `Violation`."""

    def __init__(self, client: Requests, title: str, ledger: Ledger) -> None:
        self.title = title
        self.kinds = {kind.title: kind for kind in kinds_of(client)}
        self.answered = 0
        """How many requests were answered with success."""
        self._ledger = ledger

    async def ask(self, what: str, request: Awaitable[object]) -> bool | None:
        """Make a request. True: done; False: refused; None: no answer."""
        self._ledger.event(f"{self.title} {what}")
        try:
            await asyncio.wait_for(request, REQUEST_S)
        except RequestRefused as error:
            self._ledger.event(f"{self.title} {what}: refused, {error}")
            return False
        except NO_ANSWER as error:
            self._ledger.event(f"{self.title} {what}: no answer, {error!r}")
            return None
        self.answered += 1
        self._ledger.event(f"{self.title} {what}: done")
        return True

    async def read(self, register: Register, rule: str) -> bool:
        """Read a value, and check it by this rule. False: no answer."""
        known = register.known
        found: list[Value] = []

        async def read() -> None:
            found.append(await self.kinds[register.kind].get(register.name))

        if not await self.ask(f"reads {register.title}", read()):
            return False
        if wrong := register.read(known, found[0]):
            self._ledger.broken(f"{rule}: {wrong}")
        return True


async def until_answered(request: Callable[[], Awaitable[bool | None]]) -> None:
    """Repeat a request until it succeeds."""
    while True:
        if await request():
            return
        await asyncio.sleep(RETRY_S)
