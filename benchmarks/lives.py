"""Single messages in one node, through the library alone: a call for each step of each message."""

from __future__ import annotations

import asyncio
import random
import time

from qpidha import Node, Op
from qpidha.queues import FifoQueue

MESSAGE = b"x" * 100
FILL = 1000


class Lives:
    """Messages of one queue from `enqueue` to settled. Made once, on the primary."""

    def __init__(self, node: Node) -> None:
        self._queue = node.declare("lives")
        self._fifo: FifoQueue[Op] = FifoQueue(self._queue)
        self._queue.on_safe_upto(self._safe)
        self._wanted = self._left = 0
        self._reached = asyncio.Event()

    async def run(self, count: int, a_turn: int) -> None:
        """So many messages, so many in each turn; until all are settled."""
        for _ in range(count // a_turn):
            for _ in range(a_turn):
                self._queue.enqueue(MESSAGE)
            await self._until(wanted=self._queue.next_id - 1)
            for _ in range(a_turn):
                taken = self._fifo.acquire(1)
                assert taken is not None
                self._fifo.accept(taken[0]).add_safe_callback(self._settled)
            await self._until(left=a_turn)

    async def _until(self, *, wanted: int = 0, left: int = 0) -> None:
        self._wanted, self._left = wanted, left
        self._reached.clear()
        await self._reached.wait()

    def _safe(self, upto: int) -> None:
        if 0 < self._wanted <= upto:
            self._reached.set()

    def _settled(self, _op: Op, error: Exception | None) -> None:
        assert error is None
        self._left -= 1
        if not self._left:
            self._reached.set()


async def fill(node: Node, depth: int) -> None:
    """A queue with so many messages."""
    queue, safe = node.declare("deep"), None
    for _ in range(depth // FILL):
        safe = queue.enqueue_many([MESSAGE] * FILL)
        await asyncio.sleep(0)
    if safe is not None:
        await safe


async def dequeues(node: Node, count: int, a_turn: int) -> float:
    """Accept so many of these in random order, one id a call, so many in a turn. Processor time of the calls alone."""
    queue, spent = node.queue("deep"), 0.0
    ids = random.Random(1).sample(range(1, queue.next_id), count)
    for n in range(0, count, a_turn):
        begun = time.thread_time()
        safe = [queue.dequeue([id]) for id in ids[n : n + a_turn]][-1]
        spent += time.thread_time() - begun
        await safe
    return spent
