"""A client of a rehearsal that uses what a broker offers besides publish and accept, and knows what may be there.

What the broker said is done must be there, when it is read and when all is at rest (S1).

Each name is changed by one client only. A change without an answer may be made at any later time, as long as its bytes
may be under way; so its name is not changed again, and both values are allowed, until the new one was seen.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from qpidha.testing.rehearsal.ledger import Ledger, Published
from qpidha.testing.rehearsal.requests import (
    NO_ANSWER,
    REQUEST_S,
    CommitsMessages,
    DeclaresQueues,
    KeepsKeys,
    KeepsObjects,
    PublishesOnce,
    RequestRefused,
    Requests,
)
from qpidha.testing.rehearsal.workload import Rounds

RETRY_S = 0.2
"""Pause before a request is repeated."""
OPEN_MAX = 4
"""Names that one client changes in turn, for each kind."""
Value: TypeAlias = "bytes | None"


@dataclass
class Named:
    """One name, and the values that it may have; None: it is not there."""

    kind: Kind
    name: str
    may_be: list[Value]
    """The last is the newest. More than one: a change got no answer."""


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


class Requester:
    """Makes requests at random, one after the other, and checks the answers."""

    def __init__(
        self,
        client: Requests,
        number: int,
        ledger: Ledger,
        rounds: Rounds,
        rng: random.Random,
        pause_s: float,
    ) -> None:
        self.idle = True
        """No request is under way."""
        self.requests = 0
        """How many were answered with success."""
        self.names: list[Named] = []
        self._client = client
        self.title = f"requester {number}"
        self._number = number
        self._ledger = ledger
        self._rounds = rounds
        self._rng = rng
        self._pause_s = pause_s
        self._count = self._sequence = 0
        self._kinds = kinds_of(client)
        self.actions: list[Callable[[], Awaitable[None]]] = [self._change] * len(self._kinds)
        """What is drawn from. Empty: the client has none of the abilities."""
        if isinstance(client, CommitsMessages):
            self.actions.append(self._commit)
        if isinstance(client, PublishesOnce):
            self.actions.append(self._publish_once)

    async def run(self) -> None:
        """Make requests in every round, until cancelled. Raises `Violation`."""
        while self.actions:
            while self._rounds.resting:
                await self._rounds.wait()
            self.idle = False
            await self._rng.choice(self.actions)()
            self.idle = True
            await asyncio.sleep(self._rng.uniform(0, 2 * self._pause_s))

    async def _ask(self, what: str, request: Awaitable[object]) -> bool | None:
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
        self.requests += 1
        self._ledger.event(f"{self.title} {what}: done")
        return True

    # --- state -----------------------------------------------------------------------------------

    async def _change(self) -> None:
        kind = self._rng.choice(self._kinds)
        draw = self._rng.random()
        self._count += 1
        if draw < 0.25 and self.names:
            await self._read(self._rng.choice(self.names))
            return
        named = self._pick(kind)
        value = (b"%d.%d" % (self._number, self._count) if kind.has_values else b"") if draw < 0.8 else None
        text = f"{kind.title} {named.name}"
        if value is None:
            done = await self._ask(f"deletes {text}", kind.remove(named.name))
        else:
            done = await self._ask(f"puts {text} = {value!r}", kind.put(named.name, value))
        if done:
            named.may_be = [value]
        elif done is None:
            named.may_be.append(value)

    def _pick(self, kind: Kind) -> Named:
        known = [named for named in self.names if named.kind is kind and len(named.may_be) == 1]
        if len(known) < OPEN_MAX:
            known.append(Named(kind, f"r{self._number}-{len(self.names)}", [None]))
            self.names.append(known[-1])
        return self._rng.choice(known)

    async def _read(self, named: Named) -> bool:
        """Read a value, and check it. False: no answer."""
        found: list[Value] = []

        async def read() -> None:
            found.append(await named.kind.get(named.name))

        text = f"{named.kind.title} {named.name}"
        if not await self._ask(f"reads {text}", read()):
            return False
        value = found[0]
        if value not in named.may_be:
            self._ledger.broken(
                f"S1: {text} should be {' or '.join(map(repr, named.may_be))}, and is {value!r}"
            )
        if value == named.may_be[-1] and value != named.may_be[0]:
            named.may_be = [value]  # The change was made; it is not made a second time.
        return True

    async def verify(self) -> None:
        """Read everything, until all is answered. Raises `Violation`."""
        for named in self.names:
            await until_answered(functools.partial(self._read, named))

    # --- messages --------------------------------------------------------------------------------

    async def _commit(self) -> None:
        assert isinstance(self._client, CommitsMessages)
        self._count += 1
        values = [b"commit %d.%d.%d" % (self._number, self._count, n) for n in range(self._rng.randint(1, 4))]
        for value in values:
            self._ledger.publish(value, Published(self.title, None))
        self._ledger.commits.append(values)
        done = await self._ask(f"commits {len(values)} messages", self._client.commit(values))
        if done:
            for value in values:
                self._ledger.confirm(value)
        elif done is False:
            self._ledger.refuse(values)

    async def _publish_once(self) -> None:
        assert isinstance(self._client, PublishesOnce)
        self._sequence += 1
        value = b"once %d.%d" % (self._number, self._sequence)
        self._ledger.publish(value, Published(self.title, self._sequence, once=True))
        client, sequence = self._client, self._sequence
        await until_answered(lambda: self._ask(f"publishes {sequence}", client.publish_once(sequence, value)))
        self._ledger.confirm(value)


async def until_answered(request: Callable[[], Awaitable[bool | None]]) -> None:
    """Repeat a request until it succeeds."""
    while True:
        if await request():
            return
        await asyncio.sleep(RETRY_S)
