"""A whole broker under faults, in virtual time, from a seed; checked by what its clients see.

    async def broker(parts: NodeParts) -> None: ...      # one node: your code over `Node`; runs until cancelled
    async def publish(workload: Workload) -> None: ...   # your client: workload.values(), workload.confirmed()
    async def consume(workload: Workload) -> None: ...   # your client: workload.delivered()

    report = Rehearsal(broker, publish, consume, seed=7).run()

Nodes are killed, also in the middle of a commit, stopped, cut off from each other, from their clients and from
the cluster manager. Then all faults end, and every confirmed value must be delivered, in order. The broker
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
from qpidha.testing.rehearsal.faults import Faults
from qpidha.testing.rehearsal.host import Host
from qpidha.testing.rehearsal.loop import PROCESS, Process, VirtualLoop
from qpidha.testing.rehearsal.network import Network
from qpidha.testing.rehearsal.parts import NodeParts, ProcessRecords, ProcessStore
from qpidha.testing.rehearsal.report import Report
from qpidha.testing.rehearsal.workload import Workload
from qpidha.transports.tcp import TcpTransport

Broker: TypeAlias = Callable[[NodeParts], Coroutine[Any, Any, None]]
"""Runs one node: starts it, serves clients, and when it is cancelled stops in order."""
Client: TypeAlias = Callable[[Workload], Awaitable[None]]
"""A client: publishes or consumes. A publisher may end; a consumer is cancelled."""

RESTART_S = 0.3
"""Delay after which a broker that ended by itself is started again, as a supervisor would."""


class Rehearsal:
    """One run of a broker and its clients. Use an object for one run."""

    def __init__(
        self,
        broker: Broker,
        publish: Client,
        consume: Client,
        *,
        seed: int,
        nodes: int = 3,
        values: int = 300,
        faults_s: float = 15.0,
        patience_s: float = 240.0,
    ) -> None:
        """Prepare a run; nothing is started before `run`.

        Args:
            broker: Runs one node.
            publish: One publisher. After a failover it must send again what is in doubt.
            consume: One consumer of everything.
            seed: Chooses the faults and their times.
            nodes: Number of nodes, at most 8.
            values: Number of values that are published.
            faults_s: How long there are faults, and how long publishing takes, in virtual seconds.
            patience_s: Limit of the time from the last fault until all is confirmed and delivered, in virtual seconds.
        """
        self.rng = random.Random(seed)
        self.network = Network(self.rng)
        self.shared = MemoryRecordStore()
        self.hosts = [Host("abcdefgh"[n], n) for n in range(nodes)]
        self.report = Report(seed)
        self.killed: list[Process] = []
        self.workload = Workload([c.address for c in self.hosts], self.rng, values, faults_s)
        self.faults = Faults(self, faults_s)
        self._broker = broker
        self._sides = (publish, consume)
        self._patience_s = patience_s
        self._tasks: dict[Process, asyncio.Task[None]] = {}

    def run(self) -> Report:
        """Run it. Takes about 0.2 s for 15 virtual seconds of faults.

        Raises:
            Violation: An invariant does not hold. The text starts with its name; the seed and the last faults follow.
            Exception: What a client raised.
        """
        loop = VirtualLoop(self.network)
        loop.set_exception_handler(self._complain)
        with chosen_randomness(self.rng):
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
        sides = [asyncio.ensure_future(side(self.workload)) for side in self._sides]
        try:
            await self.faults.run()
            self.log("all is healed")
            await self._come_to_rest(sides)
        finally:
            for task in sides:
                task.cancel()
            await asyncio.wait(sides)
        self.workload.check()
        for host in self.hosts:
            await self.stop(host)
        self.report.confirmed = len(self.workload.confirmations)
        self.report.duplicates = self.workload.duplicates
        self.report.virtual_s = asyncio.get_running_loop().time()

    async def _come_to_rest(self, sides: Sequence[asyncio.Future[None]]) -> None:
        """Wait until all is confirmed and delivered, or the time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        while not self.workload.done and loop.time() < until:
            await asyncio.sleep(0.1)
            for side in sides:
                if side.done() and side.exception() is not None:
                    await side  # Raises what the client raised.
        self.workload.check()

    # --- nodes -----------------------------------------------------------------------------------

    def start(self, host: Host) -> None:
        """Start a new process of this node."""
        host.processes += 1
        self.report.processes += 1
        host.process = process = Process(host.name, host.processes)
        host.records = ProcessRecords(self.shared, process, self.network)
        host.records.unsure = self.faults.unsure
        token = PROCESS.set(process)
        try:
            parts = NodeParts(
                id=host.name,
                number=host.number,
                store=ProcessStore(host.disk, process, self.faults.in_commit),
                records=host.records,
                transport=TcpTransport(),
                client_address=host.address,
            )
            host.task = self._tasks[process] = asyncio.ensure_future(self._broker(parts))
        finally:
            PROCESS.reset(token)
        self.log(f"start {process}")
        host.task.add_done_callback(lambda task: self._ended(host, process, task), context=Context())

    def _ended(self, host: Host, process: Process, task: asyncio.Task[None]) -> None:
        """A process ended: if it was not stopped or killed, start the node again."""
        error = None if task.cancelled() else task.exception()
        if process.alive and host.process is process and not self.faults.over:
            self.report.raised.append(f"{process} ended: {error!r}")
            self.log(f"{process} ended by itself: {error!r}")
            self.kill(host)
            asyncio.get_running_loop().call_later(RESTART_S, self.restart, host)

    def restart(self, host: Host) -> None:
        """Start the node of this host, unless it runs."""
        if host.process is None:
            self.start(host)

    def kill(self, host: Host, *, silently: bool = False) -> None:
        """Kill the process of this node, if it runs: only what it committed survives."""
        process = host.process
        if process is None:
            return
        self.log(f"kill {process}{' with its machine' if silently else ''}")
        process.kill()
        host.process = None
        self.network.kill(process, silently=silently)
        host.disk.crash()
        self.expire(host)
        self.killed.append(process)

    def expire(self, host: Host) -> None:
        """End the session of this node, so that others take it for dead."""
        with suppress(CallerError):  # It may have none.
            self.shared.expire(host.name)

    async def stop(self, host: Host) -> None:
        """Stop the node in order. Raises `Violation` (L1) if it does not end in time."""
        if host.task is not None and host.process is not None:
            host.task.cancel()
            await asyncio.wait([host.task], timeout=self._patience_s)
            if not host.task.done():
                raise Violation(f"L1: node {host.name} was asked to stop and does not")

    # --- afterwards --------------------------------------------------------------------------------

    async def _clear_away(self) -> None:
        """Let the tasks of all processes end, without effect on anything outside them."""
        loop = asyncio.get_running_loop()
        for host in self.hosts:
            self.kill(host)
        for process in self.killed:
            self.report.raised += [f"{process}: {error!r}" for error in process.raised]
            process.resume()
        mine = asyncio.current_task()
        until = loop.time() + 60
        while (left := {t for t in asyncio.all_tasks() if t is not mine}) and loop.time() < until:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1)
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]


@contextmanager
def chosen_randomness(rng: random.Random) -> Iterator[None]:
    """While this lasts, uuids and other random bytes come from the seed."""
    urandom, os.urandom = os.urandom, rng.randbytes
    try:
        yield
    finally:
        os.urandom = urandom
