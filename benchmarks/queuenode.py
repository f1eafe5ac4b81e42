"""One node of `benchmarks.queues`, as a process: it reads commands from standard input and prints what it measured.

One JSON list a line in, ``[command, argument …]``, one JSON object a line out.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.lives import Lives, dequeues, fill
from qpidha import Batch, Node, Op, Settings
from qpidha.records import FileRecordStore
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.transports import TcpTransport
from tests.support.harness import Recorder, until

A_TURN = 200
"""Queues declared in one turn of the loop."""
TICK_S = 0.01
PATIENCE_S = 900.0


class Watch:
    """The longest stall of this event loop, the longest garbage collection in any thread, and what the process took.

    All of it since it was asked last; what the process took is the processor time of all its threads.

    A stall by the processor time of the loop's thread has no part of other processes, nor of other threads of this one:
    it is what the loop did. One by the clock has both.
    """

    def __init__(self) -> None:
        self._begun = self._cpu = 0.0
        self._clear()
        gc.callbacks.append(self._collected)

    def _clear(self) -> None:
        self._worst = {"stall_s": 0.0, "stall_cpu_s": 0.0, "collection_s": 0.0}

    def _saw(self, what: str, seconds: float) -> None:
        self._worst[what] = max(self._worst[what], round(seconds, 4))

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = time.perf_counter()
        else:
            self._saw("collection_s", time.perf_counter() - self._begun)

    async def run(self) -> None:
        last, last_cpu = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(TICK_S)
            now, cpu = time.perf_counter(), time.thread_time()
            self._saw("stall_s", now - last - TICK_S)
            self._saw("stall_cpu_s", cpu - last_cpu)
            last, last_cpu = now, cpu

    async def taken(self) -> dict[str, float]:
        await asyncio.sleep(2 * TICK_S)
        cpu = time.process_time()
        worst = self._worst | {"cpu_s": round(cpu - self._cpu, 3)}
        self._cpu = cpu
        self._clear()
        return worst


class Commands:
    """What a node can be told to do. Each returns when it is done."""

    def __init__(self, name: str, base: Path, settings: Settings, *, memory: bool = False) -> None:
        self.watch = Watch()
        self._lives: Lives | None = None
        store = MemoryStore() if memory else SqliteStore(base / name)
        self.node = Node(
            name, broker=Recorder(), store=store, transport=TcpTransport(),
            records=FileRecordStore(base / "cluster"), settings=settings, control=base / f"{name}.sock",
        )  # fmt: skip

    async def start(self) -> None:
        await self.node.start()

    async def promote(self) -> None:
        await self.node.promote(timeout_s=PATIENCE_S)

    async def in_sync(self) -> None:
        """Until this node is a member of the record."""
        await until(lambda: self.node._runtime.replica.in_sync, timeout_s=PATIENCE_S)

    async def declare(self, count: int) -> None:
        """So many queues, each with one message, as fast as they are taken; until the last one is complete."""
        op = None
        for n in range(count):
            op = self.node.declare(f"queue-{n}").enqueue(b"m")
            if n % A_TURN == A_TURN - 1:
                await asyncio.sleep(0)
        if op is not None:
            await op

    async def declare_with_bindings(self, count: int) -> dict[str, float]:
        """So many queues, each with a binding, one by one, pipelined; until all are safe."""
        started = time.perf_counter()
        for n in range(count):
            self.node.declare(f"queue-{n}")
            self.node.configuration.put("binding", f"queue-{n}/amq.topic", b"routing.key.%d" % n)
            if n % A_TURN == A_TURN - 1:
                await asyncio.sleep(0)
        await self.node.barrier()
        return {"seconds": time.perf_counter() - started}

    async def declare_empty(self, count: int) -> None:
        """So many queues without messages; until all are safe."""
        for n in range(count):
            self.node.declare(f"queue-{n}")
            if n % A_TURN == A_TURN - 1:
                await asyncio.sleep(0)
        await self.node.barrier()

    async def memory(self) -> dict[str, int]:
        """Resident bytes of this process."""
        gc.collect()
        return {"bytes": resident_bytes()}

    async def producers(self, rounds: int, batch_messages: int, size: int) -> dict[str, float]:
        """Medians of messages a second, in batches of which 16 are under way: of one producer, and published plainly."""
        queue, producer = self.node.declare("queue"), self.node.producer("client")
        batch, sequence = Batch.pack([b"x" * size] * batch_messages), 1
        await producer.registered
        rates: dict[str, list[float]] = {"producer": [], "plain": []}
        for turn in range(10):
            waiting: list[Op] = []
            started = time.perf_counter()
            for _ in range(rounds):
                if turn % 2:
                    waiting.append(queue.enqueue_many(batch))
                else:
                    waiting.append(producer.enqueue_many(queue, batch, sequence=sequence))
                    sequence += batch_messages
                if len(waiting) >= 16:
                    await waiting.pop(0)
            await waiting[-1]
            took_s = time.perf_counter() - started
            rates["plain" if turn % 2 else "producer"].append(rounds * batch_messages / took_s)
            await queue.purge()
        return {what: statistics.median(values) for what, values in rates.items()}

    async def commits(self, rounds: int) -> dict[str, float]:
        """Medians of the seconds until 10 messages are safe: as a commit over 3 queues, and as one batch."""
        queues = [self.node.declare(f"queue-{n}") for n in range(3)]
        messages = [b"x" * 100] * 10
        await self.node.barrier()
        took: dict[str, list[float]] = {"commit": [], "batch": []}
        for _ in range(rounds):
            started = time.perf_counter()
            with self.node.transaction() as t:
                for n, data in enumerate(messages):
                    t.enqueue(queues[n % 3], data)
            await t.op
            between = time.perf_counter()
            await queues[0].enqueue_many(Batch.pack(messages))
            took["commit"].append(between - started)
            took["batch"].append(time.perf_counter() - between)
        return {what: statistics.median(values) for what, values in took.items()}

    async def lives(self, count: int, a_turn: int) -> None:
        """See `benchmarks.lives`."""
        if self._lives is None:
            self._lives = Lives(self.node)
        await self._lives.run(count, a_turn)

    async def fill(self, depth: int) -> None:
        """See `benchmarks.lives`."""
        await fill(self.node, depth)

    async def dequeues(self, count: int, a_turn: int) -> dict[str, float]:
        """See `benchmarks.lives`."""
        return {"seconds": await dequeues(self.node, count, a_turn)}

    async def spent(self) -> dict[str, float]:
        """Processor time of this process so far."""
        return {"seconds": time.process_time()}

    async def publish(self) -> None:
        await self.node.queue("queue-0").enqueue(b"m")

    async def stop(self) -> None:
        await self.node.stop()

    async def worst(self) -> dict[str, float]:
        """Since this was asked last."""
        return await self.watch.taken()

    async def status(self) -> dict[str, Any]:
        """The stalls that the node reports, since its start."""
        status = self.node.status(queues_max=0)
        return {"loop_stall_worst_s": status.loop_stall_worst_s}


def resident_bytes() -> int:
    """Resident bytes of this process without the pages of files: libraries become resident as they are used."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


async def serve(commands: Commands, read: Callable[[], str], write: Callable[[str], object]) -> None:
    """Until there is nothing more to read."""
    watching = asyncio.ensure_future(commands.watch.run())
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, read):
        name, *arguments = json.loads(line)
        answer = await getattr(commands, name)(*arguments)
        write(json.dumps(answer or {}) + "\n")
    watching.cancel()


def main(arguments: list[str]) -> None:
    """NAME, DIRECTORY, the settings as JSON, and "memory" for a store without a disk."""
    logging.disable(logging.CRITICAL)
    name, base, settings, *memory = arguments
    out = sys.stdout

    def write(line: str) -> None:
        out.write(line)
        out.flush()

    commands = Commands(name, Path(base), Settings(**json.loads(settings)), memory=bool(memory))
    asyncio.run(serve(commands, sys.stdin.readline, write))


if __name__ == "__main__":
    main(sys.argv[1:])
