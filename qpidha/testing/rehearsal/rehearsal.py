"""An embedder's whole broker under faults, in virtual time, from a seed; judged at its clients.

    async def broker(seat: Seat) -> None: ...       # one node: your code over `Node`; runs until cancelled
    async def publish(edge: Edge) -> None: ...      # your client: publishes edge.values(), tells edge.confirmed
    async def consume(edge: Edge) -> None: ...      # your client: tells edge.delivered

    report = Rehearsal(broker, publish, consume, seed=7).run()

Nodes are killed, also in the middle of a commit, stopped, cut off from each other, from their clients and from
the cluster manager. Then all is healed, and every confirmed value must have come out, in order. The broker
needs no change: `asyncio` servers, connections, streams and timers are virtual. See ``docs/conformance.md``.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any, TypeAlias

from qpidha.errors import CallerError
from qpidha.records.memory import MemoryRecordStore
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.rehearsal.edge import Edge
from qpidha.testing.rehearsal.faults import Faults
from qpidha.testing.rehearsal.host import Host
from qpidha.testing.rehearsal.loop import LIFE, Life, VirtualLoop
from qpidha.testing.rehearsal.net import Wires
from qpidha.testing.rehearsal.report import Report
from qpidha.testing.rehearsal.seat import Seat, SeatRecords, SeatStore
from qpidha.transports.tcp import TcpTransport

Broker: TypeAlias = Callable[[Seat], Coroutine[Any, Any, None]]
"""A whole node: starts, serves, and when it is cancelled stops in order."""
Side: TypeAlias = Callable[[Edge], Awaitable[None]]
"""A client: publishes or consumes until it is cancelled."""

RESTART_S = 0.3
"""A broker that ended by itself is started again after this long, as a supervisor would."""


class Rehearsal:
    """One run."""

    def __init__(
        self,
        broker: Broker,
        publish: Side,
        consume: Side,
        *,
        seed: int,
        nodes: int = 3,
        values: int = 300,
        faults_s: float = 15.0,
        patience_s: float = 240.0,
    ) -> None:
        """Nothing happens before `run`.

        Args:
            broker: Runs one node.
            publish: One publisher. It must send again what a failover left in doubt, or not be confirmed.
            consume: One consumer of everything.
            seed: Chooses the faults and their times.
            nodes: How many.
            values: How many are published.
            faults_s: For how long there are faults, in virtual time; so long the publishing takes, too.
            patience_s: How long it may take, after the last fault, until all is confirmed and delivered.
        """
        self.chance = random.Random(seed)
        self.wires = Wires(self.chance)
        self.shared = MemoryRecordStore()
        self.hosts = [Host("abcdefgh"[n], n) for n in range(nodes)]
        self.report = Report(seed)
        self.buried: list[Life] = []
        self.edge = Edge([c.address for c in self.hosts], self.chance, values, faults_s)
        self.faults = Faults(self, faults_s)
        self._broker = broker
        self._sides = (publish, consume)
        self._patience_s = patience_s
        self._tasks: dict[Life, asyncio.Task[None]] = {}

    def run(self) -> Report:
        """Returns if every promise was kept.

        Raises:
            Violation: One was not; the message tells which, the seed, and the last faults.
        """
        loop = VirtualLoop(self.wires)
        loop.set_exception_handler(self._complain)
        with chosen_randomness(self.chance):
            try:
                loop.run_until_complete(self._run())
            except Violation as violation:
                last = "\n".join(self.report.log[-20:])
                raise Violation(f"{violation}\nseed {self.report.seed}, in the end:\n{last}") from violation
            finally:
                loop.run_until_complete(self._clear_away())
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()
        return self.report

    def log(self, text: str) -> None:
        """Add a line to the log of the report, with the time in seconds."""
        self.report.log.append(f"{asyncio.get_running_loop().time():9.3f} {text}")

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.report.raised.append(f"{context.get('message')}: {context.get('exception')!r}")

    # --- the run ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        for host in self.hosts:
            self.start(host)
        sides = [asyncio.ensure_future(side(self.edge)) for side in self._sides]
        try:
            await self.faults.run()
            self.log("all is healed")
            await self._come_to_rest(sides)
        finally:
            for task in sides:
                task.cancel()
            await asyncio.wait(sides)
        self.edge.check()
        for host in self.hosts:
            await self.stop(host)
        self.report.confirmed = len(self.edge.confirmations)
        self.report.duplicates = self.edge.duplicates
        self.report.virtual_s = asyncio.get_running_loop().time()

    async def _come_to_rest(self, sides: Sequence[asyncio.Future[None]]) -> None:
        """Until all is confirmed and delivered, or nothing can be hoped for any more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        while not self.edge.done and loop.time() < until:
            await asyncio.sleep(0.1)
            for side in sides:
                if side.done() and side.exception() is not None:
                    await side  # Raises what the client raised.
        self.edge.check()

    # --- nodes -----------------------------------------------------------------------------------

    def start(self, host: Host) -> None:
        """A new process of this node."""
        host.lives += 1
        self.report.lives += 1
        host.life = life = Life(host.name, host.lives)
        host.records = SeatRecords(self.shared, life, self.wires)
        host.records.unsure = self.faults.unsure
        token = LIFE.set(life)
        try:
            seat = Seat(
                id=host.name,
                number=host.number,
                store=SeatStore(host.disk, life, self.faults.in_commit),
                records=host.records,
                transport=TcpTransport(),
                client_address=host.address,
            )
            host.task = self._tasks[life] = asyncio.ensure_future(self._broker(seat))
        finally:
            LIFE.reset(token)
        self.log(f"start {life}")
        host.task.add_done_callback(lambda task: self._ended(host, life, task), context=Context())

    def _ended(self, host: Host, life: Life, task: asyncio.Task[None]) -> None:
        """A broker ended that nobody stopped: it is started again."""
        error = None if task.cancelled() else task.exception()
        if life.alive and host.life is life and not self.faults.over:
            self.report.raised.append(f"{life} ended: {error!r}")
            self.log(f"{life} ended by itself: {error!r}")
            self.kill(host)
            asyncio.get_running_loop().call_later(RESTART_S, self.restart, host)

    def restart(self, host: Host) -> None:
        """Start the node of this host, unless it runs."""
        if host.life is None:
            self.start(host)

    def kill(self, host: Host, *, silently: bool = False) -> None:
        """The process is gone: what it committed is there, and nothing else."""
        life = host.life
        if life is None:
            return
        self.log(f"kill {life}{' with its machine' if silently else ''}")
        life.kill()
        host.life = None
        self.wires.kill(life, silently=silently)
        host.disk.crash()
        self.expire(host)
        self.buried.append(life)

    def expire(self, host: Host) -> None:
        """Others think that this node is dead."""
        with suppress(CallerError):  # It may have none.
            self.shared.expire(host.name)

    async def stop(self, host: Host) -> None:
        """Stop in order."""
        if host.task is not None and host.life is not None:
            host.task.cancel()
            await asyncio.wait([host.task], timeout=self._patience_s)
            if not host.task.done():
                raise Violation(f"L1: node {host.name} was told to stop and does not")

    # --- afterwards --------------------------------------------------------------------------------

    async def _clear_away(self) -> None:
        """Let what is left of every life run out, where nothing it does reaches anybody."""
        loop = asyncio.get_running_loop()
        for host in self.hosts:
            self.kill(host)
        for life in self.buried:
            self.report.raised += [f"{life}: {error!r}" for error in life.raised]
            life.resume()
        mine = asyncio.current_task()
        until = loop.time() + 60
        while (left := {t for t in asyncio.all_tasks() if t is not mine}) and loop.time() < until:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1)
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]


@contextmanager
def chosen_randomness(chance: random.Random) -> Iterator[None]:
    """Uuids and other random bytes come from the seed."""
    urandom, os.urandom = os.urandom, chance.randbytes
    try:
        yield
    finally:
        os.urandom = urandom
