"""The example broker and its clients keep the guarantees of their protocol over TCP and through failovers.

Method: whole brokers in one process, with memory stores and a shared record; clients connect to their real
ports. ``qpidha demo`` covers brokers that run as separate processes and are killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from qpidha import Batch, Node, Settings
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores import MemoryStore
from qpidha.transports import TcpTransport
from qpidha.transports.tcplistener import close_server

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "simple"))

import broker as example
import client as clients
import protocol
from stamps import Deduplicator, stamps

QUICK = Settings(heartbeat_interval_s=0.1, heartbeat_timeout_s=1.0, reconnect_interval_s=0.02)


class Brokers:
    """Example brokers that share a record store. Only the tests promote them."""

    def __init__(self, window: int = 100_000) -> None:
        self.records = MemoryRecordStore()
        self.window = window
        self.brokers: dict[str, example.Broker] = {}
        self.ports: dict[str, asyncio.Server] = {}

    async def start(self, name: str) -> example.Broker:
        broker = self.brokers[name] = example.Broker(self.window)
        loop = asyncio.get_running_loop()
        port = self.ports[name] = await loop.create_server(lambda: example.Client(broker), "127.0.0.1", 0)
        broker.node = Node(
            name, broker=broker, store=MemoryStore(), transport=TcpTransport(), records=self.records,
            client_address=port.sockets[0].getsockname(), settings=QUICK,
        )  # fmt: skip
        await broker.node.start()
        return broker

    async def promote(self, name: str) -> example.Broker:
        await self.brokers[name].node.promote()
        await until(lambda: self.brokers[name].serving)
        return self.brokers[name]

    async def stop(self, name: str) -> None:
        await close_server(self.ports.pop(name))
        await self.brokers.pop(name).node.stop()

    @property
    def addresses(self) -> list[protocol.Address]:
        found = (broker.node.client_address for broker in self.brokers.values())
        return [address for address in found if address]

    async def __aenter__(self) -> Brokers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        for broker in self.brokers.values():
            for client in list(broker.clients):
                client.transport.abort()
        for name in list(self.brokers):
            await self.stop(name)
        await self.records.close()


async def until(reached: Callable[[], object], timeout_s: float = 15.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not reached():
        assert asyncio.get_running_loop().time() < deadline, "never reached"
        await asyncio.sleep(0.005)


def run(main: Callable[[Brokers], Awaitable[None]], window: int = 100_000) -> None:
    async def wrapped() -> None:
        async with Brokers(window) as brokers:
            await main(brokers)

    asyncio.run(asyncio.wait_for(wrapped(), 60))


def texts(first: int, last: int) -> list[bytes]:
    return [b"message %d" % i for i in range(first, last + 1)]


async def take(consumer: clients.Consumer, count: int, *, accept: bool = True) -> list[bytes]:
    """Receive ``count`` messages without duplicates, and accept them."""
    got: list[bytes] = []
    while len(got) < count:
        delivery = await consumer.receive()
        got += consumer.fresh(delivery)
        if accept:
            consumer.accept(delivery)
    return got


# --- one broker ------------------------------------------------------------------------------------


def test_answers_to_a_client_that_is_gone_are_dropped_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[protocol.Framed] = []
        port = await loop.create_server(lambda: made.append(protocol.Framed()) or made[-1], "127.0.0.1", 0)
        client = socket.create_connection(port.sockets[0].getsockname())
        await until(lambda: bool(made))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # A reset, which the loop does not see before the next turn.
        for _ in range(20):
            made[0].send(protocol.SETTLED)
        await until(made[0].transport.is_closing)
        await asyncio.sleep(0)
        await close_server(port)

    asyncio.run(main())
    assert [r.message for r in caplog.records if r.name == "asyncio"] == []


def test_what_is_published_is_confirmed_delivered_and_settled() -> None:
    async def main(brokers: Brokers) -> None:
        await brokers.start("a")
        broker = await brokers.promote("a")
        async with (
            clients.Publisher(brokers.addresses) as publisher,
            clients.Consumer(brokers.addresses) as consumer,
        ):
            for first in range(1, 5000, 500):
                await publisher.publish(texts(first, first + 499))
            await publisher.drain()
            assert publisher.confirmed == publisher.published == 5000
            assert await take(consumer, 5000) == texts(1, 5000)
            await until(lambda: broker.queue.depth == 0)
            await until(lambda: consumer.settled_batches > 0)
            assert (consumer.deduplicator.duplicates, publisher.resent) == (0, 0)

    run(main)


def test_publishes_that_are_received_together_are_confirmed_together_in_their_order() -> None:
    """One message a frame: the broker publishes them in one call, before what came behind them is done."""

    async def main(brokers: Brokers) -> None:
        await brokers.start("a")
        broker = await brokers.promote("a")
        reader, writer = await asyncio.open_connection(*brokers.addresses[0])
        sent = b""
        for number in (3, 5, 8):
            body = protocol.U64.pack(number) + Batch.pack([b"message %d" % number]).raw
            sent += protocol.HEADER.pack(len(body), protocol.PUBLISH) + body
        writer.write(sent + protocol.HEADER.pack(0, protocol.PING))
        found = []
        while len(found) < 3:
            size, kind = protocol.HEADER.unpack(await reader.readexactly(protocol.HEADER.size))
            found.append((kind, await reader.readexactly(size)))
        assert found[0][0] == protocol.WELCOME
        assert sorted(found[1:]) == [(protocol.CONFIRM, protocol.U64.pack(8)), (protocol.PING, b"")]
        assert [data for _, data in broker.queue] == [b"message 3", b"message 5", b"message 8"]
        writer.close()

    run(main)


def test_credit_bounds_what_is_delivered_and_not_accepted() -> None:
    async def main(brokers: Brokers) -> None:
        await brokers.start("a")
        await brokers.promote("a")
        async with clients.Publisher(brokers.addresses) as publisher:
            await publisher.publish(texts(1, 400))
            await publisher.drain()
            async with clients.Consumer(brokers.addresses, credit=100) as consumer:
                delivery = await consumer.receive()
                await asyncio.sleep(0.1)
                assert consumer.delivered == len(delivery.batch) == 100
                consumer.accept(delivery)
                assert await take(consumer, 100) == texts(101, 200)

    run(main)


def test_what_a_lost_consumer_did_not_accept_is_delivered_again_in_its_place() -> None:
    async def main(brokers: Brokers) -> None:
        await brokers.start("a")
        await brokers.promote("a")
        async with clients.Publisher(brokers.addresses) as publisher:
            await publisher.publish(texts(1, 30))
            await publisher.drain()
            async with clients.Consumer(brokers.addresses, credit=20) as lost:
                assert await take(lost, 20, accept=False) == texts(1, 20)
            async with clients.Consumer(brokers.addresses) as next_one:
                assert await take(next_one, 30) == texts(1, 30)

    run(main)


def test_a_publisher_waits_while_its_window_is_full() -> None:
    async def main(brokers: Brokers) -> None:
        await brokers.start("a")  # Not primary, so nothing is confirmed.
        async with clients.Publisher(brokers.addresses, window=100) as publisher:
            await publisher.publish(texts(1, 100))
            waiting = asyncio.ensure_future(publisher.publish(texts(101, 200)))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await brokers.promote("a")
            await waiting
            await publisher.drain()
            assert publisher.confirmed == 200

    run(main)


def test_a_broker_with_a_small_window_still_confirms_everything() -> None:
    async def main(brokers: Brokers) -> None:
        await brokers.start("a")
        broker = await brokers.promote("a")
        async with clients.Publisher(brokers.addresses) as publisher:
            for first in range(1, 20_000, 1000):
                await publisher.publish(texts(first, first + 999))
            await publisher.drain()
            assert broker.queue.depth == 20_000

    run(main, window=500)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<IB", 2**32 - 1, protocol.PUBLISH),
        protocol.HEADER.pack(3, protocol.PUBLISH) + b"abc",
        protocol.HEADER.pack(40, protocol.PUBLISH) + b"\xff" * 40,
        protocol.HEADER.pack(3, protocol.ACCEPT) + b"\xff\xff\xff",
        protocol.HEADER.pack(0, protocol.SUBSCRIBE),
        protocol.HEADER.pack(0, 99),
    ],
)
def test_only_a_client_that_breaks_the_protocol_is_dropped(rubbish: bytes) -> None:
    async def main(brokers: Brokers) -> None:
        await brokers.start("a")
        await brokers.promote("a")
        async with clients.Publisher(brokers.addresses) as publisher:
            await publisher.publish(texts(1, 10))
            reader, writer = await asyncio.open_connection(*brokers.addresses[0])
            writer.write(rubbish)
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()
            await publisher.publish(texts(11, 20))
            await publisher.drain()
            assert publisher.connections == 1

    run(main)


# --- several brokers -------------------------------------------------------------------------------


def test_a_backup_sends_clients_to_the_primary() -> None:
    async def main(brokers: Brokers) -> None:
        await brokers.start("a")
        await brokers.start("b")
        broker = await brokers.promote("a")
        backup = brokers.brokers["b"].node
        await until(lambda: backup.primary_client_address == brokers.addresses[0])
        async with clients.Publisher(brokers.addresses[1:]) as publisher:
            await publisher.publish(texts(1, 10))
            await publisher.drain()
            assert broker.queue.depth == 10

    run(main)


async def frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    size, kind = protocol.HEADER.unpack(await reader.readexactly(protocol.HEADER.size))
    return kind, await reader.readexactly(size)


def test_a_client_that_comes_before_the_promotion_is_welcomed_then() -> None:
    async def main(brokers: Brokers) -> None:
        broker = await brokers.start("a")
        reader, writer = await asyncio.open_connection(*brokers.addresses[0])
        await until(lambda: broker.waiting)
        await brokers.promote("a")
        kind, body = await frame(reader)
        assert (kind, body) == (protocol.WELCOME, struct.pack("<Q", broker.node.generation))
        assert not broker.waiting
        writer.close()

    run(main)


def test_a_client_that_waits_at_a_backup_is_sent_to_the_primary() -> None:
    async def main(brokers: Brokers) -> None:
        backup = await brokers.start("b")
        reader, writer = await asyncio.open_connection(*brokers.addresses[0])
        await until(lambda: backup.waiting)
        await brokers.start("a")
        await brokers.promote("a")
        (port,) = struct.unpack_from("<H", (await frame(reader))[1])
        assert port == brokers.addresses[1][1]
        writer.close()

    run(main)


def test_a_broker_that_knows_no_primary_says_so_after_a_while() -> None:
    async def main(brokers: Brokers) -> None:
        broker = await brokers.start("a")
        reader, writer = await asyncio.open_connection(*brokers.addresses[0])
        assert await frame(reader) == (protocol.REDIRECT, struct.pack("<H", 0))
        assert await reader.read() == b""
        assert not broker.waiting and not broker.clients
        writer.close()

    run(main)


def test_a_client_that_is_closed_while_it_looks_for_a_primary_leaves_nothing_behind() -> None:
    async def main(brokers: Brokers) -> None:
        broker = await brokers.start("a")
        async with clients.Publisher(brokers.addresses):
            await until(lambda: broker.waiting)
        assert not [task for task in asyncio.all_tasks() if "_seek" in task.get_coro().__qualname__]  # type: ignore[union-attr]

    run(main)


def test_a_broker_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ANSWER_TIMEOUT_S", 1000.0)

    async def main(brokers: Brokers) -> None:
        await brokers.start("a")
        await brokers.promote("a")
        silent = socket.create_server(("127.0.0.1", 0))
        with silent:
            async with clients.Publisher([silent.getsockname(), *brokers.addresses]) as publisher:
                await publisher.publish(texts(1, 10))
                await publisher.drain()

    run(main)


def test_the_stream_goes_on_at_the_next_primary() -> None:
    """After two hand-overs during a stream, each message was received once and in order."""

    async def main(brokers: Brokers) -> None:
        for name in "abc":
            await brokers.start(name)
        await brokers.promote("a")
        await until(lambda: all(b.node.status().in_sync for b in brokers.brokers.values()))
        addresses, got = brokers.addresses, list[bytes]()
        async with clients.Publisher(addresses) as publisher, clients.Consumer(addresses) as consumer:

            async def publish() -> None:
                for first in range(1, 60_000, 300):
                    await publisher.publish(texts(first, first + 299))
                    await asyncio.sleep(0.001)
                await publisher.drain()

            async def consume() -> None:
                got.extend(await take(consumer, 60_000))

            async def hand_over(old: str, new: str, after: int) -> None:
                await until(lambda: publisher.confirmed > after)
                await brokers.stop(old)
                await brokers.promote(new)

            async def hand_overs() -> None:
                await hand_over("a", "b", 10_000)
                await hand_over("b", "c", 30_000)

            await asyncio.gather(publish(), consume(), hand_overs())
            assert got == texts(1, 60_000)
            assert publisher.connections == consumer.connections == 3
            assert consumer.deduplicator.missing(publisher.publisher, 60_000) == 0

    run(main)


# --- parts -----------------------------------------------------------------------------------------


class Recorder(protocol.Framed):
    """Records the frames that it receives; its transport is a fake."""

    class Transport:
        aborted = False

        def is_closing(self) -> bool:
            return self.aborted

        def abort(self) -> None:
            self.aborted = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, bytes]] = []
        self.connection_made(Recorder.Transport())  # type: ignore[arg-type]

    def frame(self, kind: int, body: memoryview | bytes) -> None:
        self.seen.append((kind, bytes(body)))

    def feed(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            room = self.get_buffer(-1)
            n = min(len(room), len(data))
            room[:n] = data[:n]
            data = data[n:]
            self.buffer_updated(n)


@pytest.mark.parametrize("step", [1, 2, 7, 100, 300_000, 2_000_000])
def test_frames_survive_any_cut(step: int) -> None:
    sizes = (
        [0, 1, 300, 0, 70_000]
        if step < 100
        else [0, 5, protocol.BUFFER_BYTES - 5, protocol.BUFFER_BYTES, 1_500_000, 9]
    )
    frames = [(i + 1, bytes([i]) * size) for i, size in enumerate(sizes)]
    stream = b"".join(protocol.HEADER.pack(len(body), kind) + body for kind, body in frames)
    recorder = Recorder()
    for at in range(0, len(stream), step):
        recorder.feed(stream[at : at + step])
    assert recorder.seen == frames
    assert len(recorder._buffer) == protocol.BUFFER_BYTES, "the buffer shrinks after a large frame"


def test_a_frame_announced_too_large_is_refused_before_it_arrives() -> None:
    recorder = Recorder()
    recorder.feed(protocol.HEADER.pack(protocol.FRAME_BYTES_MAX + 1, 1))
    assert recorder.transport.is_closing()
    assert len(recorder._buffer) == protocol.BUFFER_BYTES


def stamped(publisher: int, numbers: Iterable[int]) -> Any:
    numbers = list(numbers)
    props = [stamps(publisher, number, 1)[0] for number in numbers]
    return Batch.pack([b"%d:%d" % (publisher, number) for number in numbers], props)


def test_duplicates_are_removed_and_gaps_counted() -> None:
    seen = Deduplicator()
    assert list(seen.fresh(stamped(1, range(1, 6)))) == [b"1:%d" % i for i in range(1, 6)]
    assert list(seen.fresh(stamped(1, [4, 5, 6, 6, 7]))) == [b"1:6", b"1:7"]
    assert list(seen.fresh(stamped(2, [1]))) == [b"2:1"], "each publisher has its own numbers"
    assert seen.duplicates == 3
    assert list(seen.fresh(stamped(1, [9, 8]))) == [b"1:9", b"1:8"], (
        "a message that arrives late is delivered"
    )
    assert (seen.missing(1, 9), seen.missing(1, 12), seen.missing(3, 2)) == (0, 3, 2)


def test_a_batch_of_two_publishers_is_taken_apart() -> None:
    seen = Deduplicator()
    mixed = Batch.join([stamped(1, [1]), stamped(2, [2]), stamped(1, [2])])
    assert list(seen.fresh(mixed)) == [b"1:1", b"2:2", b"1:2"]
