"""Measure what a broker has besides messages: objects, commits, fan-out, and very many queues.

    python -m benchmarks.state objects types fan-out commit large declare producers memory

Figures that depend on the speed of a machine are compared with something measured beside them, or are medians of few
runs. ``objects``, ``fan-out`` and ``large`` use three nodes in one process, over TCP on loopback, in memory; ``commit``,
``declare`` and ``producers`` use three nodes in processes of their own, ``memory`` one, on disk.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.queues import SETTINGS, Cluster, Member
from qpidha import ArgumentError, Batch, Node, Op, Queue
from qpidha.queues import MSGPACK, DeliveryQueue, QueueArguments
from tests.support.harness import QUICK, World, until

PATIENT = replace(QUICK, ack_timeout_s=60.0, rejoin_timeout_s=120.0, heartbeat_timeout_s=20.0)
"""Backups must not be removed because the measuring machine is busy."""
A_TURN = 200
"""Calls in one turn of the loop."""
PENDING_MAX = 4_000
"""How many calls wait for their op."""
A_BATCH = 1_000
"""Messages published at once."""
KIB = 1024


async def put_objects(node: Node, objects: int) -> None:
    """So many bindings, one put each, pipelined; until the last is safe."""
    ops: list[Op] = []
    for n in range(objects):
        ops.append(node.configuration.put("binding", f"queue-{n}/amq.topic", b"routing.key.%d" % n))
        if n % A_TURN == A_TURN - 1:
            await asyncio.sleep(0)
            if n >= PENDING_MAX:
                await ops[-PENDING_MAX]
    await ops[-1]


def objects_failover(objects: int) -> dict[str, float]:
    """A failover with so many objects on both sides; then the old primary returns, which has changed one more.

    ``ms`` and ``bytes``: from the promotion until the new primary is established, and what was sent until then.
    ``changed_bytes``: what the old primary and the new one have sent until it is in sync again.
    """

    async def main() -> dict[str, float]:
        async with World(PATIENT) as world:
            a, b, c = await world.cluster("a", "b", "c")
            await put_objects(a, objects)
            world.gates["a"].mute = True
            a.configuration.put("binding", "queue-7/amq.topic", b"this one never left the node")
            await asyncio.sleep(0.05)
            await world.kill("a")
            await until(lambda: not c._parts.links.peers)
            started = _begin(world)
            await b.promote()
            await until(lambda: _is_ready(b))
            found = {"ms": (time.perf_counter() - started) * 1000, "bytes": _sent(world)}
            _begin(world)
            a = await world.start("a")
            await until(lambda: a.status().in_sync)
            assert a.configuration.get("binding", "queue-7/amq.topic") == b"routing.key.7"
            return found | {"changed_bytes": _sent(world)}

    return asyncio.run(main())


def _begin(world: World) -> float:
    for gate in world.gates.values():
        gate.sent = 0
    return time.perf_counter()


def _sent(world: World) -> float:
    return sum(gate.sent for gate in world.gates.values())


def _is_ready(node: Node) -> bool:
    status = node.status(queues_max=0)
    return status.role == "active" and status.safe > 0


# --- fan-out and commits -----------------------------------------------------------------------------


def typed_failover(kind: str, depth: int) -> dict[str, float]:
    """A failover with so many messages in an indexed queue: ``ms`` from the promotion until a consumer has the first.

    Two nodes in one process, in memory. ``first_ms`` is the part from when the new primary serves.
    """
    arguments = QueueArguments(messages_max=depth if kind == "ring" else None)

    async def main() -> dict[str, float]:
        async with World(PATIENT) as world:
            a, b = await world.cluster("a", "b")
            queue = a.declare("q", kind=kind, arguments=arguments.encode())
            for first in range(0, depth, A_BATCH):
                props = [
                    MSGPACK.pack(priority=n * 7 % 10, key=b"%d" % n) for n in range(first, first + A_BATCH)
                ]
                await queue.enqueue_many(Batch.pack([bytes(100)] * A_BATCH, props))
            await world.kill("a")
            begun = time.perf_counter()
            await b.promote()
            await b.wait_serving()
            serving = time.perf_counter()
            taken = DeliveryQueue(b, b.queue("q")).consumer().acquire(100)
            assert taken is not None
            done = time.perf_counter()
            return {"ms": (done - begun) * 1e3, "first_ms": (done - serving) * 1e3}

    return asyncio.run(main())


def fan_out(queues: int, size: int, rounds: int) -> dict[str, float]:
    """A message of ``size`` bytes to so many queues.

    ``bytes``: sent to each backup. ``ratio``: the time until it is safe, divided by that of one publish of that size and
    as many table entries, made one after the other in one turn.
    """

    async def main() -> dict[str, float]:
        async with World(PATIENT) as world:
            a, *_ = await world.cluster("a", "b", "c")
            targets = [a.declare(f"queue-{n}") for n in range(queues)]
            table, data = a.table("t"), b"x" * size
            await a.barrier()

            async def one_message() -> None:
                await a.publish(targets, data)

            async def entries() -> None:
                targets[0].enqueue(data)
                op = None
                for n in range(queues):
                    op = table.put(b"%d" % n, b"")
                assert op is not None
                await op

            before = world.gates["a"].sent
            await one_message()
            nbytes = (world.gates["a"].sent - before) / 2
            return {"bytes": nbytes, "ratio": await compared(one_message, entries, rounds)}

    return asyncio.run(main())


async def compared(one: Callable[[], Any], other: Callable[[], Any], rounds: int) -> float:
    """How many times as long the one takes as the other: best of each, in turn, so that other load matters little."""
    best = [float("inf"), float("inf")]
    gc.collect()
    for n in range(2 * rounds):
        started = time.perf_counter()
        await (one, other)[n % 2]()
        best[n % 2] = min(best[n % 2], time.perf_counter() - started)
    return best[0] / best[1]


def large_commit(nbytes: int) -> float:
    """MiB a second of one transaction of so many bytes until it is safe; and one above the limit stores nothing."""

    async def main() -> float:
        async with World(replace(PATIENT, transaction_bytes_max=nbytes + (1 << 20))) as world:
            a, b, c = await world.cluster("a", "b", "c")
            queue, table = a.declare("queue"), a.table("t")
            await a.barrier()
            pieces = [b"x" * (1 << 20)] * (nbytes >> 20)
            started = time.perf_counter()
            with a.transaction() as t:
                for piece in pieces:
                    t.enqueue(queue, piece)
                t.put(table, b"key", b"value")
            assert t.op is not None
            await t.op
            elapsed = time.perf_counter() - started
            assert {n.queue("queue").depth for n in (a, b, c)} == {len(pieces)}
            assert {n.table("t").get(b"key") for n in (a, b, c)} == {b"value"}
            _refused(a, queue, [*pieces, *pieces[:2]])
            return (nbytes >> 20) / elapsed

    return asyncio.run(main())


def _refused(node: Node, queue: Queue, pieces: list[bytes]) -> None:
    before = queue.depth, queue.next_id
    try:
        with node.transaction() as t:
            for piece in pieces:
                t.enqueue(queue, piece)
    except ArgumentError:
        assert (queue.depth, queue.next_id) == before
        return
    raise AssertionError("a commit above transaction_bytes_max was taken")


# --- processes ---------------------------------------------------------------------------------------


@contextmanager
def nodes_in_memory(**settings: Any) -> Iterator[list[Member]]:
    """Three nodes in memory, in processes of their own, all in sync. Yields them, the primary first."""
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory), SETTINGS | settings, memory=True)
        try:
            first, *others = [cluster.process(name) for name in "abc"]
            first.tell("start")
            first.tell("promote")
            for other in others:
                other.tell("start")
                other.tell("in_sync")
            yield [first, *others]
        finally:
            cluster.close()


@contextmanager
def three_nodes(**settings: Any) -> Iterator[Member]:
    """The same. Yields the primary."""
    with nodes_in_memory(**settings) as nodes:
        yield nodes[0]


def commit_ratio(rounds: int) -> float:
    """The time of a transaction of 10 messages over 3 queues, divided by that of the same messages as one batch."""
    with three_nodes() as primary:
        medians = primary.tell("commits", rounds)
        ratio: float = medians["commit"] / medians["batch"]
        return ratio


def declare_rate(objects: int) -> float:
    """Objects a second: queues, each with a binding, one by one, pipelined; in memory, until safe on three nodes."""
    with three_nodes(gc_policy="freeze") as primary:
        seconds: float = primary.tell("declare_with_bindings", objects // 2)["seconds"]
        return objects / seconds


def producer_ratio(rounds: int, size: int) -> float:
    """The rate of batches of 100 messages of one producer, divided by that of plain ones. ``size``: of a message."""
    with three_nodes() as primary:
        medians = primary.tell("producers", rounds, 100, size)
        ratio: float = medians["producer"] / medians["plain"]
        return ratio


def queue_bytes(queues: int) -> float:
    """Bytes of memory of an empty queue: what a process has grown by when its node has loaded so many from disk.

    It counts everything that the node keeps for them: core, names, their objects in the configuration, the store's index.
    """
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory), SETTINGS | {"gc_policy": "freeze"})
        try:
            first = cluster.process("a")
            first.tell("start")
            first.tell("promote")
            first.tell("declare_empty", queues)
            first.tell("stop")
            cluster.close("a")
            again = cluster.process("a")
            before = again.tell("memory")["bytes"]
            again.tell("start")
            after: int = again.tell("memory")["bytes"]
            again.tell("stop")
            return (after - before) / queues
        finally:
            cluster.close()


class Together:
    """A measurement with several figures, each a row of the table: the n-th run of all these rows is the same one."""

    def __init__(self, measure: Callable[[], dict[str, float]]) -> None:
        self._measure = measure
        self._runs: list[dict[str, float]] = []

    def part(self, name: str) -> Callable[[], float]:
        """Measure, or take what the n-th measurement has found."""
        asked = count()

        def run() -> float:
            n = next(asked)
            if n == len(self._runs):
                self._runs.append(self._measure())
            return self._runs[n][name]

        return run


TYPES = ("priority", "ring", "last-value")
"""Kinds of queues with an index of their messages."""
MEASURES: dict[str, Callable[[], object]] = {
    "objects": lambda: objects_failover(100_000),
    "types": lambda: {kind: typed_failover(kind, 1_000_000) for kind in TYPES},
    "fan-out": lambda: fan_out(100, KIB, 100),
    "commit": lambda: commit_ratio(500),
    "large": lambda: large_commit(64 << 20),
    "declare": lambda: declare_rate(100_000),
    "producers": lambda: [producer_ratio(300, size) for size in (100, KIB)],
    "memory": lambda: queue_bytes(100_000),
}


def main(arguments: list[str]) -> int:
    for name in arguments or MEASURES:
        sys.stdout.write(json.dumps({name: MEASURES[name]()}) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
