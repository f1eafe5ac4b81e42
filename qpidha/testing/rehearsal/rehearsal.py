"""A whole broker under faults, in virtual time, from a seed; checked by what its clients see.

    async def broker(parts: NodeParts) -> None: ...      # one node: your code over `Node`; runs until cancelled
    async def publish(workload: Workload) -> None: ...   # your client: workload.values(), workload.confirmed()
    async def consume(workload: Workload) -> None: ...   # your client: workload.delivered()

    report = Rehearsal(broker, publish, consume, seed=7).run()

Nodes are killed, also in the middle of a commit, stopped, cut off from each other, from their clients and from
the cluster manager. Then all faults end. Every confirmed value must be delivered, in order, everything else that clients
were told must hold, and all nodes must have the same. The broker needs no change: `asyncio` servers, connections,
streams and timers are virtual. See ``docs/conformance.md``.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from pathlib import Path
from typing import Any, TypeAlias

from qpidha.errors import CallerError
from qpidha.records.memory import MemoryRecordStore
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.rehearsal.clients import Client, Clients, Sides
from qpidha.testing.rehearsal.dump import new_directory, write
from qpidha.testing.rehearsal.faults import Faults
from qpidha.testing.rehearsal.host import Host
from qpidha.testing.rehearsal.loop import PROCESS, Process, VirtualLoop
from qpidha.testing.rehearsal.network import Network
from qpidha.testing.rehearsal.parts import NodeParts, ProcessRecords, ProcessStore
from qpidha.testing.rehearsal.quiet import OwnCheck, Quiet, content_of
from qpidha.testing.rehearsal.report import Report
from qpidha.testing.rehearsal.requests import MakeRequests
from qpidha.transports.tcp import TcpTransport

Broker: TypeAlias = Callable[[NodeParts], Coroutine[Any, Any, None]]
"""Runs one node: starts it, serves clients, and when it is cancelled stops in order."""

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
        publishers: int = 1,
        consumers: int = 1,
        requests: MakeRequests | None = None,
        requesters: int = 2,
        readers: int = 2,
        rounds: int = 1,
        checks: Sequence[OwnCheck] = (),
        dump: str | Path | None = None,
    ) -> None:
        """Prepare a run; nothing is started before `run`.

        Args:
            broker: Runs one node.
            publish: One publisher. After a failover it must send again what is in doubt.
            consume: One consumer of everything.
            seed: Chooses the faults and their times.
            nodes: Number of nodes, at most 8.
            values: Number of values that are published, by all publishers together.
            faults_s: How long there are faults, and how long publishing takes, in virtual seconds.
            patience_s: Limit of the time from the last fault until all is confirmed and delivered, in virtual seconds.
            publishers: Number of publishers: each is a call of ``publish``, and has an order of its own.
            consumers: Number of consumers of the one queue: each is a call of ``consume``.
            requests: Makes clients of what the broker has besides publish and accept.
            requesters: Number of such clients that change something; they also read.
            readers: Number of such clients that only read, each on a connection of its own.
            rounds: How often the faults end, all is delivered, and the checks are called. Each round has its share of
                ``faults_s`` and of ``values``.
            checks: Called at the end of each round.
            dump: At a violation a directory with all that is known is made in this one; None: a temporary one.
        """
        self._parameters = {
            "seed": seed,
            "nodes": nodes,
            "values": values,
            "faults_s": faults_s,
            "patience_s": patience_s,
            "publishers": publishers,
            "consumers": consumers,
            "requesters": requesters,
            "readers": readers,
            "rounds": rounds,
        }
        self.rng = random.Random(seed)
        self.network = Network(self.rng)
        self.shared = MemoryRecordStore()
        self.hosts = [Host("abcdefgh"[n], n) for n in range(nodes)]
        self.report = Report(seed)
        self.killed: list[Process] = []
        self.clients = Clients(
            Sides(publish, consume, requests),
            seed=seed,
            rng=self.rng,
            now=self._now,
            addresses=[c.address for c in self.hosts],
            values=values,
            over_s=faults_s,
            numbers=(publishers, consumers, requesters, readers),
            rounds=rounds,
        )
        self.faults = Faults(self, faults_s / rounds)
        self._broker = broker
        self._checks = checks
        self._patience_s = patience_s
        self._dump = None if dump is None else Path(dump)
        self._tasks: dict[Process, asyncio.Task[None]] = {}

    def run(self) -> Report:
        """Run it. Takes about 0.2 s for 15 virtual seconds of faults; more with more clients.

        Raises:
            Violation: An invariant does not hold, or an own check failed. The text starts with its name; the seed, the
                directory of the dump and the last faults follow.
            Exception: What a client raised.
        """
        loop = self._loop = VirtualLoop(self.network)
        loop.set_exception_handler(self._complain)
        with chosen_randomness(self.rng):
            try:
                loop.run_until_complete(self._run())
            finally:
                loop.run_until_complete(self._clear_away())
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()
        return self.report

    def _now(self) -> float:
        return self._loop.time()

    def log(self, text: str) -> None:
        """Add a line to the log of the report, with the time in seconds."""
        self.report.log.append(f"{asyncio.get_running_loop().time():9.3f} {text}")

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.report.raised.append(f"{context.get('message')}: {context.get('exception')!r}")

    # --- the run ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._run_rounds()
            for host in self.hosts:
                await self.stop(host)
        except Violation as violation:
            raise self._dumped(violation) from violation
        finally:
            self._count()

    async def _run_rounds(self) -> None:
        for host in self.hosts:
            self.start(host)
        self.clients.rounds.begin()
        self.clients.start()
        try:
            for n in range(self.clients.rounds.total):
                if n:
                    self.clients.rounds.begin()
                last = n == self.clients.rounds.total - 1
                await self.clients.during(self.faults.run(last=last))
                self.log("all is healed")
                await self._come_to_rest()
                await self.clients.during(self._check(final=last))
        finally:
            await self.clients.stop()

    def _count(self) -> None:
        ledger = self.clients.ledger
        self.report.confirmed = len(ledger.confirmations)
        self.report.duplicates = ledger.deliveries - len(ledger.first)
        self.report.requests = self.clients.requests
        self.report.reads = self.clients.reads
        self.report.virtual_s = self._now()

    def _dumped(self, violation: Violation) -> Violation:
        """Write what is known, and return the violation with the seed, where that is, and the last faults."""
        directory = new_directory(self._dump, self.report.seed)
        self._count()
        write(
            directory,
            violation=str(violation),
            parameters=self._parameters,
            report=self.report,
            hosts=self.hosts,
            ledger=self.clients.ledger,
            record=self.shared,
        )
        raised = "".join(f"\nraised: {error}" for error in self.report.raised[-3:])
        last = "\n".join(self.report.log[-20:])
        return Violation(
            f"{violation}\nseed {self.report.seed}, everything is in {directory}{raised}\nin the end:\n{last}"
        )

    async def _come_to_rest(self) -> None:
        """Wait until all is confirmed and delivered and the nodes have the same, or the time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        self.clients.rounds.resting = True
        while not (self.clients.at_rest and self._alike()) and loop.time() < until:
            await self.clients.during(asyncio.sleep(0.1))
        self.clients.check()
        if not self._alike():
            raise Violation("S5: the disks of nodes differ, long after all faults were over")

    def _alike(self) -> bool:
        """Whether the disks of all nodes that run have the same messages."""
        contents = [content_of(host.disk) for host in self.hosts if host.serves]
        return all(content == contents[0] for content in contents)

    async def _check(self, *, final: bool) -> None:
        """Read what clients have changed, and call own checks."""
        await within(self._patience_s, self.clients.verify(), "S5: reading what was changed does not end")
        nodes = {host.name: host.node for host in self.hosts if host.serves and host.node is not None}
        quiet = Quiet(final, self.clients.addresses, nodes, self.clients.ledger)
        for check in self._checks:
            name = getattr(check, "__name__", str(check))
            self.report.checks += 1
            try:
                await within(self._patience_s, check(quiet), f"{name}: does not end")
            except Violation:
                raise
            except AssertionError as error:
                raise Violation(f"{name}: {error}") from error

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
                show=lambda node: host.show(process, node),
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
        host.process = host.node = None
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


async def within(seconds: float, work: Awaitable[None], otherwise: str) -> None:
    """Await this. Raises `Violation` with this text if it takes longer."""
    try:
        await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise Violation(otherwise) from None


@contextmanager
def chosen_randomness(rng: random.Random) -> Iterator[None]:
    """While this lasts, uuids, other random bytes and the functions of `random` come from the seed."""
    urandom, os.urandom = os.urandom, rng.randbytes
    state = random.getstate()
    random.seed(rng.random())
    try:
        yield
    finally:
        random.setstate(state)
        os.urandom = urandom
