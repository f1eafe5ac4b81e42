"""The faults of a rehearsal, and when they happen. Each seed leaves some kinds out, so that others show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import Protocol

from qpidha.records.memory import MemoryRecordStore
from qpidha.testing.rehearsal.host import Host
from qpidha.testing.rehearsal.loop import Process
from qpidha.testing.rehearsal.network import OUTSIDE, Network
from qpidha.testing.rehearsal.parts import MANAGER
from qpidha.testing.rehearsal.report import Report

SESSION_S = 2.0
"""The session of a node that is stopped or cannot reach the manager for longer than this ends."""


class RehearsedCluster(Protocol):
    """The cluster that the faults happen to: a `Rehearsal`."""

    rng: Random
    network: Network
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
    """The schedule of a rehearsal: ``seconds`` of faults in each round. Methods with a `Host` are the kinds of faults."""

    def __init__(self, rehearsal: RehearsedCluster, seconds: float) -> None:
        self._rehearsal = rehearsal
        self._rng = rehearsal.rng
        self._seconds = seconds
        self._kills: dict[str, str] = {}
        """Nodes to be killed in their next commit, and whether it is ``lost`` or ``kept``."""
        self._ending: set[asyncio.Task[None]] = set()
        self.over = False
        """Whether there are no more faults in any round: everything works again and every node runs."""
        rehearsal.network.delay_s = (0.0001, self._rng.choice([0.003, 0.03, 0.1]))
        self.unsure = self._rng.choice([0.0, 0.0, 0.2])
        kinds: list[Callable[[Host], None]] = [
            self.kill,
            self.lose_machine,
            self.kill_in_commit,
            self.cut_then_kill,
            self.stop,
            self.isolate,
            self.cut_one_way,
            self.keep_from_manager,
            self.cut_off,
            self.reset,
        ]
        self.kinds = self._rng.sample(kinds, self._rng.randint(2, len(kinds)))

    async def run(self, *, last: bool) -> None:
        """Cause faults until the time is over, then end them all and start every node that is down.

        Args:
            last: There are no more faults afterwards.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        await asyncio.sleep(self._rng.uniform(0.2, 1.5))
        while loop.time() < end:
            kind = self._rng.choice(self.kinds)
            host = self._victim()
            if host.process is not None and host.process.running:
                name = kind.__name__.replace("_", " ")
                self._rehearsal.report.faults[name] = self._rehearsal.report.faults.get(name, 0) + 1
                self._rehearsal.log(f"{name}: {host.process}")
                kind(host)
            await asyncio.sleep(self._rng.expovariate(1 / 1.2))
        self._kills.clear()
        while self._ending:
            await asyncio.wait(set(self._ending))
        for host in self._rehearsal.hosts:
            self._rehearsal.restart(host)
        self.over = last

    def _victim(self) -> Host:
        """Choose a node, the primary in half of the cases."""
        hosts = self._rehearsal.hosts
        found = self._rehearsal.shared._record.value
        primary = found.record.primary[0] if found and found.record.primary else None
        if self._rng.random() < 0.5:
            hosts = [host for host in hosts if host.name == primary] or hosts
        return self._rng.choice(hosts)

    def _later(self, least_s: float, most_s: float, undo: Callable[[], None]) -> None:
        """End a fault after a time drawn between these."""
        seconds = self._rng.uniform(least_s, most_s)

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
        """Kill the process so that its peers see no reset; start it again after 0.5 to 6 seconds."""
        self._rehearsal.kill(host, silently=True)
        self._later(0.5, 6, lambda: self._rehearsal.restart(host))

    def kill_in_commit(self, host: Host) -> None:
        """Kill the process in its next commit, which is then lost or kept."""
        self._kills[host.name] = self._rng.choice(["lost", "kept"])

    def in_commit(self, process: Process) -> str | None:
        """Called in each commit. Returns ``lost`` or ``kept`` if the process is killed now, else None."""
        fate = self._kills.pop(process.node, None)
        if fate is not None:
            host = next(c for c in self._rehearsal.hosts if c.name == process.node)
            process.kill()  # At once, so that nothing that follows from this commit happens.
            asyncio.get_running_loop().call_soon(self.kill, host, context=Context())
        return fate

    def cut_then_kill(self, host: Host) -> None:
        """Cut the node off from all others, and kill it up to a second later: others lack what it took meanwhile."""
        process = host.process
        others = [c.name for c in self._rehearsal.hosts if c is not host]
        self._cut([(host.name, other) for other in others])

        def kill() -> None:
            if host.process is process:
                self.kill(host)

        self._later(0.05, 1.0, kill)

    def stop(self, host: Host) -> None:
        """Stop the process, and resume it up to 5 seconds later: as a zombie if it was the primary."""
        process = host.process
        assert process is not None
        process.pause()

        def resume() -> None:
            if process.alive:
                self._rehearsal.log(f"resume {process}")
                process.resume()

        self._silent(host, resume)

    def isolate(self, host: Host) -> None:
        """Cut both directions to other nodes, to clients or to both, for 0.1 to 6 seconds."""
        others = [c.name for c in self._rehearsal.hosts if c is not host]
        far = self._rng.choice([others, [OUTSIDE], [*others, OUTSIDE]])
        self._cut([(host.name, other) for other in far] + [(other, host.name) for other in far])

    def cut_off(self, host: Host) -> None:
        """Cut the node off from all but its clients, for 5 to 12 seconds: others go on without it meanwhile."""
        others = [c.name for c in self._rehearsal.hosts if c is not host]
        seconds = self._rng.uniform(5, 12)
        self._expire_after(host, seconds)
        ways = [(host.name, other) for other in others] + [(other, host.name) for other in others]
        self._cut([*ways, (host.name, MANAGER)], seconds, seconds)

    def cut_one_way(self, host: Host) -> None:
        """Cut the direction from this node to another one for 0.1 to 6 seconds."""
        other = self._rng.choice([c.name for c in self._rehearsal.hosts if c is not host])
        self._cut([(host.name, other)])

    def _cut(self, ways: list[tuple[str, str]], least_s: float = 0.1, most_s: float = 6.0) -> None:
        network = self._rehearsal.network
        ways = [way for way in ways if way not in network.cuts]
        for way in ways:
            network.cut(*way)

        def heal() -> None:
            self._rehearsal.log(f"heal {ways}")
            for way in ways:
                network.heal(*way)

        self._later(least_s, most_s, heal)

    def keep_from_manager(self, host: Host) -> None:
        """Cut the node off from the cluster manager for up to 5 seconds."""
        network = self._rehearsal.network
        network.cut(host.name, MANAGER)
        self._silent(host, lambda: network.heal(host.name, MANAGER))

    def _silent(self, host: Host, end: Callable[[], None]) -> None:
        """End the fault within 5 seconds; before that the node's session ends if `SESSION_S` have passed."""
        seconds = self._rng.uniform(0.1, 5)
        self._expire_after(host, seconds)
        self._later(seconds, seconds, end)

    def _expire_after(self, host: Host, seconds: float) -> None:
        """End the session of the node if a fault of so many seconds outlasts it."""
        process = host.process

        def expire() -> None:
            if host.process is process:
                self._rehearsal.log(f"session of {process} is over")
                self._rehearsal.expire(host)

        if seconds > SESSION_S:
            self._later(SESSION_S, SESSION_S, expire)

    def reset(self, host: Host) -> None:
        """Break every connection of the node."""
        self._rehearsal.network.reset(host.name)
