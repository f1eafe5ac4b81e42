"""Records the stores of a cluster of three, for the tests of upgrades: run it with the version that they are for.

    git archive COMMIT qpidha setup.py pyproject.toml README.md LICENSE | tar -xf - -C OLD
    (cd OLD && python setup.py build_ext --inplace)
    PYTHONPATH=OLD python tests/storage/record_stores.py stores-NAME.tar.gz

It uses only what every version has, and what a version may lack if it is there. The archive has the directories of the
nodes `a`, `b` and `c`, the cluster record, and `content.json`: what each queue, and the configuration, has.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qpidha import Node
from qpidha.records import FileRecordStore
from qpidha.stores import SqliteStore
from qpidha.transports import TcpTransport

NAMES = ("a", "b", "c")


class Broker:
    """A broker that does nothing."""

    async def on_promote(self, generation: int) -> None:
        """Serve."""

    async def on_demote(self, generation: int) -> None:
        """Serve no more."""

    async def on_discarded(self, messages: Any) -> None:
        """Forget them."""


async def until(reached: Callable[[], object]) -> None:
    """Wait for it, a minute at most."""
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def node_of(work: Path, name: str, **options: Any) -> Node:
    """A node whose store and record are under a directory."""
    return Node(
        name,
        broker=Broker(),
        store=SqliteStore(work / name),
        transport=TcpTransport(),
        records=FileRecordStore(work / "record"),
        **options,
    )


async def change(node: Node, number: int) -> None:
    """Change everything that this version can change."""
    for name in ("orders", "mails", "empty"):
        node.declare(name)
    orders, mails = node.queue("orders"), node.queue("mails")
    ops: list[Any] = [orders.enqueue(b"order %d/%d" % (number, n), b"props") for n in range(20)]
    ops += [mails.enqueue_many([b"mail %d/%d" % (number, n) for n in range(200)])]
    for op in ops:
        await op
    held = [id for id, _ in mails]
    await mails.dequeue(held[3:150:7])
    await orders.move([id for id, _ in orders][:4], mails)
    if hasattr(node, "transaction"):
        with node.transaction() as transaction:
            transaction.put_object("exchange", f"exchange {number}", b"direct")
            transaction.publish([orders, mails], b"to both", b"")
            transaction.dequeue(mails, [id for id, _ in mails][:2])
        await transaction.op
    if hasattr(node, "configuration"):
        await node.configuration.put("user", f"user {number}", b"secret")
    if hasattr(orders, "update"):
        await orders.update([next(iter(orders))[0]], [b"updated"])
    if hasattr(node, "producer"):
        producer = node.producer("ada")
        await producer.registered


def content(node: Node) -> dict[str, Any]:
    """What clients can read."""
    queues = {q.name: [data.decode() for _, data in q] for q in node.queues}
    objects = []
    if hasattr(node, "configuration"):
        objects = [
            [kind, name, value.decode()]
            for wanted in ("exchange", "user")
            for kind, name, value in node.configuration.objects(wanted)
        ]
    return {"queues": queues, "objects": objects}


async def record(work: Path) -> None:
    """Two generations with changes; then all nodes stop in order."""
    nodes = {name: node_of(work, name) for name in NAMES}
    for node in nodes.values():
        await node.start()
    for number, name in enumerate(("b", "a")):
        await nodes[name].promote()
        await until(lambda name=name: nodes[name].serving)
        await until(lambda: all(n.status().in_sync for n in nodes.values()))
        await change(nodes[name], number)
    (work / "content.json").write_text(json.dumps(content(nodes["a"]), indent=1, sort_keys=True))
    for name in ("c", "b", "a"):
        await nodes[name].stop()


def main() -> None:
    """Write the archive."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        (work / "record").mkdir(mode=0o700)
        asyncio.run(record(work))
        with tarfile.open(sys.argv[1], "w:gz") as archive:
            for each in sorted(work.rglob("*")):
                if each.is_file() and not each.name.endswith(("-shm", "-wal", ".sock")):
                    archive.add(each, str(each.relative_to(work)))


if __name__ == "__main__":
    main()
