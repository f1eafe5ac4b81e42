"""Three brokers, three members of etcd, and clients, each on a machine of its own, with the ledger of the soak test.

Links and the record use TLS; brokers listen at an IPv4 and an IPv6 address. The test's thread is on the machine of the
clients. Control sockets are files, which no fault of the network touches.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

from qpidha.addresses import address_text
from qpidha.demo.cluster import BrokerProcess, Cluster
from qpidha.types import Address
from tests.engines.certificates import Authority
from tests.engines.etcd import Ensemble
from tests.machines.host import Host
from tests.machines.network import Network
from tests.soak.cluster import SoakCluster
from tests.soak.ledger import GapLedger
from tests.soak.scene import Scene
from tests.support.stream import BROKER, client

BROKERS = ("a", "b", "c")
ENGINES = ("etcd1", "etcd2", "etcd3")
CLIENTS = "clients"
LINK_PORT, CLIENT_PORT = 7000, 5000
ACK_TIMEOUT_S = 2.5
SILENCE_MAX_S = 1.0
"""Clients look for another broker after this silence, so that they notice soon when there is one."""
T = TypeVar("T")


class Brokers(Cluster):
    """One broker on each of some machines."""

    def __init__(
        self, work: Path, hosts: Sequence[Host], records: str, authority: Authority, *,
        python: str = sys.executable, program: Path = BROKER, place: Callable[[Host], Place] | None = None,
    ) -> None:  # fmt: skip
        self.processes: dict[str, BrokerProcess] = {}
        self._work = work
        self._priorities = {host.name: len(hosts) - number for number, host in enumerate(hosts)}
        self._command = lambda at: [
            python,
            str(program),
            *options_of(at, work, records, authority),
            "--until-eof",
        ]
        for host in hosts:
            self.put((place or Place.of)(host))

    def put(self, place: Place) -> None:
        """Let the broker of a node be at this place. It does not run there yet, nor anywhere else."""
        name = place.node
        command = [*self._command(place), "--priority", str(self._priorities[name])]
        self.processes[name] = BrokerProcess(
            name, place.host.command(command), self._work / name, place.client
        )


@dataclass(frozen=True)
class Place:
    """Where a broker is."""

    node: str
    host: Host
    """The machine on which it runs."""
    client: Address
    """Where clients find it."""
    options: tuple[str, ...]
    """Where it listens for the other nodes, and what it tells them."""

    @classmethod
    def of(cls, host: Host) -> Place:
        """A machine of its own, where it listens at each address."""
        listen = [at for at in (host.ipv4, host.ipv6) if at]
        return cls(host.name, host, (host.address, CLIENT_PORT), links_at("--listen", *listen))


def links_at(option: str, *addresses: str) -> tuple[str, ...]:
    """An option of the example broker, with these addresses."""
    return tuple(word for at in addresses for word in (option, address_text((at, LINK_PORT))))


def options_of(place: Place, work: Path, records: str, authority: Authority) -> list[str]:
    """Options of the example broker: where it listens, what it shows, where its messages and the record are."""
    return [
        "--id", place.node, "--dir", str(work / place.node), "--cluster", records, *place.options,
        "--tls-ca", str(authority.ca), "--tls-certificate", str(both_in_one(authority, place.node)),
        "--client", address_text(place.client), "--ack-timeout", str(ACK_TIMEOUT_S),
    ]  # fmt: skip


def both_in_one(authority: Authority, name: str) -> Path:
    """A file with the certificate of a node and its key."""
    identity = authority.issue(f"of-{name}", name)
    file = identity.key.with_suffix(".both.pem")
    file.touch(mode=0o600)
    file.write_bytes(identity.certificate.read_bytes() + identity.key.read_bytes())
    return file


class MachineCluster(SoakCluster):
    """The cluster of a `Site`."""

    def __init__(self, work: Path, seed: int, cluster: Cluster, machines: Network) -> None:
        super().__init__(work, seed, cluster)
        self.ledger = GapLedger()
        self._machines = machines

    async def heal(self) -> None:
        """End all faults, those of the network between machines too."""
        self._machines.mend()
        await super().heal()


class ShortScene(Scene):
    """A scene whose random durations are short."""

    @property
    def seconds(self) -> float:
        """Below and above the time-out of a backup that does not acknowledge, and the TTL of a session."""
        return self.random.uniform(0.5, 3.5)


class Site:
    """All machines of a test. A context manager; `run` runs what is asynchronous."""

    far = True
    """The cables of the brokers can delay."""

    def __init__(self, network: Network, work: Path, *, seed: int = 1, long_s: float = 4.0) -> None:
        self.network = network
        self.work = work
        self.long_s = long_s
        """How long a machine is cut off that is given up meanwhile."""
        self.random = Random(seed)
        self._seed = seed
        self._stack = contextlib.ExitStack()
        self._loop = asyncio.new_event_loop()
        self.cluster: MachineCluster

    def __enter__(self) -> Site:
        self._stack.enter_context(patch.object(client, "SILENCE_MAX_S", SILENCE_MAX_S))
        try:
            engines = [self.network.host(name) for name in ENGINES]
            brokers = [self.network.host(name, far=self.far) for name in BROKERS]
            clients = self.network.host(CLIENTS)
            self._stack.callback(self._loop.close)
            self._stack.enter_context(clients.entered())
            self.ensemble = Ensemble.make(self.work / "etcd", engines)
            self._stack.callback(self.ensemble.stop)
            self.run(self.ensemble.start())
            records = self.ensemble.url(self.work, "/qpidha/machines")
            self.cluster = self._make_cluster(brokers, records, Authority(self.work / "certificates"))
        except BaseException:
            self._stack.close()
            raise
        return self

    def _make_cluster(self, hosts: Sequence[Host], records: str, authority: Authority) -> MachineCluster:
        brokers = Brokers(self.work, hosts, records, authority, place=self.place)
        return MachineCluster(self.work, self._seed, brokers, self.network)

    def place(self, host: Host) -> Place:
        """Where the broker of this machine is."""
        return Place.of(host)

    def __exit__(self, *_: object) -> None:
        self.network.mend()
        self._stack.close()

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Run this to its end, and the clients beside it. They stand still between two calls."""
        return self._loop.run_until_complete(what)

    def others(self, broker: str) -> list[str]:
        """The other brokers."""
        return [name for name in BROKERS if name != broker]

    @contextlib.asynccontextmanager
    async def fault(self) -> AsyncIterator[Scene]:
        """A block for one fault; it gives the scene. The brokers serve before it.

        After it the network is mended, and everything must hold: brokers that ended are started, all are members, all
        that was published is confirmed and delivered, in order, the queue is empty, the other queues and all objects
        are as their changes were confirmed.

        Raises:
            AssertionError: Something does not hold.
        """
        primary = await self.cluster.whole()
        await self.cluster.serving()
        for publisher in self.cluster.publishers:
            publisher.forget_times()
        yield ShortScene(self.cluster, self.random, primary, tuple(self.others(primary)))
        await self.cluster.heal()
        await self.cluster.serving()
        await self.cluster.judge()
        self.cluster.go_on()

    async def next_confirmation(self) -> float:
        """Seconds until a publish is confirmed that is sent from now on."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        goals = [(publisher, publisher.published) for publisher in self.cluster.publishers]
        while not all(p.confirmed > published for p, published in goals):
            self.cluster.check_clients()
            await asyncio.sleep(0.005)
        return loop.time() - began
