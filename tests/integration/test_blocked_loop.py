"""A callback that blocks the event loop blocks only its own node: the others consider it dead and one takes over.

Method: the blocked node runs in a thread with its own event loop; the nodes share a record store in files.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

from qpidha import Node, Role
from qpidha.promoters import PriorityPromoter
from qpidha.records import FileRecordStore
from qpidha.stores import MemoryStore
from qpidha.transports import TcpTransport
from tests.support.harness import QUICK, Recorder, until

SETTINGS = replace(QUICK, session_ttl_s=0.6, heartbeat_timeout_s=0.5)
BLOCKED_S = 4.0


class Blocking(Recorder):
    """Blocks its event loop when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.block = threading.Event()
        self.served = threading.Event()
        self.stop = threading.Event()

    async def on_promote(self, generation: int) -> None:
        await super().on_promote(generation)
        self.served.set()
        while not self.block.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        time.sleep(BLOCKED_S)  # noqa: ASYNC251 - the test needs a blocked loop


def make(name: str, broker: Recorder, cluster: Path, priority: int) -> Node:
    return Node(
        name,
        broker=broker,
        store=MemoryStore(),
        transport=TcpTransport(),
        records=FileRecordStore(cluster),
        promoter=PriorityPromoter(priority),
        settings=SETTINGS,
    )


def test_a_primary_whose_loop_is_blocked_is_replaced_and_comes_back(tmp_path: Path) -> None:
    broker, came_back = Blocking(), threading.Event()

    async def blocked() -> None:
        async with make("a", broker, tmp_path, 9) as a:
            while not broker.stop.is_set():
                await asyncio.sleep(0.02)
                if broker.block.is_set() and a.role is Role.READY and a.status().in_sync:
                    came_back.set()

    async def main() -> None:
        thread = threading.Thread(target=asyncio.run, args=(blocked(),))
        thread.start()
        try:
            await until(broker.served.is_set)
            async with make("b", Recorder(), tmp_path, 1) as b:
                await until(lambda: b.status().in_sync)
                broker.block.set()
                began = time.monotonic()
                await until(lambda: b.serving, timeout_s=30)
                assert time.monotonic() - began < BLOCKED_S, "while a is blocked"
                await until(came_back.is_set, timeout_s=60, what="a is a backup")
                await b.declare("q").enqueue(b"1")
                broker.stop.set()
                while thread.is_alive():  # noqa: ASYNC110 - another thread
                    await asyncio.sleep(0.02)
        finally:
            broker.block.set()
            broker.stop.set()
            thread.join(60)

    asyncio.run(main())
