"""A real Prometheus scrapes three nodes, knows the alerts, and answers every query of the dashboard."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from qpidha.engines.ports import take_ports
from qpidha.web import NodeCollector, NodeServer, Tokens
from tests.engines.server import Server, require
from tests.support.harness import World, run, until

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "contrib/prometheus/qpidha-alerts.yml"
DASHBOARD = ROOT / "contrib/grafana/qpidha.json"
TOKEN = "v" * 32

pytestmark = [pytest.mark.processes, pytest.mark.network, pytest.mark.external]

CONFIGURATION = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: qpidha
    authorization: {{credentials_file: "{token}"}}
    static_configs: [{{targets: {targets}}}]
"""


def expressions() -> list[str]:
    """Every query of the dashboard and of the alerts."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"].replace("$job", "qpidha") for panel in panels for target in panel["targets"]]
    found += re.findall(r"^ +expr: (.+)$", ALERTS.read_text(), re.MULTILINE)
    assert len(found) > 25
    return found


class Prometheus:
    """One real server."""

    def __init__(self, base: Path, targets: list[str]) -> None:
        require("prometheus", "prometheus")
        (self.port,) = take_ports(1)
        (base / "token").write_text(TOKEN)
        configuration = base / "prometheus.yml"
        configuration.write_text(
            CONFIGURATION.format(alerts=ALERTS, token=base / "token", targets=json.dumps(targets))
        )
        self.server = Server(
            [
                "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={base / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            log=base / "log",
            ready=self.ready,
        )  # fmt: skip

    async def get(self, path: str, **query: str) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}", params=query) as answer,
        ):
            return await answer.json(content_type=None) if "api" in path else answer.status

    async def ready(self) -> bool:
        return bool(await self.get("/-/ready") == 200)

    async def query(self, expression: str) -> list[dict[str, Any]]:
        answer = await self.get("/api/v1/query", query=expression)
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def wait_for(self, expression: str, *values: str) -> None:
        for _ in range(300):
            found = sorted(series["value"][1] for series in await self.query(expression))
            if found == sorted(values):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{expression}: {found}, not {values}\n{self.server.tail()}")


def test_a_real_prometheus(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"viewer {TOKEN}\n")
    tokens.chmod(0o600)

    async def main(world: World) -> None:
        nodes = await world.cluster("a", "b", "c")
        servers = [NodeServer(node, tokens=Tokens(tokens)) for node in nodes]
        for server in servers:
            await server.start()
        prometheus = Prometheus(tmp_path, [f"127.0.0.1:{server.address[1]}" for server in servers])
        try:
            await prometheus.server.start()
            await nodes[0].declare("orders").enqueue(b"one")
            await prometheus.wait_for("up", "1", "1", "1")
            await prometheus.wait_for('qpidha_queue_messages{queue="orders"}', "1", "1", "1")
            await prometheus.wait_for("qpidha_backup_behind_operations", "0", "0")
            await prometheus.wait_for('sum(qpidha_broker{qpidha_broker="serving"})', "1")
            for expression in expressions():
                await prometheus.query(expression)
            await until(lambda: len(world.members()) == 3)
            await world.stop("b")
            await world.stop("c")
            await nodes[0].queue("orders").enqueue(b"two")  # Members that owe an acknowledgement are removed.
            await prometheus.wait_for('ALERTS{alertname="QpidhaNoRedundancy"}', "1")
        finally:
            prometheus.server.kill()
            for server in servers:
                await server.stop()

    run(main)


def test_the_dashboard_and_the_alerts_use_metrics_that_exist() -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        await a.declare("orders").enqueue(b"one")
        known = {metric.name for metric in NodeCollector(a).collect()}
        # Only with a certificate of the node's own.
        known.add("qpidha_certificate_left_seconds")
        for expression in expressions():
            for name in re.findall(r"qpidha_\w+(?=[{\s)\[=]|$)", re.sub(r"\{[^}]*\}", "{}", expression)):
                base = re.sub(r"_(total|bucket)$", "", name)
                assert base in known, (expression, name)

    run(main)


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    require("promtool", "prometheus")
    for command in ("rules", "config --syntax-only"):
        path = ALERTS if command == "rules" else ALERTS.with_name("prometheus.yml")
        checked = subprocess.run(
            ["promtool", "check", *command.split(), path],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
