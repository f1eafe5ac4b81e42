"""Many queues: what it takes to declare them, to join a fresh backup, to fail over, to start again and to show them.

    python -m benchmarks.queues 4000 16000 64000
    python -m benchmarks.queues --gc-freeze 16000       the same with gc_policy="freeze"

Whole nodes in one process, on disk and over TCP on loopback, one message in each queue. All nodes share one event loop
and one interpreter lock, so a stall is the work of all of them; in processes of their own each has its part of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from qpidha import Node, Settings
from qpidha.node.ask import ask
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores import SqliteStore
from qpidha.transports import TcpTransport
from tests.support.harness import Recorder, until

Figure = tuple[float, float, float]
"""Seconds; the longest stall of the event loop meanwhile; and the longest by the processor time of its thread, in which
other processes and threads have no part."""
STEPS = ("declare", "join", "failover", "status", "start")
A_TURN = 200
"""Queues declared in one turn of the loop."""
SETTINGS = Settings(ack_timeout_s=60.0, rejoin_timeout_s=120.0)
"""A machine that measures is busy: nobody is to be removed for that."""


class Stalls:
    """Looks how late it is woken, every 10 ms."""

    def __init__(self) -> None:
        self.worst_s = self.worst_cpu_s = 0.0

    async def watch(self) -> None:
        last, last_cpu = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0.01)
            now, cpu = time.perf_counter(), time.thread_time()
            self.worst_s = max(self.worst_s, now - last - 0.01)
            self.worst_cpu_s = max(self.worst_cpu_s, cpu - last_cpu)
            last, last_cpu = now, cpu

    async def during(self, work: Awaitable[object]) -> Figure:
        self.worst_s, self.worst_cpu_s, started = 0.0, 0.0, time.perf_counter()
        await work
        took = time.perf_counter() - started
        await asyncio.sleep(0.02)
        return took, self.worst_s, self.worst_cpu_s


def measure(count: int, settings: Settings = SETTINGS) -> dict[str, Figure]:
    """All steps, with so many queues."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(count, Path(directory), settings))


async def _measure(count: int, base: Path, settings: Settings) -> dict[str, Figure]:
    records, stalls = MemoryRecordStore(), Stalls()

    def node(name: str) -> Node:
        return Node(
            name, broker=Recorder(), store=SqliteStore(base / name), transport=TcpTransport(), records=records,
            settings=settings, control=base / f"{name}.sock",
        )  # fmt: skip

    watching = asyncio.ensure_future(stalls.watch())
    async with AsyncExitStack() as stack:
        a, b, c = (node(name) for name in "abc")
        await stack.enter_async_context(a)
        await a.promote()
        await stack.enter_async_context(b)
        await until(lambda: b.status(queues_max=0).in_sync)
        found = {"declare": await stalls.during(_declare(a, count))}
        found["join"] = await stalls.during(_join(c, stack))
        found["failover"] = await stalls.during(_fail_over(a, b))
        found["status"] = await stalls.during(ask(base / "b.sock", "status", timeout_s=300.0))
        await c.stop()
        found["start"] = await stalls.during(stack.enter_async_context(node("c")))
    watching.cancel()
    return found


async def _declare(node: Node, count: int) -> None:
    op = None
    for n in range(count):
        op = node.declare(f"queue-{n}").enqueue(b"m")
        if n % A_TURN == A_TURN - 1:
            await asyncio.sleep(0)
    if op is not None:
        await op


async def _join(node: Node, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(node)
    await until(lambda: node.replica.in_sync, timeout_s=900.0)


async def _fail_over(old: Node, new: Node) -> None:
    """From the stop of the primary until its successor has answered a publish."""
    await old.stop()
    await new.promote(timeout_s=300.0)
    await new.queue("queue-0").enqueue(b"m")


def once(count: int, step: str, part: int) -> Callable[[], float]:
    """For the table: one figure of a measurement that all rows of it share."""

    def run() -> float:
        if count not in _found or (step, part) in _seen:
            _found[count] = measure(count)
            _seen.clear()
        _seen.add((step, part))
        return _found[count][step][part]

    return run


_found: dict[int, dict[str, Figure]] = {}
_seen: set[tuple[str, int]] = set()


def main(arguments: list[str]) -> int:
    logging.disable(logging.CRITICAL)
    settings = replace(SETTINGS, gc_policy="freeze" if "--gc-freeze" in arguments else "leave")
    for count in [int(size) for size in arguments if size.isdigit()] or [4_000, 16_000]:
        found = measure(count, settings)
        sys.stdout.write(json.dumps({"queues": count, **found}) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
