"""One node of PySyncObj's replicated queue; node 0 publishes, and prints the seconds until all is committed.

usage: pysyncobj_queue.py NODE PORT0 PORT1 PORT2 MESSAGES BYTES
"""

from __future__ import annotations

import os
import sys
import threading
import time

from pysyncobj import SyncObj, SyncObjConf  # type: ignore[import-not-found,unused-ignore]
from pysyncobj.batteries import ReplQueue  # type: ignore[import-not-found,unused-ignore]


def main(node: int, ports: list[int], count: int, size: int) -> None:
    addresses = [f"127.0.0.1:{port}" for port in ports]
    fast, slow = (0.4, 0.6), (5.0, 6.0)  # Node 0 is to become the leader.
    least, most = fast if node == 0 else slow
    queue = ReplQueue()
    conf = SyncObjConf(
        raftMinTimeout=least,
        raftMaxTimeout=most,
        connectionTimeout=10.0,
        commandsQueueSize=10**7,
        appendEntriesBatchSizeBytes=1 << 16,
    )
    others = [address for i, address in enumerate(addresses) if i != node]
    cluster = SyncObj(addresses[node], others, consumers=[queue], conf=conf)
    if node:
        while True:
            time.sleep(1)
    while not cluster._isLeader():
        time.sleep(0.05)
    time.sleep(1)
    committed, done = 0, threading.Event()

    def answered(_result: object, _error: object) -> None:
        nonlocal committed
        committed += 1
        if committed == count:
            done.set()

    body, started = "x" * size, time.perf_counter()
    for _ in range(count):
        queue.put(body, callback=answered)
    done.wait()
    print(time.perf_counter() - started, flush=True)
    os._exit(0)


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    main(numbers[0], numbers[1:4], *numbers[4:6])
