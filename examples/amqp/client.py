"""A publisher and a consumer for the demonstration: Proton's client, each in a thread, called from asyncio.

    async with Publisher(addresses) as publisher:
        await publisher.publish([b"one", b"two"])       # numbered and sent; waits only for the window
        await publisher.drain()                         # now the whole cluster has them

    async with Consumer(addresses) as consumer:
        delivery = await consumer.receive()
        for message in consumer.fresh(delivery): ...    # without what was delivered before
        consumer.accept(delivery)

Proton connects again by itself, and opens the links again. It sends nothing again, with one exception (`Publisher.lost`):
the publisher keeps each message until it is accepted, and sends what it still has, with the same numbers, when its link
is open again. The broker stores each number once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from proton import Message, ProtonException
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Backoff, Container, EventInjector
from proton.utils import BlockingConnection

from qpidha import SequenceSet
from qpidha.types import Address

if TYPE_CHECKING:
    from typing_extensions import Self

QUEUE = "work"
RETRY_S = 0.02
RECONNECT_S = {"initial": 0.02, "max_delay": 0.1}
SILENCE_MAX_S = 3.0
"""The connection to a broker that sends nothing for so long is closed."""
DECLARE_S = 10.0
TAKEN_MAX = 500


def declare(urls: Sequence[str], name: str, given_up: threading.Event) -> None:
    """Create a queue, on whichever broker is primary. Returns when every node has it."""
    while not given_up.is_set():
        for url in urls:
            try:
                connection = BlockingConnection(url, timeout=DECLARE_S)
            except (ProtonException, OSError):
                continue
            try:
                _create(connection, name)
                return
            except (ProtonException, OSError):
                continue  # This primary was killed meanwhile: its successor is asked again.
            finally:
                connection.close()
        time.sleep(RETRY_S)


def _create(connection: BlockingConnection, name: str) -> None:
    answers = connection.create_receiver(None, dynamic=True)
    request = {"operation": "CREATE", "type": "queue", "name": name}
    where = answers.remote_source.address
    connection.create_sender("$management").send(Message(body={}, reply_to=where, properties=request))
    answer: Any = answers.receive(timeout=DECLARE_S)
    if answer.properties["statusCode"] >= 300:
        raise RuntimeError(f"the broker refuses queue {name!r}: {answer.properties['statusDescription']}")


class Client(MessagingHandler):
    """One connection to the primary, kept by Proton's container in a thread; methods named ``on_…`` run there."""

    def __init__(self, addresses: Sequence[Address], **options: Any) -> None:
        super().__init__(**options)
        self.connection: Any = None
        """None: there is no link to a primary now."""
        self.connections = 0
        """How often the link was opened."""
        self.urls = [f"amqp://{host}:{port}" for host, port in addresses]
        self._changed = asyncio.Event()
        self._injector = EventInjector()
        self._asked = False
        self._error: Exception | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    # --- in the event loop -----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._injector.trigger(ApplicationEvent("end"))
        await asyncio.to_thread(self._thread.join)

    async def _change(self) -> None:
        """Wait until the state has changed. Raises `ConnectionError` if the thread has ended."""
        self._require_thread()
        self._changed.clear()
        await self._changed.wait()

    def _require_thread(self) -> None:
        if self._ended:
            raise ConnectionError(f"the client has ended: {self._error}") from self._error

    def _ask(self) -> None:
        """Let the thread do what there is to do. Raises `ConnectionError` if it has ended."""
        self._require_thread()
        if not self._asked:
            self._asked = True
            self._injector.trigger(ApplicationEvent("work"))

    # --- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            Container(self).run()
        except (ProtonException, OSError) as error:
            self._error = error
        finally:
            self.connection, self._ended = None, True
            self._tell()

    def _tell(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    def on_start(self, event: Any) -> None:
        self._container = event.container
        self._container.selectable(self._injector)
        self._proton = event.container.connect(
            urls=self.urls, reconnect=Backoff(**RECONNECT_S), heartbeat=SILENCE_MAX_S
        )
        self.attach(event.container)

    def attach(self, container: Container) -> None:
        """Open the link."""
        raise NotImplementedError

    def work(self) -> None:
        """Do what there is to do."""
        raise NotImplementedError

    def on_work(self, event: Any) -> None:
        self._asked = False
        if self.connection is not None:
            self.work()

    def on_link_opened(self, event: Any) -> None:
        self.connection = event.connection
        self.connections += 1
        self.work()

    def lost(self) -> None:
        """The connection is lost. Called once or twice before the next one is there."""
        self.connection = None

    def on_disconnected(self, event: Any) -> None:
        self.lost()

    def on_transport_error(self, event: Any) -> None:
        """The primary was killed: the container connects again."""
        self.lost()

    def on_link_error(self, event: Any) -> None:
        raise ConnectionError(f"the broker ends the link: {event.link.remote_condition}")

    def on_end(self, event: Any) -> None:
        self._injector.close()
        self._container.stop()


class Publisher(Client):
    """Publishes in order, with a window of unconfirmed messages, and again after a failover."""

    def __init__(self, addresses: Sequence[Address], *, window: int = 1000) -> None:
        super().__init__(addresses)
        self.publisher = str(uuid4())
        self.published = 0
        """Messages given to `publish` so far: also the number of the last of them."""
        self.confirmed = 0
        """Every message up to this number is accepted."""
        self.resent = 0
        self.confirmed_since = 0.0
        """When the first was accepted on the present connection, on the clock of the event loop."""
        self._window = window
        self._kept: deque[tuple[int, bytes]] = deque()
        """Not confirmed yet, in order."""
        self._sent = 0
        """The number of the last message that was sent on this connection."""
        self._deliveries: dict[str, tuple[int, Any]] = {}
        """Not answered: number and delivery, by tag."""
        self._accepted = SequenceSet()
        self._confirmed_on = 0

    async def __aenter__(self) -> Self:
        given_up = threading.Event()
        try:
            await asyncio.to_thread(declare, self.urls, QUEUE, given_up)
        finally:
            given_up.set()
        return await super().__aenter__()

    async def publish(self, messages: Sequence[bytes]) -> int:
        """Number these messages and send them; returns the number of the last. Waits while the window is full."""
        while self.unconfirmed >= self._window:
            await self._change()
        for data in messages:
            self._kept.append((self.published + 1, data))
            self.published += 1
        self._ask()
        return self.published

    async def drain(self) -> None:
        """Wait until everything published is accepted."""
        while self.unconfirmed:
            await self._change()

    @property
    def unconfirmed(self) -> int:
        """Messages published and not accepted yet."""
        return self.published - self.confirmed

    def attach(self, container: Container) -> None:
        self._sender = container.create_sender(self._proton, QUEUE)

    def on_link_opened(self, event: Any) -> None:
        self.resent += max(0, self._sent - self.confirmed)
        self._sent = self.confirmed
        self._accepted = SequenceSet()
        super().on_link_opened(event)

    def lost(self) -> None:
        """Abort what was not answered: Proton would send one that it still had before all others (docs/amqp.md)."""
        super().lost()
        for _, delivery in self._deliveries.values():
            delivery.abort()
        self._deliveries.clear()

    def on_sendable(self, event: Any) -> None:
        if self.connection is not None:
            self.work()

    def work(self) -> None:
        """Send what was not sent on this connection, as far as there is credit."""
        behind = self._sent - self.confirmed
        while self._sender.credit > 0 and behind < len(self._kept):
            number, data = self._kept[behind]
            annotations = {"x-opt-publisher": self.publisher, "x-opt-number": number}
            delivery: Any = self._sender.send(Message(body=data, durable=True, annotations=annotations))
            self._deliveries[delivery.tag] = (number, delivery)
            self._sent = number
            behind += 1

    def on_accepted(self, event: Any) -> None:
        if (found := self._deliveries.pop(event.delivery.tag, None)) is None:
            return
        number, _ = found
        self._accepted.add(number)
        while self._kept and self._kept[0][0] in self._accepted:
            self.confirmed = self._kept.popleft()[0]
        if self._confirmed_on != self.connections:
            self._confirmed_on, self.confirmed_since = self.connections, time.monotonic()
        self._tell()

    def on_rejected(self, event: Any) -> None:
        raise ConnectionError(f"the broker rejects a message: {event.delivery.remote.condition}")


class Deduplicator:
    """Remembers which numbers have arrived: what was not accepted before a failover is delivered again."""

    def __init__(self) -> None:
        self.duplicates = 0
        self._seen: dict[str, SequenceSet] = {}

    def is_new(self, publisher: str, number: int) -> bool:
        """Whether this one has not arrived before."""
        seen = self._seen.setdefault(publisher, SequenceSet())
        if number in seen:
            self.duplicates += 1
            return False
        seen.add(number)
        return True

    def missing(self, publisher: str, upto: int) -> int:
        """How many of a publisher's messages 1 … upto never came."""
        return upto - self._seen.get(publisher, SequenceSet()).count(1, upto)


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """Messages that were delivered, and the connection on which they can be accepted."""

    messages: list[tuple[str, int, bytes, Any]]
    connections: int


class Consumer(Client):
    """Receives messages and accepts them. After a failover, what was not accepted is delivered again."""

    def __init__(self, addresses: Sequence[Address], *, credit: int = 1000) -> None:
        super().__init__(addresses, prefetch=0, auto_accept=False)
        self.deduplicator = Deduplicator()
        self.delivered = 0
        """Messages that `receive` returned, duplicates included."""
        self._credit = credit
        self._arrived: deque[tuple[int, tuple[str, int, bytes, Any]]] = deque()
        self._accepting: deque[Delivery] = deque()

    async def receive(self) -> Delivery:
        """The next messages, in order: all of them came on one connection."""
        while not self._arrived:
            await self._change()
        connections, first = self._arrived.popleft()
        messages = [first]
        while self._arrived and self._arrived[0][0] == connections and len(messages) < TAKEN_MAX:
            messages.append(self._arrived.popleft()[1])
        self.delivered += len(messages)
        return Delivery(messages, connections)

    def fresh(self, delivery: Delivery) -> list[bytes]:
        """The messages of a delivery that have not arrived before. Call it once for each delivery."""
        is_new = self.deduplicator.is_new
        return [data for publisher, number, data, _ in delivery.messages if is_new(publisher, number)]

    def accept(self, delivery: Any) -> None:
        """Accept a `Delivery`. Does nothing if its connection is gone: it will be delivered again."""
        self._accepting.append(delivery)
        self._ask()

    def attach(self, container: Container) -> None:
        self._receiver = container.create_receiver(self._proton, QUEUE)

    def on_link_opened(self, event: Any) -> None:
        super().on_link_opened(event)
        self._receiver.flow(self._credit)

    def on_message(self, event: Any) -> None:
        said = event.message.annotations
        message = (str(said["x-opt-publisher"]), int(said["x-opt-number"]), bytes(event.message.body))
        self._arrived.append((self.connections, (*message, event.delivery)))
        self._tell()

    def work(self) -> None:
        """Accept what the application has seen."""
        while self._accepting:
            delivery = self._accepting.popleft()
            if delivery.connections == self.connections:
                for *_, each in delivery.messages:
                    super().accept(each)
                self._receiver.flow(len(delivery.messages))
