"""Stores of three nodes that earlier versions wrote (`record_stores.py`), opened by this one.

    queues      before the configuration: queues have random uuids and no birth
    objects     the configuration, transactions and updates; before levels, producers and queue types
    levels      these and producers; before queue types

One, two or three of the nodes are started. Everything is there, can be changed, and is the same on all of them.
"""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from qpidha import Level, Node
from qpidha.core.configuration import QUEUE, QueueObject, read_key
from qpidha.core.keyed import KeyedQueue
from qpidha.errors import StoreMismatch
from qpidha.queues import MSGPACK, DeliveryQueue, queue_types
from qpidha.stores import SqliteStore, inspect, loader
from qpidha.stores.schema import FORMAT
from tests.storage.record_stores import NAMES, content, node_of, until
from tests.support.harness import QUICK

HERE = Path(__file__).parent
KINDS = ("queues", "objects", "levels")
OWN = "own"
"""A queue whose messages are not replicated: each node has its own lineage of it."""


@pytest.fixture(params=KINDS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(HERE / f"stores-{request.param}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    for name in (*NAMES, "record"):
        (tmp_path / name).chmod(0o700)
    return tmp_path


def expected(old: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((old / "content.json").read_text())
    return found


async def started(old: Path, *names: str) -> list[Node]:
    """These nodes; the first is primary, and all of them are members."""
    nodes = [node_of(old, name, settings=QUICK, queue_types=queue_types()) for name in names]
    for node in nodes:
        await node.start()
    await nodes[0].promote()
    await nodes[0].wait_serving()
    await until(lambda: set(nodes[0].status().members) == set(names))
    await until(lambda: all(node.status().in_sync for node in nodes))
    return nodes


def during(old: Path, names: tuple[str, ...], main: Callable[[list[Node]], Awaitable[None]]) -> None:
    """Run this with these nodes, and stop them in order."""

    async def with_nodes() -> None:
        nodes = await started(old, *names)
        try:
            await main(nodes)
        finally:
            for node in reversed(nodes):
                await node.stop()

    asyncio.run(with_nodes())


def stored(old: Path, names: tuple[str, ...]) -> list[Any]:
    """What the stores of these nodes hold; the same of all of them."""
    reports = [inspect(old / name) for name in names]
    assert not any(report.damage for report in reports)
    found = [
        sorted((q.queue, q.name, q.lineage, q.next, q.held) for q in report.queues if q.name != OWN)
        for report in reports
    ]
    assert all(each == found[0] for each in found)
    return found[0]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_everything_of_an_old_cluster_is_there_and_can_be_changed(old: Path, count: int) -> None:
    names, before, epochs = NAMES[:count], expected(old), list[Any]()

    async def change(nodes: list[Node]) -> None:
        node = nodes[0]
        assert content(node) == before
        orders, mails = node.queue("orders"), node.queue("mails")
        producer = node.producer("ada")
        epochs.append(producer.epoch)
        with producer.transaction(sequence=1) as transaction:
            transaction.publish([orders, mails], b"new", b"")
            transaction.delete(node.queue("empty"))
            transaction.declare("urgent", kind="priority")
            transaction.put_object("exchange", "exchange 2", b"fanout")
        await transaction.op
        urgent = DeliveryQueue(node, node.queue("urgent"))
        await urgent.publish(b"low", MSGPACK.pack(priority=1))
        await urgent.publish(b"high", MSGPACK.pack(priority=9))
        await node.declare(OWN, replicate=Level.CONFIGURATION).declared
        await mails.dequeue([id for id, _ in mails][:10])

    async def compare(nodes: list[Node]) -> None:
        node, queues = nodes[0], dict(before["queues"])
        del queues["empty"]
        queues["orders"] = [*queues["orders"], "new"]
        queues["mails"] = [*queues["mails"], "new"][10:]
        found = content(node)
        assert {name: found["queues"][name] for name in queues} == queues
        assert sorted(found["queues"]) == sorted([*queues, OWN, "urgent"])
        assert found["objects"] == sorted([*before["objects"], ["exchange", "exchange 2", "fanout"]])
        urgent = DeliveryQueue(node, node.queue("urgent"))
        assert [data for _, data, _ in urgent.browse()] == [b"high", b"low"]
        assert node.producer("ada", epoch=epochs[0]).last == 1

    during(old, names, change)
    assert stored(old, names)
    during(old, names[::-1], compare)
    assert stored(old, names)


def test_the_first_primary_gives_each_old_queue_an_object(old: Path) -> None:
    """An operation of its own for all of them, so that a later deletion is told from a declaration that was rewound."""

    async def look(nodes: list[Node]) -> None:
        replica = nodes[0]._runtime.replica
        objects = replica.queues[replica.state.configuration.queue]
        assert isinstance(objects, KeyedQueue)
        items = [(key, content) for key, content in objects.items() if read_key(key)[0] == QUEUE]
        found = {QueueObject.decode(key, content).queue for key, content in items}
        assert found == {queue.queue for queue in replica.message_queues}

    during(old, NAMES, look)


def test_a_node_that_was_away_during_the_upgrade_is_brought_up_to_date(old: Path) -> None:
    """It comes with its old store, after a queue of it was deleted and its messages were consumed."""

    async def change(nodes: list[Node]) -> None:
        await nodes[0].queue("orders").purge()
        with nodes[0].transaction() as transaction:
            transaction.delete(nodes[0].queue("mails"))
        await transaction.op

    async def compare(nodes: list[Node]) -> None:
        assert content(nodes[0])["queues"] == {"empty": [], "orders": []}

    during(old, ("a", "b"), change)
    during(old, ("b", "a", "c"), compare)
    assert stored(old, NAMES)


def histories(old: Path, name: str) -> dict[str, tuple[Any, int]]:
    """(lineage, next) of each queue that the archive has, as the store of this node says."""
    wanted = expected(old)["queues"]
    return {q.name: (q.lineage, q.next) for q in inspect(old / name).queues if q.name in wanted}


@pytest.mark.parametrize("there", [NAMES, ("a", "b")], ids=["all", "without-one"])
def test_entries_that_an_old_version_made_stay_and_new_ones_come_with_ids(
    old: Path, there: tuple[str, ...]
) -> None:
    """It entered each generation in each queue. Each message keeps the generation that published it (P3)."""
    before = histories(old, "a")
    assert all(histories(old, name) == before for name in NAMES)
    (lineage, next), newest = before["empty"], before["orders"][0][-1][0]
    assert [first for _, first in lineage] == [1, 1] and (next, lineage[-1][0]) == (1, newest)
    now = dict(before)

    def publish(queue: str) -> Callable[[list[Node]], Awaitable[None]]:
        async def main(nodes: list[Node]) -> None:
            await nodes[0].queue(queue).enqueue(b"new")
            lineage, next = now[queue]
            now[queue] = (*lineage, (nodes[0].status().generation, next)), next + 1

        return main

    during(old, there, publish("mails"))
    assert all(histories(old, name) == now for name in there)
    assert now["mails"][0][-1][0] > newest
    during(old, ("b", "a", "c"), publish("empty"))
    assert all(histories(old, name) == now for name in NAMES)
    assert now["orders"] == before["orders"]


def test_a_version_that_knows_no_configuration_refuses_the_store(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take the configuration for a queue. It knows format 2 and below, and that the store is of neither."""

    async def nothing(nodes: list[Node]) -> None:
        pass

    during(old, ("a",), nothing)
    raw = (old / "a" / "store.db").read_bytes()
    monkeypatch.setattr(loader, "FORMAT", 2)
    monkeypatch.setattr(loader, "SEALED", (2,))
    for look in (lambda: SqliteStore(old / "a").open("a"), lambda: inspect(old / "a")):
        with pytest.raises(
            StoreMismatch, match=f"the store has format {FORMAT}; this version knows 2 and below"
        ):
            look()
    assert (old / "a" / "store.db").read_bytes() == raw
