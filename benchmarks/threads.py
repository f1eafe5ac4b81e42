"""What a call from another thread costs, and one in the event loop: ``python -m benchmarks.threads [MESSAGES]``.

Two nodes in one process and one event loop, in memory. So most of the time is replication, in both cases.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable

from qpidha import Node
from qpidha.bridge import LoopThread
from tests.support.harness import World

DATA = b"x" * 100
THREADS = (1, 8, 32)


def timed(count: int, work: Callable[[], object]) -> float:
    """Messages a second."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def in_threads(threads: int, count: int, call: Callable[[], object]) -> float:
    """Messages a second of so many threads, each of which publishes its share one at a time."""
    share = count // threads

    def work() -> None:
        for _ in range(share):
            call()

    def all_of_them() -> None:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return timed(share * threads, all_of_them)


async def made(node: Node, count: int) -> None:
    """Publish in the loop, 100 messages a turn."""
    queue = node.declare("q")
    for number in range(count):
        queue.enqueue(DATA)
        if number % 100 == 0:
            await asyncio.sleep(0)


async def safe(node: Node, tasks: int, count: int) -> None:
    """Publish in the loop; each task waits for each message."""
    queue = node.declare("q")

    async def one() -> None:
        for _ in range(count // tasks):
            await queue.enqueue(DATA)

    await asyncio.gather(*(one() for _ in range(tasks)))


def measure(thread: LoopThread, node: Node, count: int) -> None:
    loop = asyncio.run_coroutine_threadsafe
    queue = node.sync.declare("q")
    print(f"loop, made             {timed(10 * count, lambda: thread.run(made(node, 10 * count))):10.0f}/s")
    for tasks in (1, 8):
        rate = timed(count, lambda tasks=tasks: thread.run(safe(node, tasks, count)))  # type: ignore[misc]
        print(f"loop, safe, {tasks} tasks    {rate:10.0f}/s")
    for threads in THREADS:
        rates = [
            in_threads(threads, count, lambda: queue.enqueue(DATA)),
            in_threads(threads, count, lambda: queue.enqueue(DATA).safe()),
        ]
        print(f"{threads:2} threads, made, safe  {rates[0]:10.0f}/s {rates[1]:10.0f}/s")

    async def publish() -> object:
        return await node.queue("q").enqueue(DATA)

    running = node._runtime.loop
    assert running is not None
    rate = in_threads(8, count, lambda: loop(publish(), running).result())
    print(f" 8 threads, run_coroutine_threadsafe, safe {rate:10.0f}/s")


def main(count: int) -> None:
    thread, world = LoopThread("benchmark"), World()
    try:
        node, _ = thread.run(world.cluster("a", "b"))
        measure(thread, node, count)
    finally:
        thread.run(world.__aexit__())
        thread.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
