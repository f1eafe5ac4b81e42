"""All clients of one rehearsal: publishers, consumers, and those that use what else the broker has."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeAlias

from qpidha.testing.rehearsal.asking import Asker
from qpidha.testing.rehearsal.ledger import Ledger
from qpidha.testing.rehearsal.reader import Reader
from qpidha.testing.rehearsal.registers import Register
from qpidha.testing.rehearsal.requester import Requester
from qpidha.testing.rehearsal.requests import MakeRequests, Requests
from qpidha.testing.rehearsal.workload import Rounds, Workload
from qpidha.types import Address

Client: TypeAlias = Callable[[Workload], Awaitable[None]]
"""A client: publishes or consumes. A publisher may end; a consumer is cancelled."""
REQUESTS_MAX = 100
"""About so many requests are made by each client that makes requests."""
READS_MAX = 50
"""About so many reads are made by each client that only reads."""


class Sides(NamedTuple):
    """What the embedder wrote: how one client of each kind works."""

    publish: Client
    consume: Client
    requests: MakeRequests | None


class Clients:
    """The clients of a rehearsal, as tasks."""

    def __init__(
        self,
        sides: Sides,
        *,
        seed: int,
        rng: random.Random,
        now: Callable[[], float],
        addresses: Sequence[Address],
        values: int,
        over_s: float,
        numbers: tuple[int, int, int, int],
        rounds: int,
    ) -> None:
        publishers, consumers, requesters, readers = numbers
        self.addresses = list(addresses)
        self.ledger = Ledger(consumers, now)
        self.rounds = Rounds(rounds)
        self._values = values
        self._sides = sides
        self._seed = seed
        self._pause_s = over_s / REQUESTS_MAX
        self._read_pause_s = over_s / READS_MAX
        self._requesters_wanted = requesters if sides.requests is not None else 0
        self._readers_wanted = readers if self._requesters_wanted else 0

        def workload(number: int, share: int) -> Workload:
            return Workload(
                addresses, rng, self.ledger, self.rounds, number=number, values=share, over_s=over_s
            )

        shares = [values * (n + 1) // publishers - values * n // publishers for n in range(publishers)]
        self._publishers = [workload(n, share) for n, share in enumerate(shares)]
        self._consumers = [workload(n, 0) for n in range(consumers)]
        self._requesters: list[Requester] = []
        self._readers: list[Reader] = []
        self._made: list[Requests] = []
        self._tasks: list[asyncio.Future[None]] = []

    def start(self) -> None:
        """Start all of them."""
        publish, consume, requests = self._sides
        for workload in self._publishers:
            self._tasks.append(asyncio.ensure_future(publish(workload)))
        for workload in self._consumers:
            self._tasks.append(asyncio.ensure_future(consume(workload)))
        for n in range(self._requesters_wanted):
            assert requests is not None
            client = requests(self.addresses, n)
            rng = random.Random(f"{self._seed} requester {n}")
            requester = Requester(client, n, self.ledger, self.rounds, rng, self._pause_s)
            self._made.append(client)
            self._requesters.append(requester)
            self._tasks.append(asyncio.ensure_future(requester.run()))
        for n in range(self._readers_wanted):
            assert requests is not None
            client = requests(self.addresses, self._requesters_wanted + n)
            rng = random.Random(f"{self._seed} reader {n}")
            asker = Asker(client, f"reader {n}", self.ledger)
            reader = Reader(asker, self._registers, self.rounds, rng, self._read_pause_s)
            self._made.append(client)
            self._readers.append(reader)
            self._tasks.append(asyncio.ensure_future(reader.run()))

    def _registers(self) -> list[Register]:
        return [register for requester in self._requesters for register in requester.registers]

    async def during(self, work: Coroutine[Any, Any, None]) -> None:
        """Await this, unless a client raises something before it ends: then that is raised."""
        task = asyncio.ensure_future(work)
        pending: set[asyncio.Future[None]] = {t for t in self._tasks if not t.done()}
        try:
            while not task.done() and not self._failed():
                await asyncio.wait({task, *pending}, return_when=asyncio.FIRST_COMPLETED)
                pending = {t for t in pending if not t.done()}
            for failed in self._failed():
                await failed
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    def _failed(self) -> list[asyncio.Future[None]]:
        return [t for t in self._tasks if t.done() and not t.cancelled() and t.exception() is not None]

    async def stop(self) -> None:
        """Cancel all of them, and close what they hold."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for client in self._made:
            await client.close()

    def _askers(self) -> list[Requester | Reader]:
        return [*self._requesters, *self._readers]

    # --- at rest ---------------------------------------------------------------------------------

    @property
    def at_rest(self) -> bool:
        """Whether everything of this round was published, confirmed and delivered, and every request was answered."""
        published = all(workload.all_published for workload in self._publishers)
        idle = all(asking.idle for asking in self._askers())
        return published and idle and self.ledger.at_rest

    def check(self) -> None:
        """Check that everything of this round was confirmed and delivered. Raises `Violation`."""
        self.ledger.check(sum(workload.quota for workload in self._publishers))
        for asking in self._askers():
            if not asking.idle:
                title = asking.asker.title
                self.ledger.broken(f"S5: {title} still waits for an answer, when the time was over")

    async def verify(self) -> None:
        """Read all state that clients have changed. Raises `Violation`."""
        for requester in self._requesters:
            await requester.verify()

    @property
    def requests(self) -> int:
        """How many requests were answered with success."""
        return sum(requester.asker.answered for requester in self._requesters)

    @property
    def reads(self) -> int:
        """How many reads of clients that only read were answered."""
        return sum(reader.asker.answered for reader in self._readers)
