"""A broker with objects, keys, queues, transactions and producers, and its clients, as a rehearsal wants them.

One JSON object for each line. A broker that is not the primary closes the connection at once; any other first says its
generation. Each request has a number, which is in its answer. A request without an answer is in doubt.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any

from qpidha import (
    ArgumentError,
    Discarded,
    MessagesGone,
    Node,
    NotEnoughMembers,
    QpidhaError,
    SequenceSet,
    Settle,
    UnknownQueue,
)
from qpidha.promoters import PriorityPromoter
from qpidha.queues import FifoQueue
from qpidha.testing.rehearsal import Broker, NodeParts, RequestRefused, RequestUnknown, Workload

SILENCE_MAX_S = 3.0
PING_S = 0.7
CREDIT = 10
REFUSED = (ArgumentError, MessagesGone, NotEnoughMembers, UnknownQueue)


class WideBroker:
    """What `Node` calls, and the sessions of the primary."""

    node: Node
    fifo: FifoQueue[Any]

    def __init__(self) -> None:
        self.serving = False
        self.sessions: dict[Session, None] = {}
        self.mine: dict[str, str] = {}
        """Objects of `ForgetsAnObject`."""

    async def on_promote(self, generation: int) -> None:
        self.queue = self.node.declare("work", settle=Settle.REPLICATED)
        self.kept = self.node.table("kept")
        self.fifo = FifoQueue(self.queue)
        self.fifo.on_available(self.deliver)
        self.serving = True

    async def on_demote(self, generation: int) -> None:
        self.serving = False
        for session in list(self.sessions):
            session.writer.transport.abort()

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        """Publishers send again what was not confirmed."""

    def deliver(self) -> None:
        asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        for session in list(self.sessions):
            session.deliver()


class Session:
    """One connection."""

    def __init__(
        self, broker: WideBroker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.broker = broker
        self.node = broker.node
        self.reader, self.writer = reader, writer
        self.credit = 0
        self.acquired = SequenceSet()
        self.answers: set[asyncio.Future[None]] = set()

    def send(self, **message: Any) -> None:
        if not self.writer.is_closing():
            self.writer.write(json.dumps(message).encode() + b"\n")

    async def run(self) -> None:
        if not self.broker.serving:
            self.writer.close()
            return
        self.fifo = self.broker.fifo
        self.broker.sessions[self] = None
        self.send(generation=self.node.generation)
        try:
            while line := await asyncio.wait_for(self.reader.readline(), SILENCE_MAX_S):
                request = json.loads(line)
                self.begin(request.pop("n"), request)
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            self.broker.sessions.pop(self, None)
            self.writer.transport.abort()
            if self.acquired and self.broker.fifo is self.fifo:
                self.fifo.release(self.acquired)

    def begin(self, number: int, request: dict[str, Any]) -> None:
        """Do what is asked at once, in order; answer when it is safe."""
        if not self.broker.serving:
            return
        try:
            value, safe = getattr(self, request.pop("do"))(**request)
        except REFUSED as error:
            self.send(n=number, refused=str(error))
        except QpidhaError:
            self.writer.transport.abort()
        else:
            task = asyncio.ensure_future(self.answer(number, value, safe))
            self.answers.add(task)
            task.add_done_callback(self.answers.discard)

    async def answer(self, number: int, value: Any, safe: Awaitable[object] | None) -> None:
        try:
            if safe is not None:
                await safe
        except QpidhaError:
            self.writer.transport.abort()  # In doubt: no answer.
        else:
            self.send(n=number, value=value)

    def barrier(self) -> Awaitable[None]:
        """Begin a barrier at once: a coroutine that nobody awaits, since its process was killed, would be a warning."""
        return asyncio.ensure_future(self.node.barrier())

    # --- messages --------------------------------------------------------------------------------

    def ping(self) -> Any:
        return None, None

    def publish(self, value: str) -> Any:
        return None, self.broker.queue.enqueue(value.encode())

    def commit(self, values: list[str]) -> Any:
        with self.node.transaction() as t:
            for value in values:
                t.enqueue(self.broker.queue, value.encode())
        return None, t.op

    def register(self, name: str) -> Any:
        producer = self.node.producer(name)
        return producer.epoch, producer.registered

    def once(self, name: str, epoch: list[int], sequence: int, value: str) -> Any:
        producer = self.node.producer(name, epoch=(epoch[0], epoch[1]))
        return None, producer.enqueue(self.broker.queue, value.encode(), sequence=sequence)

    def consume(self, credit: int) -> Any:
        self.credit += credit
        self.broker.deliver()
        return None, None

    def accept(self, id: int) -> Any:
        self.acquired -= SequenceSet([id])
        self.credit += 1
        self.broker.deliver()
        return None, self.fifo.accept(SequenceSet([id]))

    def deliver(self) -> None:
        while self.credit and self.broker.serving and (got := self.fifo.acquire(self.credit)):
            ids, batch = got
            self.acquired |= ids
            self.credit -= len(batch)
            for id, value in zip(ids, batch, strict=True):
                self.send(deliver=id, value=value.decode())

    # --- state -----------------------------------------------------------------------------------

    def put_object(self, name: str, value: str) -> Any:
        return None, self.node.configuration.put("user", name, value.encode())

    def delete_object(self, name: str) -> Any:
        return None, self.node.configuration.delete("user", name)

    def get_object(self, name: str) -> Any:
        found = self.node.configuration.get("user", name)
        return found and found.decode(), self.barrier()

    def put_key(self, name: str, value: str) -> Any:
        return None, self.broker.kept.put(name.encode(), value.encode())

    def remove_key(self, name: str) -> Any:
        return None, self.broker.kept.remove(name.encode())

    def get_key(self, name: str) -> Any:
        found = self.broker.kept.get(name.encode())
        return found and found.decode(), self.barrier()

    def declare_queue(self, name: str) -> Any:
        return None, self.node.declare(name).declared

    def delete_queue(self, name: str) -> Any:
        if not self._has(name):
            return None, self.barrier()
        return None, self.node.delete(self.node.queue(name))

    def has_queue(self, name: str) -> Any:
        return self._has(name), self.barrier()

    def _has(self, name: str) -> bool:
        try:
            self.node.queue(name)
        except UnknownQueue:
            return False
        return True


def node(session: type[Session] = Session) -> Broker:
    """One node of this broker, with this kind of sessions."""

    async def run(parts: NodeParts) -> None:
        broker = WideBroker()
        broker.node = node = Node(
            parts.id,
            broker=broker,
            store=parts.store,
            transport=parts.transport,
            records=parts.records,
            client_address=parts.client_address,
            promoter=PriorityPromoter(priority=parts.number),
        )
        parts.show(node)
        port = await asyncio.start_server(
            lambda reader, writer: session(broker, reader, writer).run(), *parts.client_address
        )
        try:
            await node.start()
            stopped = await node.wait_stopped()  # It is cancelled before that, or the node has failed.
            raise stopped.error or RuntimeError(stopped.reason)
        finally:
            port.close()
            await node.stop()

    return run


# --- clients ---------------------------------------------------------------------------------------


class Client:
    """A connection to the primary, and the requests on it, one at a time."""

    def __init__(self, addresses: Sequence[tuple[str, int]], number: int) -> None:
        self.addresses = addresses
        self.name = f"client {number}"
        self.writer: asyncio.StreamWriter | None = None
        self.generation = 0
        self.number = 0
        self.epoch: list[int] | None = None
        self.deliveries: list[dict[str, Any]] = []

    async def connect(self) -> bool:
        """Whether it is connected to the primary. It tries each address once."""
        self.addresses = [
            *self.addresses[1:],
            *self.addresses[:1],
        ]  # One that does not answer may be a zombie.
        for host, port in self.addresses:
            self.drop()
            with suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(self._connect(host, port), 1.0)
                if self.writer is not None:
                    return True
        await asyncio.sleep(0.05)
        return False

    async def _connect(self, host: str, port: int) -> None:
        self.reader, writer = await asyncio.open_connection(host, port)
        try:
            line = await self.reader.readline()
        except BaseException:
            writer.transport.abort()
            raise
        if line:
            self.writer, self.generation = writer, json.loads(line)["generation"]
        else:
            writer.close()

    def drop(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
            self.writer = None

    def send(self, do: str, **arguments: Any) -> int:
        assert self.writer is not None
        self.number += 1
        self.writer.write(json.dumps({"n": self.number, "do": do, **arguments}).encode() + b"\n")
        return self.number

    async def receive(self) -> dict[str, Any]:
        line = await asyncio.wait_for(self.reader.readline(), SILENCE_MAX_S)
        if not line:
            raise EOFError("the broker has closed the connection")
        message: dict[str, Any] = json.loads(line)
        return message

    async def ask(self, do: str, **arguments: Any) -> Any:
        if self.writer is None or self.writer.is_closing() or self.reader.at_eof():
            while not await self.connect():
                pass
        number = self.send(do, **arguments)
        try:
            while (answer := await self.receive()).get("n") != number:
                pass
        except BaseException:
            self.drop()
            raise
        if "refused" in answer:
            raise RequestRefused(answer["refused"])
        return answer["value"]

    async def close(self) -> None:
        self.drop()


class Requests(Client):
    """Everything that the broker has besides publish and accept."""

    async def put_object(self, name: str, value: bytes) -> None:
        await self.ask("put_object", name=name, value=value.decode())

    async def delete_object(self, name: str) -> None:
        await self.ask("delete_object", name=name)

    async def get_object(self, name: str) -> bytes | None:
        found = await self.ask("get_object", name=name)
        return None if found is None else found.encode()

    async def put_key(self, name: str, value: bytes) -> None:
        await self.ask("put_key", name=name, value=value.decode())

    async def remove_key(self, name: str) -> None:
        await self.ask("remove_key", name=name)

    async def get_key(self, name: str) -> bytes | None:
        found = await self.ask("get_key", name=name)
        return None if found is None else found.encode()

    async def declare_queue(self, name: str) -> None:
        await self.ask("declare_queue", name=name)

    async def delete_queue(self, name: str) -> None:
        await self.ask("delete_queue", name=name)

    async def has_queue(self, name: str) -> bool:
        return bool(await self.ask("has_queue", name=name))

    async def commit(self, messages: Sequence[bytes]) -> None:
        await self.ask("commit", values=[message.decode() for message in messages])

    async def publish_once(self, sequence: int, message: bytes) -> None:
        if self.epoch is None:
            self.epoch = await self.ask("register", name=self.name)
        await self.ask("once", name=self.name, epoch=self.epoch, sequence=sequence, value=message.decode())


async def publish(workload: Workload) -> None:
    client = Client(workload.addresses, workload.number)
    try:
        async for value in workload.values():
            while True:
                with suppress(OSError, EOFError, asyncio.TimeoutError, RequestUnknown, RequestRefused):
                    await client.ask("publish", value=value.decode())
                    workload.confirmed(value)
                    break
                await asyncio.sleep(0.05)
    finally:
        client.drop()


async def consume(workload: Workload) -> None:
    client = Client(workload.addresses, workload.number)
    try:
        while True:
            with suppress(OSError, EOFError, asyncio.TimeoutError):
                if await client.connect():
                    await consume_from(client, workload)
    finally:
        client.drop()


async def consume_from(client: Client, workload: Workload) -> None:
    """Consume until the connection is lost."""
    workload.consumer_connected(CREDIT, client.generation)
    accepts: dict[int, tuple[bytes, int]] = {}
    client.send("consume", credit=CREDIT)
    pings = asyncio.ensure_future(ping(client))
    try:
        while True:
            message = await client.receive()
            if "deliver" in message:
                value, id = message["value"].encode(), message["deliver"]
                workload.delivered(value, id)
                await workload.work()
                accepts[client.send("accept", id=id)] = value, id
            elif message["n"] in accepts:
                workload.settled(*accepts.pop(message["n"]))
    finally:
        pings.cancel()


async def ping(client: Client) -> None:
    while True:
        await asyncio.sleep(PING_S)
        client.send("ping")


# --- planted bugs ----------------------------------------------------------------------------------


class TellsEarly(Session):
    """Answers when it has begun, not when it is safe."""

    async def answer(self, number: int, value: Any, safe: Awaitable[object] | None) -> None:
        await super().answer(number, value, None)
        if safe is not None:
            with suppress(QpidhaError):
                await safe


class ForgetsAnObject(Session):
    """Keeps some objects in the memory of its process only."""

    def put_object(self, name: str, value: str) -> Any:
        if not name.endswith(("3", "5", "7")):
            return super().put_object(name, value)
        self.broker.mine[name] = value
        return None, self.barrier()

    def delete_object(self, name: str) -> Any:
        self.broker.mine.pop(name, None)
        return super().delete_object(name)

    def get_object(self, name: str) -> Any:
        value, safe = super().get_object(name)
        return self.broker.mine.get(name, value), safe


class DeliversTwice(Session):
    """Sends a message that was accepted a second time, now and then."""

    async def answer(self, number: int, value: Any, safe: Awaitable[object] | None) -> None:
        await super().answer(number, value, safe)
        if isinstance(value, dict):
            self.send(**value)

    def accept(self, id: int) -> Any:
        again = id % 5 == 0 and self.broker.queue.read(id, messages_max=1)
        value, safe = super().accept(id)
        if again and again[0].first == id:
            value = {"deliver": id, "value": again[1].data(0).decode()}
        return value, safe


class CommitsInParts(Session):
    """Publishes the messages of a commit one after the other."""

    def commit(self, values: list[str]) -> Any:
        ops = [self.broker.queue.enqueue(value.encode()) for value in values[:1]]
        asyncio.get_running_loop().call_later(0.3, self.rest, values[1:])
        return None, ops[-1]

    def rest(self, values: list[str]) -> None:
        with suppress(QpidhaError):
            for value in values:
                self.broker.queue.enqueue(value.encode())


class ForgetsProducers(Session):
    """Stores what is repeated again."""

    def once(self, name: str, epoch: list[int], sequence: int, value: str) -> Any:
        return self.publish(value)


class ReadsAtOnce(Session):
    """Answers what is read from its memory, without `Node.barrier`."""

    async def answer(self, number: int, value: Any, safe: Awaitable[object] | None) -> None:
        if isinstance(safe, asyncio.Task):  # A barrier. An op is none.
            safe.cancel()
            safe = None
        await super().answer(number, value, safe)
