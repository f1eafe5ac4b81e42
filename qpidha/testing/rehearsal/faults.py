"""What happens to the nodes of a rehearsal, and when. Each seed leaves some kinds out, so that others show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import Protocol

from qpidha.records.memory import MemoryRecordStore
from qpidha.testing.rehearsal.host import Host
from qpidha.testing.rehearsal.loop import Life
from qpidha.testing.rehearsal.net import OUTSIDE, Wires
from qpidha.testing.rehearsal.report import Report
from qpidha.testing.rehearsal.seat import MANAGER

SESSION_S = 2.0
"""A node that is stopped or out of the manager's reach for longer than this is thought to be dead."""


class RehearsedCluster(Protocol):
    """What the faults happen to."""

    chance: Random
    wires: Wires
    shared: MemoryRecordStore
    hosts: list[Host]
    report: Report

    def log(self, text: str) -> None:
        """Add a line to the log."""

    def kill(self, host: Host, *, silently: bool = False) -> None:
        """Kill the process of this host; its peers see no reset if it is killed silently."""

    def restart(self, host: Host) -> None:
        """Start the node of this host, unless it runs."""

    def expire(self, host: Host) -> None:
        """End the session of this host with the record store."""


class Faults:
    """The schedule of one rehearsal."""

    def __init__(self, rehearsal: RehearsedCluster, seconds: float) -> None:
        self._rehearsal = rehearsal
        self._chance = rehearsal.chance
        self._seconds = seconds
        self._doomed: dict[str, str] = {}
        """Nodes to be killed in the middle of their next commit, and what becomes of that."""
        self._ending: set[asyncio.Task[None]] = set()
        self.over = False
        rehearsal.wires.delay_s = (0.0001, self._chance.choice([0.003, 0.03, 0.1]))
        self.unsure = self._chance.choice([0.0, 0.0, 0.2])
        kinds: list[Callable[[Host], None]] = [
            self.kill,
            self.lose_machine,
            self.kill_in_commit,
            self.cut_then_kill,
            self.stop,
            self.isolate,
            self.cut_one_way,
            self.keep_from_manager,
            self.reset,
        ]
        self.kinds = self._chance.sample(kinds, self._chance.randint(2, len(kinds)))

    async def run(self) -> None:
        """Until the time is over; afterwards everything is whole again and every node runs."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        await asyncio.sleep(self._chance.uniform(0.2, 1.5))
        while loop.time() < end:
            kind = self._chance.choice(self.kinds)
            host = self._victim()
            if host.life is not None and host.life.running:
                name = kind.__name__.replace("_", " ")
                self._rehearsal.report.faults[name] = self._rehearsal.report.faults.get(name, 0) + 1
                self._rehearsal.log(f"{name}: {host.life}")
                kind(host)
            await asyncio.sleep(self._chance.expovariate(1 / 1.2))
        self._doomed.clear()
        while self._ending:
            await asyncio.wait(set(self._ending))
        for host in self._rehearsal.hosts:
            self._rehearsal.restart(host)
        self.over = True

    def _victim(self) -> Host:
        """The primary more often than others: it has the most to lose."""
        hosts = self._rehearsal.hosts
        found = self._rehearsal.shared._record.value
        primary = found.record.primary[0] if found and found.record.primary else None
        if self._chance.random() < 0.5:
            hosts = [host for host in hosts if host.name == primary] or hosts
        return self._chance.choice(hosts)

    def _later(self, least_s: float, most_s: float, undo: Callable[[], None]) -> None:
        """A fault ends after a while."""
        seconds = self._chance.uniform(least_s, most_s)

        async def wait() -> None:
            await asyncio.sleep(seconds)
            undo()

        task = asyncio.ensure_future(wait())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # --- kinds -----------------------------------------------------------------------------------

    def kill(self, host: Host) -> None:
        """Kill the process, and start it again after 0.1 to 4 seconds."""
        self._rehearsal.kill(host)
        self._later(0.1, 4, lambda: self._rehearsal.restart(host))

    def lose_machine(self, host: Host) -> None:
        """Nobody is told: its peers must find out by its silence."""
        self._rehearsal.kill(host, silently=True)
        self._later(0.5, 6, lambda: self._rehearsal.restart(host))

    def kill_in_commit(self, host: Host) -> None:
        """Kill the process in its next commit, which is then lost or kept."""
        self._doomed[host.name] = self._chance.choice(["lost", "kept"])

    def in_commit(self, life: Life) -> str | None:
        """Called in each commit: None if nothing happens, else what becomes of the commit."""
        fate = self._doomed.pop(life.node, None)
        if fate is not None:
            host = next(c for c in self._rehearsal.hosts if c.name == life.node)
            life.kill()  # Now: nothing that follows from this commit happens.
            asyncio.get_running_loop().call_soon(self.kill, host, context=Context())
        return fate

    def cut_then_kill(self, host: Host) -> None:
        """What it takes from clients in its last moments reaches no other node."""
        life = host.life
        others = [c.name for c in self._rehearsal.hosts if c is not host]
        self._cut([(host.name, other) for other in others])

        def kill() -> None:
            if host.life is life:
                self.kill(host)

        self._later(0.05, 1.0, kill)

    def stop(self, host: Host) -> None:
        """SIGSTOP, and SIGCONT later: a zombie, if it was the primary."""
        life = host.life
        assert life is not None
        life.pause()

        def resume() -> None:
            if life.alive:
                self._rehearsal.log(f"resume {life}")
                life.resume()

        self._silent(host, resume)

    def isolate(self, host: Host) -> None:
        """From other nodes and, or, from clients, in both directions."""
        others = [c.name for c in self._rehearsal.hosts if c is not host]
        far = self._chance.choice([others, [OUTSIDE], [*others, OUTSIDE]])
        self._cut([(host.name, other) for other in far] + [(other, host.name) for other in far])

    def cut_one_way(self, host: Host) -> None:
        """Cut the direction from this node to another one for 0.1 to 6 seconds."""
        other = self._chance.choice([c.name for c in self._rehearsal.hosts if c is not host])
        self._cut([(host.name, other)])

    def _cut(self, ways: list[tuple[str, str]]) -> None:
        wires = self._rehearsal.wires
        ways = [way for way in ways if way not in wires.cuts]
        for way in ways:
            wires.cut(*way)

        def heal() -> None:
            self._rehearsal.log(f"heal {ways}")
            for way in ways:
                wires.heal(*way)

        self._later(0.1, 6, heal)

    def keep_from_manager(self, host: Host) -> None:
        """Cut the node off from the cluster manager for up to 5 seconds."""
        wires = self._rehearsal.wires
        wires.cut(host.name, MANAGER)
        self._silent(host, lambda: wires.heal(host.name, MANAGER))

    def _silent(self, host: Host, end: Callable[[], None]) -> None:
        """The manager hears nothing of this node for a while; if that is long, its session is over."""
        seconds = self._chance.uniform(0.1, 5)
        life = host.life

        def expire() -> None:
            if host.life is life:
                self._rehearsal.log(f"session of {life} is over")
                self._rehearsal.expire(host)

        if seconds > SESSION_S:
            self._later(SESSION_S, SESSION_S, expire)
        self._later(seconds, seconds, end)

    def reset(self, host: Host) -> None:
        """Break every connection of the node."""
        self._rehearsal.wires.reset(host.name)
