"""A client of a rehearsal that uses what a broker offers besides publish and accept, and knows what may be there.

What the broker said is done must be there, when it is read (Q7) and when all is at rest (S1).

Each name is changed by one client only. A change without an answer may be made at any later time, as long as its bytes
may be under way; so its name is not changed again, and both values are allowed, until the new one was seen.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable

from qpidha.testing.rehearsal.asking import Asker, Kind, until_answered
from qpidha.testing.rehearsal.ledger import Ledger, Published
from qpidha.testing.rehearsal.registers import Register
from qpidha.testing.rehearsal.requests import CommitsMessages, PublishesOnce, Requests
from qpidha.testing.rehearsal.workload import Rounds

OPEN_MAX = 4
"""Names that one client changes in turn, for each kind."""


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
        self.registers: list[Register] = []
        """The names that it changes."""
        self._client = client
        self.title = f"requester {number}"
        self.asker = Asker(client, self.title, ledger)
        self._number = number
        self._ledger = ledger
        self._rounds = rounds
        self._rng = rng
        self._pause_s = pause_s
        self._count = self._sequence = 0
        self._kinds = list(self.asker.kinds.values())
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

    # --- state -----------------------------------------------------------------------------------

    async def _change(self) -> None:
        kind = self._rng.choice(self._kinds)
        draw = self._rng.random()
        self._count += 1
        if draw < 0.25 and self.registers:
            await self.asker.read(self._rng.choice(self.registers), "Q7")
            return
        register = self._pick(kind)
        value = (b"%d.%d" % (self._number, self._count) if kind.has_values else b"") if draw < 0.8 else None
        register.write(value)
        if value is None:
            done = await self.asker.ask(f"deletes {register.title}", kind.remove(register.name))
        else:
            done = await self.asker.ask(f"puts {register.title} = {value!r}", kind.put(register.name, value))
        if done:
            register.done()
        elif done is False and (wrong := register.refused()):
            self._ledger.broken(wrong)

    def _pick(self, kind: Kind) -> Register:
        known = [each for each in self.registers if each.kind == kind.title and each.certain]
        if len(known) < OPEN_MAX:
            known.append(Register(kind.title, f"r{self._number}-{len(self.registers)}"))
            self.registers.append(known[-1])
        return self._rng.choice(known)

    async def verify(self) -> None:
        """Read everything, until all is answered. Raises `Violation`."""
        for register in self.registers:
            await until_answered(functools.partial(self.asker.read, register, "S1"))

    # --- messages --------------------------------------------------------------------------------

    async def _commit(self) -> None:
        assert isinstance(self._client, CommitsMessages)
        self._count += 1
        values = [b"commit %d.%d.%d" % (self._number, self._count, n) for n in range(self._rng.randint(1, 4))]
        for value in values:
            self._ledger.publish(value, Published(self.title, None))
        self._ledger.commits.append(values)
        done = await self.asker.ask(f"commits {len(values)} messages", self._client.commit(values))
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
        await until_answered(
            lambda: self.asker.ask(f"publishes {sequence}", client.publish_once(sequence, value))
        )
        self._ledger.confirm(value)
