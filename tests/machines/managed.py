"""Brokers that Pacemaker starts, stops and promotes, on the machines of a site."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from qpidha.demo.cluster import BrokerProcess, Cluster
from qpidha.types import Address
from tests.engines.certificates import Authority
from tests.machines.host import Host
from tests.machines.pacemaker import Machine, Pacemaker
from tests.machines.site import CLIENT_PORT, MachineCluster, Place, Site, options_of
from tests.soak.scene import Scene
from tests.support.stream import BROKER


class ManagedBroker(BrokerProcess):
    """A broker of Pacemaker's: who kills it need not start it."""

    def __init__(self, machine: Machine, directory: Path, client: Address) -> None:
        super().__init__(machine.name, [], directory, client)
        self.log = directory / "broker.log"
        self.signal = machine.signal_broker


class ManagedBrokers(Cluster):
    """A broker on each machine of a cluster with Pacemaker."""

    def __init__(self, work: Path, hosts: Sequence[Host], records: str, authority: Authority) -> None:
        self._work = work
        self.pacemaker = Pacemaker(hosts, work)
        self.managed: dict[str, ManagedBroker] = {}
        for host in hosts:
            machine = self.pacemaker.machines[host.name]
            self.managed[host.name] = ManagedBroker(machine, work / host.name, (host.ipv4, CLIENT_PORT))
            command = [sys.executable, str(BROKER), *options_of(Place.of(host), work, records, authority)]
            program = work / f"broker-{host.name}"
            program.write_text(f"#!/bin/sh\nexec {shlex.join(command)} --promoter operator\n")
            program.chmod(0o755)
        self.processes = dict(self.managed)

    def start(self) -> None:
        """Start the daemons; they start the brokers, and promote one."""
        self.pacemaker.start(f"{self._work}/{{node}}", f"{self._work}/broker-{{node}}")

    def __exit__(self, *_: object) -> None:
        """End all at once."""
        self.pacemaker.close()


class ManagedCluster(MachineCluster):
    """The cluster of a `ManagedSite`."""

    cluster: ManagedBrokers

    @property
    def pacemaker(self) -> Pacemaker:
        return self.cluster.pacemaker

    def kill(self, name: str) -> None:
        self.signal(name, signal.SIGKILL)

    def signal(self, name: str, number: signal.Signals) -> None:
        self.cluster.managed[name].signal(number)

    async def heal(self) -> None:
        """End all faults. Pacemaker starts what does not run."""
        self._machines.mend()
        for name, machine in self.pacemaker.machines.items():
            machine.mend_corosync()
            self.signal(name, signal.SIGCONT)
        self.pacemaker.forget()


class ManagedSite(Site):
    """A `Site` whose brokers Pacemaker manages."""

    far = False
    cluster: ManagedCluster

    def _make_cluster(self, hosts: Sequence[Host], records: str, authority: Authority) -> ManagedCluster:
        brokers = ManagedBrokers(self.work, hosts, records, authority)
        self._stack.callback(brokers.pacemaker.close)
        return ManagedCluster(self.work, self._seed, brokers, self.network)

    @contextlib.asynccontextmanager
    async def fault(self) -> AsyncIterator[Scene]:
        """See `Site.fault`. Everybody is confirmed something just before the fault: silence counts from there."""
        async with super().fault() as scene:
            await self.cluster.serving()
            yield scene

    async def primary(self, *others: str) -> str:
        """Wait until one of these brokers is primary, and return it."""

        async def found() -> str | None:
            statuses = await self.cluster.cluster.statuses()
            return next((n for n in others if (s := statuses[n]) and s["role"] == "active"), None)

        return str(await self.cluster.until(found, f"one of {others} is primary"))

    async def ended(self, name: str) -> None:
        """Wait until this broker does not run."""

        async def found() -> bool:
            return await self.cluster[name].status() is None

        await self.cluster.until(found, f"the broker {name} is ended")

    async def another(self, scene: Scene) -> str:
        """Wait until another broker is primary and confirms; returns it. Prints for how long nothing was confirmed."""
        found = await self.primary(*scene.backups)
        await self.next_confirmation()
        longest_s = max(publisher.longest_s for publisher in self.cluster.publishers)
        print(f"{scene.primary} > {found}: nothing was confirmed for {longest_s:.2f} s")
        return found
