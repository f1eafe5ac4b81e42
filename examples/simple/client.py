"""A publisher and a consumer for the example broker that continue after a failover.

    async with Publisher(addresses) as publisher:
        await publisher.publish([b"one", b"two"])       # numbered and sent; waits only for the window
        await publisher.drain()                         # now the whole cluster has them

    async with Consumer(addresses) as consumer:
        delivery = await consumer.receive()
        for message in consumer.fresh(delivery): ...    # without what was delivered before
        consumer.accept(delivery)

Both ask all addresses at once, follow redirects to the primary, and come back when it dies. The publisher
keeps what is not confirmed and sends it again, in order, to the next primary, which may have it already.
That is why every message carries (publisher, number) in its props: a consumer drops what it has seen.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import protocol
from protocol import U16, U32, U64, Address, Framed, ProtocolError
from stamps import Deduplicator, stamps

from qpidha import Batch

if TYPE_CHECKING:
    from typing_extensions import Self

RETRY_S = 0.02
"""Pause before a broker that is not the primary is asked again."""
ANSWER_TIMEOUT_S = 1.0
"""A broker that takes longer to accept a connection, or to answer, is asked again."""
PING_INTERVAL_S = 0.5
SILENCE_MAX_S = 3.0
"""The connection to a broker that has not answered a ping for this long is closed."""

# --- staying connected to the primary --------------------------------------------------------------


class Connection(Framed):
    """One connection to one broker. What it receives goes to its client."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Address | None] = loop.create_future()
        """None: this broker is the primary. An address: of the primary. Port 0: the primary is not known."""
        self.lost: asyncio.Future[None] = loop.create_future()
        self.heard_at = loop.time()
        self._client = client

    def frame(self, kind: int, body: memoryview | bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if kind == protocol.WELCOME:
            self.answer.set_result(None)
        elif kind == protocol.REDIRECT:
            self.answer.set_result((str(body[U16.size :], "utf-8"), U16.unpack_from(body)[0]))
        elif kind != protocol.PING:
            self._client.received(self, kind, body)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(("", 0))
        if self._client.connection is self:
            self._client.connection = None
        self.lost.set_result(None)


class Client:
    """Keeps one connection to the primary. `connected` and `received` are for subclasses."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self.connection: Connection | None = None
        self.connections = 0
        """How many connections to a primary there were so far."""
        self._addresses = list(addresses)
        self._task: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def connected(self, connection: Connection) -> None:
        """Called when a connection to a primary is open: begin again on it."""

    def received(self, connection: Connection, kind: int, body: memoryview | bytes) -> None:
        raise ProtocolError(f"frame of kind {kind} from the broker")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: self._changed.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Messages that are not confirmed or accepted stay so."""
        if self._task is not None:
            done: set[asyncio.Task[None]] = set()
            while not done:  # Before Python 3.12 `wait_for` may swallow a cancellation.
                self._task.cancel()
                done, _ = await asyncio.wait([self._task], timeout=RETRY_S)
        if self._asking:
            await asyncio.wait(self._asking)

    async def _change(self) -> None:
        """Wait until the state has changed. Raises `ConnectionError` if the client is closed."""
        if self._task is None or self._task.done():
            raise ConnectionError("the client is closed")
        self._changed.clear()
        await self._changed.wait()

    async def _run(self) -> None:
        while True:
            connection = await self._seek()
            try:
                await self._stay(connection)
            finally:
                self.connection = None
                connection.transport.abort()

    async def _seek(self) -> Connection:
        """Ask all brokers at once, each again and again: one may be cut off, and the others not know the primary yet."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Connection] = loop.create_future()
        asking: dict[Address, asyncio.Task[None]] = {}

        async def ask(address: Address) -> None:
            while not found.done():
                met = await self._visit(address)
                if isinstance(met, Connection):
                    met.transport.abort() if found.done() else found.set_result(met)
                elif met is not None and met[1]:
                    begin(met)
                await asyncio.sleep(RETRY_S)

        def begin(address: Address) -> None:
            if address not in asking:
                asking[address] = task = loop.create_task(ask(address))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

        for address in self._addresses:
            begin(address)
        try:
            return await asyncio.shield(found)
        except asyncio.CancelledError:
            if found.done():
                found.result().transport.abort()
            raise
        finally:
            found.cancel()
            for task in asking.values():
                task.cancel()

    async def _visit(self, address: Address) -> Connection | Address | None:
        """Ask one broker. The connection, if it is the primary; else the address that it names."""
        connection = Connection(self)
        opening = asyncio.get_running_loop().create_connection(lambda: connection, *address)
        met: Connection | Address | None = None
        try:
            await asyncio.wait_for(opening, ANSWER_TIMEOUT_S)
            hint = await asyncio.wait_for(asyncio.shield(connection.answer), ANSWER_TIMEOUT_S)
            met = connection if hint is None else hint
        except (OSError, ValueError, asyncio.TimeoutError):
            pass  # It does not run, or is cut off, or named what is no address.
        finally:
            if met is not connection and hasattr(connection, "transport"):
                connection.transport.abort()
        return met

    async def _stay(self, connection: Connection) -> None:
        self.connection = connection
        self.connections += 1
        self.connected(connection)
        loop = asyncio.get_running_loop()
        while not connection.lost.done() and loop.time() - connection.heard_at < SILENCE_MAX_S:
            connection.send(protocol.PING)
            await asyncio.wait([connection.lost], timeout=PING_INTERVAL_S)


# --- publishing ------------------------------------------------------------------------------------


class Publisher(Client):
    """Publishes in order, with a window of unconfirmed messages, and again after a failover."""

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        publisher: int | None = None,
        window: int = 20_000,
        window_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        super().__init__(addresses)
        self.publisher = int.from_bytes(os.urandom(8), "little") if publisher is None else publisher
        self.published = 0
        """Messages given to `publish` so far: also the number of the last of them."""
        self.confirmed = 0
        """Every message up to this number is safe."""
        self.resent = 0
        self.confirmed_by: Connection | None = None
        """The connection on which the last confirmation came: a new one after every failover."""
        self.confirmed_since = 0.0
        """When the first confirmation came on it, on the clock of the event loop."""
        self._window = window
        self._window_bytes = window_bytes
        self._unconfirmed: deque[tuple[int, Batch]] = deque()
        self._bytes = 0

    async def publish(self, messages: Sequence[bytes]) -> int:
        """Number these messages and send them as one batch; returns the number of the last.

        Waits while the window is full, not for the confirmation.
        """
        while self.unconfirmed >= self._window or self._bytes >= self._window_bytes:
            await self._change()
        batch = Batch.pack(messages, stamps(self.publisher, self.published + 1, len(messages)))
        self.published += len(messages)
        self._unconfirmed.append((self.published, batch))
        self._bytes += batch.nbytes
        if self.connection is not None:
            self._send(self.connection, self.published, batch)
        return self.published

    async def drain(self) -> None:
        """Wait until everything published is safe."""
        while self._unconfirmed:
            await self._change()

    @property
    def unconfirmed(self) -> int:
        """Messages published and not safe yet."""
        return self.published - self.confirmed

    def connected(self, connection: Connection) -> None:
        """Send unconfirmed messages again. The new primary may have some of them: consumers drop these by number."""
        for number, batch in self._unconfirmed:
            self._send(connection, number, batch)
        if self.connections > 1:
            self.resent += self.unconfirmed

    def received(self, connection: Connection, kind: int, body: memoryview | bytes) -> None:
        if kind != protocol.CONFIRM:
            super().received(connection, kind, body)
        (upto,) = U64.unpack(body)
        while self._unconfirmed and self._unconfirmed[0][0] <= upto:
            self.confirmed, batch = self._unconfirmed.popleft()
            self._bytes -= batch.nbytes
        if self.confirmed_by is not connection:
            self.confirmed_by, self.confirmed_since = connection, connection.heard_at
        self._changed.set()

    @staticmethod
    def _send(connection: Connection, number: int, batch: Batch) -> None:
        connection.send(protocol.PUBLISH, U64.pack(number), batch.chunk)


# --- consuming -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A batch of messages, with the ids by which it is accepted."""

    ids: bytes
    batch: Batch
    connection: Connection


class Consumer(Client):
    """Receives batches and accepts them. After a failover, batches that were not accepted are delivered again."""

    def __init__(self, addresses: Sequence[Address], *, credit: int = 10_000) -> None:
        super().__init__(addresses)
        self.deduplicator = Deduplicator()
        self.delivered = 0
        """Messages that `receive` returned, duplicates included."""
        self.settled_batches = 0
        self._credit = credit
        self._inbox: deque[Delivery] = deque()

    async def receive(self) -> Delivery:
        """The next batch, in order."""
        while not self._inbox:
            await self._change()
        delivery = self._inbox.popleft()
        self.delivered += len(delivery.batch)
        return delivery

    def fresh(self, delivery: Delivery) -> Iterable[bytes]:
        """The messages of a delivery that have not arrived before. Call it once for each delivery."""
        return self.deduplicator.fresh(delivery.batch)

    def accept(self, delivery: Delivery) -> None:
        """Accept a delivery. Does nothing if its connection is gone: it will be delivered again."""
        if delivery.connection is self.connection:
            self.connection.send(protocol.ACCEPT, delivery.ids)

    def connected(self, connection: Connection) -> None:
        self._inbox.clear()  # Not accepted, so the new primary delivers these again.
        connection.send(protocol.SUBSCRIBE, U32.pack(self._credit))

    def received(self, connection: Connection, kind: int, body: memoryview) -> None:
        if kind == protocol.DELIVER:
            start = U32.size + U32.unpack_from(body)[0]
            batch = Batch.parse(body, start)
            self._inbox.append(Delivery(bytes(body[U32.size : start]), batch, connection))
            self._changed.set()
        elif kind == protocol.SETTLED:
            self.settled_batches += 1
        else:
            super().received(connection, kind, body)
