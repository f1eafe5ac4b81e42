"""The metrics of a node: names and units by Prometheus's conventions, values from its status."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from qpidha import Node
from qpidha.errors import ArgumentError
from qpidha.transports import TcpTransport
from qpidha.web import NodeCollector
from tests.support.harness import QUICK, World, run, until


def scraped(node: object, **options: int) -> dict[str, dict[tuple[str, ...], float]]:
    """By sample name: the values by their labels."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(node, **options))  # type: ignore[arg-type]
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def certified(base: Path) -> TcpTransport:
    """A transport with a certificate, whose days are a metric."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(base / "ca.pem")
    (base / "a.pem").touch(0o600)
    authority.issue_cert("a").private_key_and_cert_chain_pem.write_to_path(base / "a.pem")
    return TcpTransport.with_certificates(ca=base / "ca.pem", certificate=base / "a.pem")


def test_a_primary_and_its_backup() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        for name in ("one", "two", 'th"r\\ee\n'):
            await a.declare(name).enqueue(b"data")
        found = scraped(a)
        assert sum(found["qpidha_role"].values()) == found["qpidha_role"][("active",)] == 1
        assert found["qpidha_broker"][("serving",)] == 1
        assert found["qpidha_in_sync"] == {(): 1} and found["qpidha_members"] == {(): 2}
        assert found["qpidha_queue_messages"] == {("one",): 1, ("two",): 1, ('th"r\\ee\n',): 1}
        assert found["qpidha_queue_bytes"][("one",)] == a.status().queues[0].bytes
        assert found["qpidha_backup_behind_operations"] == {("b",): 0}
        assert found["qpidha_backup_in_sync"] == {("b",): 1}
        assert found["qpidha_backup_resync_copied_bytes"] == {("b",): 0}, "it follows"
        assert found["qpidha_backup_resync_left_bytes"] == {("b",): 0}
        assert found["qpidha_operations_total"] == found["qpidha_operations_safe_total"]
        assert found["qpidha_manager_answer_seconds_count"][()] >= 1
        assert found["qpidha_held_seconds"] == dict.fromkeys(
            [("disk",), ("backup",), ("catch-up",), ("members",), ("manager",), ("broker",)], 0
        )
        ((cluster, epoch, node),) = found["qpidha_node_info"]
        assert node == "a" and cluster and epoch
        await until(lambda: scraped(b)["qpidha_queue_messages"] == found["qpidha_queue_messages"])
        backup = scraped(b)
        assert backup["qpidha_role"][("ready",)] == 1 and "qpidha_backup_behind_operations" not in backup

    run(main)


def test_a_backup_that_catches_up() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        for _ in range(40):
            await queue.enqueue_many([b"x" * 1000] * 50)
        await world.start("b")
        seen: list[tuple[float, float]] = []
        while "b" not in world.members():
            found = scraped(a)
            names = ("qpidha_backup_resync_copied_bytes", "qpidha_backup_resync_left_bytes")
            if names[0] in found:
                seen.append((found[names[0]][("b",)], found[names[1]][("b",)]))
            await asyncio.sleep(0)
        assert any(copied > 0 for copied, _ in seen) and any(left > 0 for _, left in seen), seen

    run(main, replace(QUICK, plan_chunk_bytes=20_000, plan_chunks_in_flight_max=2))


def test_the_number_of_queues_with_metrics_is_limited() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        for number in range(5):
            a.declare(f"q{number}")
        found = scraped(a, queues_max=2)
        assert len(found["qpidha_queue_messages"]) == 2
        assert found["qpidha_queues"] == {(): 5} and found["qpidha_queues_listed"] == {(): 2}
        with pytest.raises(ArgumentError, match="queues_max"):
            NodeCollector(a, queues_max=-1)

    run(main)


def test_another_thread_may_scrape() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        found = await asyncio.to_thread(scraped, a)
        assert found["qpidha_ready"] == {(): 1}

    run(main)


def test_a_stopped_node_is_not_live() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        await world.stop("a")
        found = scraped(a)
        assert found["qpidha_live"] == {(): 0} and found["qpidha_role"][("stopped",)] == 1

    run(main)


def rows(node: Node) -> list[str]:
    """The rows of the table in docs/monitoring.md, in the order of a scrape."""
    found = []
    for metric in NodeCollector(node).collect():
        labels = getattr(metric, "_labelnames", ())
        name = metric.name + (
            "_total" if metric.type == "counter" else "_info" if metric.type == "info" else ""
        )
        if metric.type == "stateset":
            labels = (metric.name,)
        if metric.type == "info":
            labels = tuple(sorted(metric.samples[0].labels))
        shown = ", ".join(f"`{label}`" for label in labels) or "–"
        found.append(f"| `{name}` | {metric.type} | {shown} | {metric.documentation} |")
    return found


def test_the_page_lists_every_metric(tmp_path: Path) -> None:
    """QPIDHA_REWRITE=1 writes the table anew."""
    page = Path(__file__).parents[3] / "docs" / "monitoring.md"

    async def main(world: World) -> None:
        a = await world.start("a", transport=certified(tmp_path))
        await a.promote()
        before, head, _ = page.read_text().partition(
            "| metric | kind | labels | meaning |\n|---|---|---|---|\n"
        )
        wanted = before + head + "\n".join(rows(a)) + "\n"
        if os.environ.get("QPIDHA_REWRITE"):
            page.write_text(wanted)
        assert page.read_text() == wanted

    run(main)


def test_names_follow_the_conventions() -> None:
    """One prefix, base units, no abbreviations, a text for each, and counters that end in _total."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        await a.declare("q").enqueue(b"data")
        for metric in NodeCollector(a).collect():
            assert re.fullmatch(r"qpidha_[a-z][a-z_]*", metric.name), metric.name
            assert metric.documentation and not metric.documentation.endswith("."), metric.name
            assert not re.search(r"_(ms|us|count|total|kib|mb)(_|$)", metric.name), metric.name

    run(main)
