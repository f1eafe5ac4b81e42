"""What is measured on running brokers: one function a figure. Each starts its own cluster and returns one number."""

from __future__ import annotations

import asyncio
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.cluster import Brokers, Consumer, PipelinedClient, memory_of
from qpidha import Batch
from qpidha.engines.ports import take_ports
from tests.support.harness import World, until

BATCH_MESSAGES = 1000
BATCH_BYTES = 1 << 20
"""What a publisher sends in one call: so many messages, or as many as make so many bytes."""
WINDOW = 48
WINDOW_BYTES = 16 << 20
"""How much waits for its confirmation: so many batches, or so many bytes."""


SETTLED_S = 2.5
"""After this long without a change, nodes poll the record at their longer interval."""


def batch_of(size: int) -> Batch:
    return Batch.pack([b"x" * size] * max(1, min(BATCH_MESSAGES, BATCH_BYTES // size)))


def window(batch: Batch) -> int:
    return min(WINDOW, max(1, WINDOW_BYTES // batch.nbytes))


def publish(count: int, size: int, *, durable: bool = False, nodes: int = 3) -> float:
    """Messages a second: client → primary → backups → confirmation."""
    batch = batch_of(size)
    with Brokers(durable=durable, nodes=nodes) as brokers:
        client = PipelinedClient(brokers.ports[brokers.primary()])
        client.publish(batch, 20, window=window(batch))
        batches = max(1, count // len(batch))
        return batches * len(batch) / client.publish(batch, batches, window=window(batch))


def stream(count: int, size: int) -> float:
    """Messages a second from a publisher to a consumer, each confirmed, delivered and accepted on three nodes."""
    batch = batch_of(size)
    with Brokers(durable=False) as brokers:
        port = brokers.ports[brokers.primary()]
        client, consumer = PipelinedClient(port), Consumer(port)
        client.publish(batch, 20, window=window(batch))
        batches = max(1, count // len(batch))
        consumer.until(20 * batch.nbytes)
        started = time.perf_counter()
        client.publish(batch, batches, window=window(batch))
        consumer.until((20 + batches) * batch.nbytes)
        elapsed = time.perf_counter() - started
        consumer.close()
        return batches * len(batch) / elapsed


def publish_durable(count: int, size: int) -> float:
    return publish(count, size, durable=True)


def resync(count: int, size: int) -> float:
    """Messages a second that a fresh backup takes over, from its first answer to being in sync."""
    batch = batch_of(size)
    with Brokers(durable=False, nodes=2) as brokers:
        client = PipelinedClient(brokers.ports[brokers.primary()])
        client.publish(batch, count // len(batch), window=window(batch))
        return count / _join(brokers, "c")


def _join(brokers: Brokers, name: str) -> float:
    """Start a fresh node and say how long it took from running to in sync."""
    _start(brokers, name)
    started = time.perf_counter()
    _in_sync(brokers, name)
    return time.perf_counter() - started


def _start(brokers: Brokers, name: str) -> None:
    brokers.ports[name] = brokers.ports.get(name) or take_ports(1)[0]
    brokers.start(name)
    while brokers.status(name) is None:
        time.sleep(0.002)


def _in_sync(brokers: Brokers, name: str) -> None:
    while (status := brokers.status(name)) is None or not status["in_sync"]:
        time.sleep(0.002)


def publish_during_resync(count: int, size: int) -> float:
    """The publish rate while a fresh backup catches up, as a share of the rate once it follows.

    One client publishes without a pause; the backup starts with an empty store while two nodes hold ``count`` messages.
    """
    batch = batch_of(size)
    with Brokers(durable=False, nodes=2) as brokers:
        client = PipelinedClient(brokers.ports[brokers.primary()])
        client.publish(batch, count // len(batch), window=window(batch))
        with _publishing(client, batch):
            _start(brokers, "c")
            begin, at = client.confirmed, time.perf_counter()
            _in_sync(brokers, "c")
            follows, then = client.confirmed, time.perf_counter()
            time.sleep(1)
            end, now = client.confirmed, time.perf_counter()
        return ((follows - begin) / (then - at)) / ((end - follows) / (now - then))


def join_under_load(count: int, size: int) -> float:
    """How much longer a fresh backup takes to be in sync while a client publishes without a pause.

    A multiple of the time that it takes at rest, with as many messages as there are when it begins.
    """
    batch = batch_of(size)
    with Brokers(durable=False, nodes=2) as brokers:
        primary = brokers.primary()
        client = PipelinedClient(brokers.ports[primary])
        client.publish(batch, count // len(batch), window=window(batch))
        with _publishing(client, batch):
            _start(brokers, "c")
            messages, at = client.confirmed * len(batch), time.perf_counter()
            _in_sync(brokers, "c")
            loaded_s = time.perf_counter() - at
    return loaded_s * resync(messages, size) / messages


@contextmanager
def _publishing(client: PipelinedClient, batch: Batch) -> Iterator[None]:
    """Publish all the while, as fast as it goes."""

    def work() -> None:
        with suppress(RuntimeError, OSError):  # Its connection is closed under it, in the end.
            client.publish(batch, 10**9, window=window(batch))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        client.socket.shutdown(socket.SHUT_RDWR)
        thread.join()
        client.close()


def memory_per_message(count: int, size: int) -> float:
    """Bytes that a message costs beside its payload, on the node where it costs most."""
    batch = batch_of(size)
    with Brokers(durable=False) as brokers:
        client = PipelinedClient(brokers.ports[brokers.primary()])
        client.publish(batch, 50, window=window(batch))
        before = {name: memory_of(p.pid) for name, p in brokers.processes.items()}
        batches = count // len(batch)
        client.publish(batch, batches, window=window(batch))
        grown = max(memory_of(p.pid) - before[name] for name, p in brokers.processes.items())
        return grown / (batches * len(batch)) - size


def wire_per_message(size: int) -> float:
    """Bytes on the wire to one backup and back, beside the payload, in the steady state."""
    batch = batch_of(size)

    async def main() -> float:
        async with World() as world:
            a, _ = await world.cluster("a", "b")
            queue = a.declare("q")
            await queue.enqueue_many(batch)
            before = [world.gates[n].sent for n in "ab"]
            for _ in range(100):
                await queue.enqueue_many(batch)
            sent = sum(world.gates[n].sent for n in "ab") - sum(before)
            return sent / (100 * len(batch)) - size

    return asyncio.run(main())


def failover_resync(count: int) -> tuple[float, int]:
    """With so many messages on both brokers: seconds from the backup's return to ready, and the bytes sent."""

    async def main() -> tuple[float, int]:
        async with World() as world:
            a, b, c = await world.cluster("a", "b", "c")
            queue = a.declare("q")
            batch = Batch.pack([b"x" * 100] * 10_000)
            for _ in range(count // len(batch)):
                await queue.enqueue_many(batch)
            await world.kill("a")
            for gate in world.gates.values():
                gate.sent = 0
            await until(lambda: not c._parts.links.peers)
            started = time.perf_counter()
            await b.promote()
            await until(lambda: b.status().role == "active" and b.status().safe > 0)
            return time.perf_counter() - started, sum(gate.sent for gate in world.gates.values())

    return asyncio.run(main())


def failovers(rounds: int) -> list[float]:
    """Seconds from SIGKILL of the primary to the first confirmation of the next one, durable, three nodes."""
    batch = Batch.pack([b"x" * 100] * 10)
    found: list[float] = []
    with Brokers(durable=True) as brokers:
        for _ in range(rounds):
            primary = brokers.primary()
            client = PipelinedClient(brokers.ports[primary])
            client.publish(batch, 20, window=4)
            client.close()
            killed = time.perf_counter()
            brokers.kill(primary)
            confirm_anywhere([brokers.ports[name] for name in brokers.processes], batch)
            found.append(time.perf_counter() - killed)
            brokers.start(primary)
    return found


def confirm_anywhere(ports: list[int], batch: Batch, *, timeout_s: float = 30.0) -> None:
    """Try the brokers in turn until one of them confirms a publish."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for port in ports:
            try:
                client = PipelinedClient(port)
            except (OSError, RuntimeError):
                continue
            try:
                client.publish(batch, 1, window=1)
                return
            except (OSError, RuntimeError):
                pass
            finally:
                client.close()
        time.sleep(0.002)
    raise RuntimeError(f"nothing was confirmed for {timeout_s} s")


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]
