"""A queue of ten times `Settings.memory_bytes_max`, beside the same queue without a limit.

    python -m benchmarks.larger [--mib 16] [--limit MIB]

A primary and a backup in one process, over TCP on loopback, each with a `SqliteStore`; then a node joins, the primary
stops, and the queue is consumed from the backup. Rates are of processor time of the process, all nodes together, which
depends less on other load than elapsed time. Memory is what the process grew by, for each node, while the queue was
filled and consumed; and at most while a node joined: all three nodes together, of which two had their messages before.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from qpidha import Batch, Node
from qpidha.queues import FifoQueue
from qpidha.stores import SqliteStore
from tests.support.harness import PATIENT, World, until

MIB = 1 << 20
TIMES = 10
"""The queue is so many times as large as the limit."""
SIZE = 1024
COUNT = 100
"""Messages in a batch."""
UNDER_WAY = 16
FIXED_BYTES = 2 * MIB
"""What the store of a node has in memory at any size: the page caches of its connections."""
STATUS = Path("/proc/self/status")

Phases = dict[str, float]
"""Seconds of processor time for each message; and under ``grown``, the bytes of each node."""


def resident() -> int:
    """Bytes of resident memory of this process that no file backs."""
    for line in STATUS.read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell RssAnon")


async def measured(limit: int, *, limited: bool, times: int = TIMES) -> Phases:
    """The phases of one queue of ``times * limit`` bytes."""
    batches = times * limit // (SIZE * COUNT)
    settings = replace(PATIENT, memory_bytes_max=limit if limited else None)
    found: Phases = {}

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        found[name] = (time.process_time() - began) / (batches * COUNT)

    with TemporaryDirectory(dir="/dev/shm") as home:
        async with World(settings) as world:
            a = await world.start("a", SqliteStore(Path(home) / "a"))
            await a.promote()
            await world.start("b", SqliteStore(Path(home) / "b"))
            await until(lambda: world.nodes["b"].status().in_sync)
            gc.collect()
            before = resident()
            with phase("publish"):
                await publish(a, batches)
            found["grown"] = (resident() - before) / 2
            before = resident()
            with phase("resync"), watched() as peak:
                await world.start("c", SqliteStore(Path(home) / "c"))
                await until(lambda: world.nodes["c"].status().in_sync, timeout_s=600)
            found["grown joining"] = max(peak) - before
            with phase("failover"):
                await world.stop("a")
                await world.nodes["b"].promote()
                await until(lambda: world.nodes["b"].serving, timeout_s=60)
            before = resident()
            with phase("consume"):
                await consume(world.nodes["b"])
            found["grown consuming"] = max(0, resident() - before) / 2
    return found


@contextmanager
def watched() -> Iterator[list[int]]:
    """What was `resident` meanwhile, looked at every few milliseconds of the event loop."""
    seen = [resident()]

    async def look() -> None:
        while True:
            seen.append(resident())
            await asyncio.sleep(0.005)

    task = asyncio.get_running_loop().create_task(look())
    yield seen
    seen.append(resident())
    task.cancel()


async def publish(node: Node, batches: int) -> None:
    """Publish the queue, some batches under way at a time."""
    queue = node.declare("large")
    data = [bytes([n]) * SIZE for n in range(COUNT)]
    waiting = []
    for _ in range(batches):
        waiting.append(queue.enqueue_many(Batch.pack(data)))
        if len(waiting) == UNDER_WAY:
            for op in waiting:
                await op
            waiting.clear()
    for op in waiting:
        await op


async def consume(node: Node) -> None:
    """Consume all of it, in order, and look at each message."""
    fifo = FifoQueue(node.queue("large"))
    waiting = []
    while (taken := fifo.acquire()) is not None:
        ids, batch = taken
        assert all(len(data) == SIZE for data in batch)
        waiting.append(fifo.accept(ids))
        if len(waiting) == UNDER_WAY:
            for op in waiting:
                await op
            waiting.clear()
    for op in waiting:
        await op
    assert fifo.queue.depth == 0


def in_a_process(limit: int, *, limited: bool, times: int = TIMES) -> Phases:
    """The same in a process of its own, whose memory is not yet fragmented."""
    command = [sys.executable, "-m", "benchmarks.larger", "--limit", str(limit), "--alone"]
    command += ["--times", str(times)]
    answer = subprocess.run(command + ["--limited"] * limited, check=True, capture_output=True, text=True)
    found: Phases = json.loads(answer.stdout)
    return found


def slowest(limit: int) -> float:
    """The lowest rate of all phases, as a part of what it is without a limit."""
    fits, larger = (in_a_process(limit, limited=limited) for limited in (False, True))
    return min(fits[name] / value for name, value in larger.items() if not name.startswith("grown"))


def grown(limit: int) -> float:
    """What a node grew by while the queue was filled, without what it needs at any size, as a part of the limit."""
    return (in_a_process(limit, limited=True)["grown"] - FIXED_BYTES) / limit


def main() -> None:
    """Print the figures of both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.larger", description=__doc__)
    parser.add_argument("--mib", type=int, default=16, help="the limit (16)")
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=TIMES, help=f"size of the queue, in limits ({TIMES})")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--limited", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    limit = args.limit or args.mib * MIB
    if args.alone:
        json.dump(asyncio.run(measured(limit, limited=args.limited, times=args.times)), sys.stdout)
        return
    fits, larger = (in_a_process(limit, limited=limited) for limited in (False, True))
    for name, value in larger.items():
        if name.startswith("grown"):
            print(
                f"{name}: {value / limit:.2f} of the limit for each node; without one {fits[name] / limit:.2f}"
            )
        else:
            print(
                f"{name}: {value * 1e6:.2f} µs a message, {fits[name] / value:.2f} of the rate without a limit"
            )


if __name__ == "__main__":
    main()
