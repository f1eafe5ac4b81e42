"""What the storage of huey costs: ``python -m benchmarks.huey [CALLS] [THREADS]``, with PYTHONPATH=examples/huey.

Two nodes in one process and one event loop, in memory, as in `benchmarks.threads`: the backup's work is in the figures.
Each call returns when what it has changed is safe. Processor time is that of the whole process.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from huey_ha import ReplicatedStorage
from huey_ha.unit import QUEUE_TYPES

from qpidha.bridge import LoopThread
from tests.support.harness import PATIENT, World

DATA = b"x" * 200


def measured(name: str, threads: int, calls: int, work: Callable[[int], object]) -> None:
    """Call it so often in all, with numbers that no other call has."""
    share = calls // threads

    def thread(first: int) -> None:
        for number in range(first, first + share):
            work(number)

    workers = [threading.Thread(target=thread, args=(n * share,)) for n in range(threads)]
    began, processor = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took, used, calls = time.perf_counter() - began, time.process_time() - processor, share * threads
    print(f"{name:28} {calls / took:10.0f}/s {1e6 * used / calls:8.0f} us of a processor each")


def measure(storage: ReplicatedStorage, calls: int, threads: int) -> None:
    def execute(number: int) -> None:
        """What a worker does for a task that does nothing."""
        with storage.together():
            storage.dequeue()
            storage.peek_many([f"r:{number}", "rt:task"])
            storage.pop_data(f"r:{number}")
            storage.put_data(f"{number}", DATA, is_result=True)

    measured("has_data_for_key", threads, calls, lambda n: storage.has_data_for_key("none"))
    measured("enqueue", threads, calls, lambda n: storage.enqueue(DATA))
    measured("a task, executed", threads, calls, execute)
    measured("pop_data, of its result", threads, calls, lambda n: storage.pop_data(f"{n}"))
    measured("put_data", threads, calls, lambda n: storage.put_data(f"{n}", DATA))
    measured("incr", threads, calls, lambda n: storage.incr(f"{n % 100}"))


def main(calls: int, threads: int) -> None:
    loop, world = LoopThread("benchmark"), World(PATIENT)
    try:
        for name in ("a", "b"):
            loop.run(world.start(name, queue_types=QUEUE_TYPES))
        world.nodes["a"].sync.promote()
        world.nodes["b"].sync.wait_in_sync()
        storage = ReplicatedStorage(node=world.nodes["a"])
        storage.promoted()
        measure(storage, calls, threads)
    finally:
        loop.run(world.__aexit__())
        loop.close()


if __name__ == "__main__":
    main(*(int(argument) for argument in (sys.argv[1:] + ["8000", "8"][len(sys.argv) - 1 :])))
