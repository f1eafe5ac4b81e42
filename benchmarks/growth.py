"""How the cost of a message grows: with queues, backups, depth, batch, size, holes, connections, and beyond memory.

Whole nodes in one process, over TCP on loopback, everything in memory. The figure is processor time a message, of
all nodes together, for publishing and consuming it, which depends less on other load than a rate. What is said to be
*one by one* has a call for each message, 1,000 in a turn, and so has an accept. The part of the primary and many
connections are measured with nodes in separate processes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import crowd, larger, measures, raw, singles
from benchmarks.cluster import Brokers, PipelinedClient, spent_by
from qpidha import Batch, Op, Queue, SequenceSet
from tests.support.harness import World


@dataclass(frozen=True)
class Shape:
    """What is published, into what."""

    queues: int = 1
    backups: int = 2
    depth: int = 0
    """Messages in the first queue before and while it is measured."""
    batch: int = 1000
    size: int = 100
    holes: bool = False
    """Every second of the messages that lie in the queue was consumed."""
    one_by_one: bool = False
    """A call for each message, and for the accept of each: ``batch`` of them in a turn."""
    random: bool = False
    """What is accepted is drawn from all that lies in the queue, not the oldest of it. One by one only."""


def cost(shape: Shape, messages: int) -> float:
    """Seconds of processor time a message, published and consumed."""
    return asyncio.run(_cost(shape, messages))


async def _cost(shape: Shape, messages: int) -> float:
    async with World() as world:
        primary, *_ = await world.cluster(*(f"n{i}" for i in range(1 + shape.backups)))
        queues = [primary.declare(f"q{i}") for i in range(shape.queues)]
        await _fill(queues[0], shape)
        rounds = max(4, messages // shape.batch)
        lying = [list(range(1, queue.next_id)) for queue in queues]

        async def work(rounds: int) -> None:
            await (
                _one_by_one(queues, shape, rounds, lying)
                if shape.one_by_one
                else _work(queues, shape, rounds)
            )

        await work(rounds // 4)
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            await work(rounds)
            best = min(best, (time.process_time() - started) / (rounds * shape.batch))
        assert {node.queue("q0").depth for node in world.nodes.values()} == {queues[0].depth}
        return best


async def _fill(queue: Queue, shape: Shape) -> None:
    batch = Batch.pack([b"x" * shape.size] * 10_000)
    for _ in range(-(-shape.depth // len(batch))):
        await queue.enqueue_many(batch)
    if shape.holes and shape.depth:
        await queue.dequeue(SequenceSet(range(2, queue.next_id, 2)))


async def _work(queues: Sequence[Queue], shape: Shape, rounds: int) -> None:
    """Publish to the queues in turn, 16 batches under way; consume each batch when it is safe."""
    batch = Batch.pack([b"x" * shape.size] * shape.batch)
    waiting: list[tuple[Queue, Op]] = []
    for i in range(rounds):
        queue = queues[i % len(queues)]
        waiting.append((queue, queue.enqueue_many(batch)))
        if len(waiting) == 16:
            await _consume(waiting)
    await _consume(waiting)


async def _consume(waiting: list[tuple[Queue, Op]]) -> None:
    for _, op in waiting:
        await op
    settled = [queue.dequeue(SequenceSet.from_range(op.ids[0], op.ids[-1])) for queue, op in waiting]
    for op in settled:
        await op
    waiting.clear()


async def _one_by_one(queues: Sequence[Queue], shape: Shape, rounds: int, lying: Sequence[list[int]]) -> None:
    """Publish to the queues in turn, one message a call; when all of a turn are safe, accept as many, one id a call.

    ``lying`` has the ids in each queue, for random accepts.
    """
    data, draw = b"x" * shape.size, random.Random(1)
    places = [n % len(queues) for n in range(shape.batch)]
    for _ in range(rounds):
        published = [queues[place].enqueue(data) for place in places]
        for op in published:
            await op
        ids = [op.ids[0] for op in published]
        if shape.random:
            ids = [_drawn(lying[place], id, draw) for place, id in zip(places, ids, strict=True)]
        for op in [queues[place].dequeue([id]) for place, id in zip(places, ids, strict=True)]:
            await op


def _drawn(lying: list[int], new: int, draw: random.Random) -> int:
    """Any of the ids that lie in a queue; the new one takes its place."""
    at = draw.randrange(len(lying))
    old, lying[at] = lying[at], new
    return old


STUDIES: dict[str, list[tuple[float, Shape]]] = {
    "queues": [(n, Shape(queues=n)) for n in (1, 10, 100, 1000)],
    "backups": [(n, Shape(backups=n)) for n in (1, 2, 4, 8)],
    "depth": [(n, Shape(depth=n)) for n in (1_000, 10_000, 100_000, 1_000_000, 5_000_000)],
    "batch": [(n, Shape(batch=n)) for n in (1, 10, 100, 1000, 10_000)],
    "size": [(n, Shape(size=n)) for n in (10, 100, 1_000, 10_000)],
    "holes": [(n, Shape(depth=n, holes=True)) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "queues, one by one": [(n, Shape(queues=n, one_by_one=True)) for n in (1, 10, 100, 1000)],
    "backups, one by one": [(n, Shape(backups=n, one_by_one=True)) for n in (1, 2, 4, 8)],
    "depth, one by one": [(n, Shape(depth=n, one_by_one=True)) for n in (10_000, 100_000, 1_000_000)],
    "random accepts": [
        (n, Shape(depth=n, one_by_one=True, random=True)) for n in (10_000, 100_000, 1_000_000)
    ],
}


def primary_alone(backups: int, messages: int) -> float:
    """Seconds of processor time that a primary spends on a message of 100 B which is published."""
    batch = measures.batch_of(100)
    with Brokers(durable=False, nodes=1 + backups) as brokers:
        name = brokers.primary()
        client = PipelinedClient(brokers.ports[name])
        client.publish(batch, 100, window=measures.window(batch))
        before = spent_by(brokers.processes[name].pid)
        client.publish(batch, messages // len(batch), window=measures.window(batch))
        return (spent_by(brokers.processes[name].pid) - before) / messages


def bare_writes(backups: int, messages: int) -> float:
    """Seconds of processor time a message to send such batches to so many sockets, and nothing else."""
    batch = measures.batch_of(100)
    return raw.writes(backups, batch.nbytes, messages // len(batch)) / len(batch)


def of_a_crowd(connections: int, messages: int) -> float:
    """Seconds of processor time of three brokers for a message, one at a time on each of so many connections."""
    return crowd.crowd(singles.OURS, connections, max(20, messages // 100 // connections))["spent"] / 1e6


def beyond_memory(times: int, messages: int) -> float:
    """Seconds of processor time to publish and consume a message of 1 KiB, in a queue of so many times its limit."""
    phases = larger.in_a_process(messages * larger.SIZE // larger.TIMES, limited=True, times=times)
    return phases["publish"] + phases["consume"]


ALONE = {
    "primary": (primary_alone, (1, 2, 4, 8)),
    "writes": (bare_writes, (1, 2, 4, 8)),
    "connections": (of_a_crowd, (1, 10, 100, 1000)),
    "beyond memory": (beyond_memory, (1, 2, 5, 10)),
}
NAMES = (*STUDIES, *ALONE)


def study(name: str, messages: int) -> list[tuple[float, float]]:
    """(x, microseconds a message) for each point of one study."""
    if name in ALONE:
        measure, points_at = ALONE[name]
        return [(n, measure(n, 5 * messages) * 1e6) for n in points_at]
    points = []
    for x, shape in STUDIES[name]:
        few = max(shape.batch * 16, min(messages, messages * 100 * 1000 // (max(shape.size, 100) * 1000)))
        if shape.batch < 100:
            few = min(few, 20_000)
        points.append((x, cost(shape, few) * 1e6))
    return points
