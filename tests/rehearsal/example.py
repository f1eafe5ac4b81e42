"""The example broker and its clients, as a rehearsal wants them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qpidha import Node, SequenceSet
from qpidha.promoters import PriorityPromoter
from qpidha.testing.rehearsal import Broker, NodeParts, Workload

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "simple"))

import broker as example
import client as clients

CREDIT = 20


def node(client: type[example.Client] = example.Client) -> Broker:
    """What `examples/simple/broker.py` does in `run`, with the parts of a rehearsal instead of disks and sockets."""

    async def run(parts: NodeParts) -> None:
        broker = example.Broker(window=1000)
        broker.node = node = Node(
            parts.id,
            broker=broker,
            store=parts.store,
            transport=parts.transport,
            records=parts.records,
            client_address=parts.client_address,
            promoter=PriorityPromoter(priority=parts.number),
        )
        port = await asyncio.get_running_loop().create_server(lambda: client(broker), *parts.client_address)
        try:
            await node.start()
            await asyncio.get_running_loop().create_future()
        finally:
            port.close()
            await node.stop()

    return run


class Publisher(clients.Publisher):
    """Tells the workload what was confirmed."""

    workload: Workload

    def received(self, *frame: Any) -> None:
        before = self.confirmed
        super().received(*frame)
        for value in self.workload.published[before : self.confirmed]:
            self.workload.confirmed(value)


class Consumer(clients.Consumer):
    """Tells the workload of its connections."""

    workload: Workload

    def connected(self, connection: clients.Connection) -> None:
        self.workload.consumer_connected(CREDIT)
        super().connected(connection)


async def publish(workload: Workload) -> None:
    async with Publisher(workload.addresses, publisher=1) as publisher:
        publisher.workload = workload
        async for value in workload.values():
            await publisher.publish([value])
        await publisher.drain()


async def consume(workload: Workload) -> None:
    async with Consumer(workload.addresses, credit=CREDIT) as consumer:
        consumer.workload = workload
        while True:
            delivery = await consumer.receive()
            for value in delivery.batch:
                workload.delivered(value)
            await workload.work()
            consumer.accept(delivery)


class Hasty(example.Client):
    """A planted bug: confirms a publish when it is stored, not when it is safe."""

    def _publish(self, bodies: Sequence[memoryview | bytes]) -> None:
        super()._publish(bodies)
        self.confirm(self.unconfirmed[-1][0])


class Forgetful(example.Client):
    """A planted bug: accepts for a consumer what it has only sent to it."""

    def deliver(self) -> bool:
        delivered = super().deliver()
        if delivered:
            self.fifo.accept(self.acquired)
            self.credit += len(self.acquired)
            self.acquired = SequenceSet()
        return delivered

    def _accept(self, encoded: bytes) -> None:
        return


class Swapped(example.Client):
    """A planted bug: now and then two deliveries overtake each other."""

    def deliver(self) -> bool:
        waiting: list[tuple[bytes | memoryview, ...]] = []
        self.send, send = lambda *frame: waiting.append(frame), self.send  # type: ignore[method-assign]
        while self.hungry and super().deliver():
            pass
        self.send = send  # type: ignore[method-assign]
        for frame in reversed(waiting):
            self.send(*frame)
        return False
