"""Nodes on two networks, with names, with IPv6 only, behind a translation of addresses; and a node that moves.

`tests/integration/test_addresses.py` has the same on the loopback interface, where no packet is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpidha.addresses import address_text
from tests.machines.host import Host
from tests.machines.network import Network
from tests.machines.requirements import require_machines
from tests.machines.site import BROKERS, CLIENT_PORT, CLIENTS, LINK_PORT, Brokers, Place, Site, links_at
from tests.soak.scene import Scene
from tests.support.stream import ROOT

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]

SECOND = {name: f"{name}2" for name in (*BROKERS, CLIENTS)}
"""Ports of the second switch."""
REGISTERS = """
import asyncio, sys
from tests.support.stream import Changer

async def main():
    async with Changer([(sys.argv[1], int(sys.argv[2]))], "near") as changer:
        await changer.describe()

asyncio.run(asyncio.wait_for(main(), 20))
"""
"""A client that registers itself and asks what is there: the answer waits for all members."""
SILENT_S = 0.5


class NearSite(Site):
    """Cables do not delay. Knows where links are."""

    far = False

    def connections(self, machine: Host) -> dict[str, str]:
        """The links that other nodes have opened to a machine: the other's address, and the one here that it uses."""
        words = f"-Htn state established ( sport = :{LINK_PORT} )".split()
        columns = [line.split()[2:4] for line in machine.run("ss", *words).splitlines()]
        return {other: here.rpartition(":")[0].strip("[]") for here, other in columns}

    async def linked(self, machine: Host, address: str) -> None:
        """Wait until both other nodes have their link to a machine at this address."""

        async def reached() -> bool:
            return sorted(self.connections(machine).values()) == [address] * 2

        await self.cluster.until(reached, f"links to {machine.name} at {address}")

    async def place_of_primary(self) -> tuple[str, int]:
        """The primary of a cluster that is whole, and its generation."""
        primary = await self.cluster.whole()
        status = await self.cluster[primary].status()
        assert status is not None
        return primary, status["generation"]

    async def call(self, host: Host, *words: str) -> None:
        """Run a Python program on a machine; it must succeed."""
        process = await asyncio.create_subprocess_exec(*host.command([sys.executable, *words]), cwd=ROOT)
        assert await process.wait() == 0, words

    async def fail_over(self, scene: Scene) -> None:
        """Kill the primary; the clients must find the next one."""
        self.cluster.kill(scene.primary)
        await self.next_confirmation()


class Apart(NearSite):
    """Clients have a network of their own. The other one is that of the links and of the manager."""

    def place(self, host: Host) -> Place:
        if host.name == BROKERS[0]:
            self.network.second_cable(CLIENTS)
        return self.on_both(host, self.network.second_cable(host.name))

    def on_both(self, host: Host, second: str) -> Place:
        """Where the broker of a machine is that has this address in the network of the clients."""
        return Place(host.name, host, (second, CLIENT_PORT), links_at("--listen", host.ipv4))

    def cut_links(self) -> None:
        """Let the brokers not see one another on the network of the links."""
        for name in BROKERS:
            self.network.cut(name, self.others(name))


class WithFallback(Apart):
    """Links may use the network of the clients, too."""

    def on_both(self, host: Host, second: str) -> Place:
        return Place(host.name, host, (second, CLIENT_PORT), links_at("--listen", host.ipv4, second))


class Named(NearSite):
    """Nodes tell each other names. Each machine has a file that says what they stand for."""

    def place(self, host: Host) -> Place:
        self.tell()
        listen = ("--listen", f"0.0.0.0:{LINK_PORT}")
        client = (host.ipv4, CLIENT_PORT)
        return Place(host.name, host, client, (*listen, *links_at("--advertise", f"{host.name}.example")))

    def tell(self, **moved: str) -> None:
        """Tell all machines the addresses of the nodes: those of their machines, or these."""
        at = {f"{name}.example": moved.get(name, self.network[name].ipv4) for name in BROKERS}
        for name in BROKERS:
            self.network[name].know(at)


class Translated(NearSite):
    """Each broker has the same address, behind a machine that translates it, as in a container."""

    def place(self, host: Host) -> Place:
        inner = self.network.behind(host.name, [LINK_PORT, CLIENT_PORT])
        listen = (*links_at("--listen", inner.ipv4), "--client-listen", f"{inner.ipv4}:{CLIENT_PORT}")
        told = links_at("--advertise", host.ipv4)
        return Place(host.name, inner, (host.ipv4, CLIENT_PORT), (*listen, *told))


@contextlib.contextmanager
def running(kind: type[NearSite], work: Path, *, ipv4: bool = True) -> Iterator[NearSite]:
    """Machines of this kind, with all that runs on them."""
    require_machines()
    with Network(ipv4=ipv4) as network, kind(network, work) as site:
        site.run(site.cluster.__aenter__())
        try:
            yield site
        finally:
            site.run(site.cluster.__aexit__())


def test_each_of_two_networks_is_cut_and_the_other_goes_on(tmp_path: Path) -> None:
    async def of_the_clients(site: NearSite) -> None:
        async with site.fault() as scene:
            host, before = site.network[scene.primary], await site.place_of_primary()
            links = site.connections(host)
            for name in BROKERS:
                site.network.cut(SECOND[name], [port for port in SECOND.values() if port != SECOND[name]])
            await asyncio.sleep(SILENT_S)
            confirmed = site.cluster.acknowledged
            await site.call(host, "-c", REGISTERS, *map(str, site.cluster[scene.primary].client))
            assert site.cluster.acknowledged == confirmed, "the clients are not cut off"
            assert await site.place_of_primary() == before
            assert site.connections(host) == links

    async def of_the_links(site: NearSite) -> None:
        assert isinstance(site, Apart)
        async with site.fault() as scene:
            visits = [publisher.connections for publisher in site.cluster.publishers]
            site.cut_links()
            await alone(site, scene.primary)
            await site.next_confirmation()
            assert [publisher.connections for publisher in site.cluster.publishers] == visits

    async def alone(site: NearSite, primary: str) -> None:
        async def reached() -> bool:
            status = await site.cluster[primary].status()
            return status is not None and status["members"] == [primary] and status["role"] == "active"

        await site.cluster.until(reached, f"{primary} leads without backups")

    with running(Apart, tmp_path) as site:
        site.run(of_the_clients(site))
        site.run(of_the_links(site))


def test_the_network_of_the_clients_takes_the_links_over(tmp_path: Path) -> None:
    async def main(site: NearSite) -> None:
        assert isinstance(site, WithFallback)
        async with site.fault() as scene:
            host, before = site.network[scene.primary], await site.place_of_primary()
            await site.linked(host, host.ipv4)
            site.cut_links()
            await site.linked(host, site.cluster[scene.primary].client[0])
            assert await site.place_of_primary() == before
            await site.cluster.serving()

    with running(WithFallback, tmp_path) as site:
        site.run(main(site))


def test_links_go_to_the_new_address_of_a_name(tmp_path: Path) -> None:
    async def main(site: NearSite) -> None:
        assert isinstance(site, Named)
        async with site.fault() as scene:
            host, before, new = site.network[scene.primary], await site.place_of_primary(), "10.77.0.101"
            await site.linked(host, host.ipv4)
            host.run("ip", "addr", "add", f"{new}/24", "dev", "eth0")
            site.tell(**{scene.primary: new})
            chain = "chain input { type filter hook input priority 0; "
            rule = f"ip daddr {host.ipv4} tcp dport {LINK_PORT} drop"
            host.run("nft", "-f", "-", stdin=f"table ip left {{ {chain} {rule}; }}\n}}\n")
            await site.linked(host, new)
            assert await site.place_of_primary() == before

    with running(Named, tmp_path) as site:
        site.run(main(site))


def test_machines_without_ipv4(tmp_path: Path) -> None:
    async def main(site: NearSite) -> None:
        async with site.fault() as scene:
            host = site.network[scene.primary]
            assert host.address == host.ipv6
            await site.linked(host, host.ipv6)
            await site.fail_over(scene)

    with running(NearSite, tmp_path, ipv4=False) as site:
        site.run(main(site))


def test_a_node_moves_to_another_machine_and_leads_there(tmp_path: Path) -> None:
    async def main(site: NearSite) -> None:
        brokers, elsewhere = site.cluster.cluster, site.network.host("elsewhere")
        assert isinstance(brokers, Brokers)
        async with site.fault() as scene:
            name = scene.primary
            brokers.processes[name].ask_to_stop()
            await asyncio.to_thread(brokers.processes[name].wait, 20.0)
            place = Place.of(elsewhere)
            brokers.put(Place(name, elsewhere, place.client, place.options))
            brokers.processes[name].start()
            assert await site.cluster.whole() != name
            await site.call(elsewhere, "-m", "qpidha", "promote", str(site.work / name))
            assert await site.cluster.whole() == name
            others = sorted(site.connections(elsewhere).values())
            assert len(others) == 2 and set(others) <= {elsewhere.ipv4, elsewhere.ipv6}
            await site.cluster.serving()

    with running(NearSite, tmp_path) as site:
        site.run(main(site))


def test_nodes_with_the_same_address_behind_translations(tmp_path: Path) -> None:
    async def main(site: NearSite) -> None:
        seen = set()
        for _ in range(2):
            async with site.fault() as scene:
                seen.add(scene.primary)
                status = await site.cluster[scene.primary].status()
                assert status is not None
                told = address_text((site.network[scene.primary].ipv4, LINK_PORT))
                assert address_text(status["address"]) != told
                await site.fail_over(scene)
        assert len(seen) == 2

    with running(Translated, tmp_path) as site:
        site.run(main(site))
