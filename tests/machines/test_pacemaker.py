"""Pacemaker decides which of three nodes is primary: kills, cuts, stops and moves; no confirmed message is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from qpidha.cli import main as qpidha
from tests.engines.server import free_ports, require
from tests.machines.network import Network
from tests.machines.pacemaker import ROOT, PacemakerCluster, until
from tests.machines.requirements import require_machines
from tests.soak.ledger import Ledger, TimedPublisher, message
from tests.support.stream import Consumer

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]

PAGE = ROOT / "docs/pacemaker.md"
BROKER = ROOT / "examples/simple/broker.py"


def require_pacemaker() -> None:
    require_machines()
    require("etcd", "etcd-server")
    require("corosync", "corosync")
    require("pacemakerd", "pacemaker")


def test_the_agent_passes_ocf_tester(tmp_path: Path) -> None:
    """``ocf-tester`` is the check of the OCF project: each action in each state, and the description against its DTD."""
    require("ocf-tester", "resource-agents")
    require("xmllint", "libxml2-utils")
    if os.geteuid() != 0:
        pytest.skip("ocf-tester needs root")
    assert qpidha(["ocf", "install", "--to", str(tmp_path / "agents")]) == 0
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)  # It runs the agent as nobody, too.
    python = shutil.which("python3", path=str(ROOT / ".venv/bin")) or "python3"
    places = f"--dir {tmp_path}/data --cluster {tmp_path}/cluster --client 127.0.0.1:{free_ports(1)[0]}"
    command = f"{python} {BROKER} --id a {places}"
    (tmp_path / "broker").write_text(f"#!/bin/sh\nexec {command} --promoter operator\n")
    (tmp_path / "broker").chmod(0o755)
    done = subprocess.run(
        ["ocf-tester", "-n", "broker", "-o", f"directory={tmp_path}/data", "-o", f"command={tmp_path}/broker",
         str(tmp_path / "agents/qpidha")],
        capture_output=True, text=True, timeout=200, env={**os.environ, "HA_RSCTMP": str(tmp_path / "run")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed all tests" in done.stdout


class Traffic:
    """A publisher on a machine of its own, and what the cluster did with its messages."""

    def __init__(self, cluster: PacemakerCluster) -> None:
        self.cluster = cluster
        self.publisher = TimedPublisher(cluster.addresses, 1)
        self.took_s: dict[str, float] = {}

    async def publish(self) -> None:
        while True:
            first = self.publisher.published + 1
            await self.publisher.publish([message(1, n) for n in range(first, first + 20)])
            await asyncio.sleep(0.01)

    async def whole(self) -> str:
        return await asyncio.to_thread(self.cluster.whole)

    async def confirmed_by_another(self, fault: str, before: str) -> None:
        """Wait until another node than before confirms, and note how long that took."""
        publisher, loop = self.publisher, asyncio.get_running_loop()
        began, old = loop.time(), publisher.confirmed_by
        deadline = began + 60
        while publisher.confirmed_by is old or publisher.connection is not publisher.confirmed_by:
            assert loop.time() < deadline, f"{fault}: no confirmation\n{self.cluster.explain()}"
            await asyncio.sleep(0.01)
        self.took_s[fault] = publisher.confirmed_since - began
        primaries = await asyncio.to_thread(self.cluster.primaries)
        assert set(primaries) - {before}, (fault, before, primaries)

    async def verify(self) -> None:
        await self.publisher.drain()
        ledger = Ledger()
        async with Consumer(self.cluster.addresses) as consumer:
            while ledger.seen.get(1, 0) < self.publisher.published:
                delivery = await asyncio.wait_for(consumer.receive(), 30)
                ledger.take(delivery.batch)
                consumer.accept(delivery)
        assert ledger.seen == {1: self.publisher.published}
        assert self.publisher.confirmed == self.publisher.published > 0


async def through_all_faults(cluster: PacemakerCluster) -> dict[str, float]:
    traffic = Traffic(cluster)
    machines = cluster.machines
    primary = await traffic.whole()
    async with traffic.publisher:
        publishing = asyncio.ensure_future(traffic.publish())
        try:
            while not traffic.publisher.confirmed:  # noqa: ASYNC110 - a client has no event for it
                await asyncio.sleep(0.05)
            os.kill(machines[primary].broker(), signal.SIGKILL)
            await traffic.confirmed_by_another("broker killed", primary)
            primary = await traffic.whole()

            goal = next(name for name in machines if name != primary)
            machines[primary].run(cluster.block("hand over").replace("--node b", f"--node {goal}"))
            await traffic.confirmed_by_another("hand-over", primary)
            assert await traffic.whole() == goal
            machines[goal].run(cluster.block("hand over, done"))
            primary = goal

            machines[primary].run(f"crm_attribute --node {primary} --name standby --update on")
            await traffic.confirmed_by_another("standby", primary)
            machines[primary].run(f"crm_attribute --node {primary} --name standby --delete")
            primary = await traffic.whole()

            await asyncio.to_thread(machines[primary].stop, "pacemakerd")
            await traffic.confirmed_by_another("stop", primary)
            machines[primary].launch("pacemakerd", "pacemakerd")
            primary = await traffic.whole()

            cluster.network.cut(primary)
            await traffic.confirmed_by_another("cut", primary)
            cluster.network.mend()
            primary = await traffic.whole()

            machines[primary].die()
            await traffic.confirmed_by_another("machine killed", primary)
            machines[primary].boot()
            cluster.start_etcd(machines[primary])
            await asyncio.to_thread(cluster.start_pacemaker, machines[primary])
            await traffic.whole()
        finally:
            publishing.cancel()
            await asyncio.wait([publishing])
        await traffic.verify()
    return traffic.took_s


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_whatever_fails_another_node_serves_and_no_confirmed_message_is_lost(tmp_path: Path) -> None:
    require_pacemaker()
    with Network() as network:
        client = network.host("client")
        cluster = PacemakerCluster(network, tmp_path, PAGE)
        cluster.start()
        until(lambda: cluster.primaries() or None, "a primary", cluster.explain)
        with client.entered():
            took_s = asyncio.run(through_all_faults(cluster))
    assert len(took_s) == 6
    print("seconds until another node confirms:", {fault: round(s, 2) for fault, s in took_s.items()})
