"""Clients of the AMQP broker: Proton's, with reconnection over a list of addresses, each in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from proton import Delivery, Message
from proton.handlers import MessagingHandler, TransactionHandler
from proton.reactor import Backoff, Container

RECONNECT_S = {"initial": 0.02, "max_delay": 0.1}
"""Without end. With a list of delays Proton gives up when all are used up."""
WINDOW = 100


class Client(MessagingHandler):
    """One client. `start` it, then `join` it: it ends when it has done its work, or when it is told to."""

    def __init__(self, urls: list[str], **options: Any) -> None:
        super().__init__(**options)
        self.urls = urls
        self.error: BaseException | None = None
        self.over = threading.Event()
        self.connections = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Client:
        self._thread.start()
        return self

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"{type(self).__name__}: {self.progress()}"
        if self.error is not None:
            raise self.error

    def progress(self) -> str:
        return ""

    def _run(self) -> None:
        try:
            Container(self).run()
        except BaseException as error:
            self.error = error

    def on_start(self, event: Any) -> None:
        self.connection = event.container.connect(
            urls=self.urls, reconnect=Backoff(**RECONNECT_S), heartbeat=10
        )
        self.open(event.container)
        event.container.schedule(0.05, self)

    def on_connection_opened(self, event: Any) -> None:
        self.connections += 1

    def on_timer_task(self, event: Any) -> None:
        if self.over.is_set():
            self.connection.close()
        else:
            self.tick()
            event.container.schedule(0.05, self)

    def open(self, container: Container) -> None:
        raise NotImplementedError

    def tick(self) -> None:
        """Called now and then."""

    def on_transport_error(self, event: Any) -> None:
        """The primary was killed: the container connects again."""


class Publisher(Client):
    """Publishes 1, 2, 3 … unsettled. What was not answered when a connection was lost is sent again.

    With a name it numbers its messages, so that the broker stores each once.
    """

    def __init__(self, urls: list[str], queue: str, name: str | None = None, window: int = WINDOW) -> None:
        super().__init__(urls, auto_settle=True)
        self.queue = queue
        self.name = name
        self.window = window
        self.accepted: set[int] = set()
        self.next = 1
        self.last = 0
        """The number of the last message, once it is known."""
        self._sent: dict[Any, tuple[int, Any]] = {}
        self._open = False

    def progress(self) -> str:
        return f"{len(self.accepted)} accepted, next {self.next}, last {self.last}, {self.connections} connections"

    def open(self, container: Container) -> None:
        self.sender = container.create_sender(self.connection, self.queue)

    def on_link_opened(self, event: Any) -> None:
        self._open = True
        self.next = next(n for n in range(1, self.next + 1) if n not in self.accepted)
        self._send()

    def on_sendable(self, event: Any) -> None:
        self._send()

    def tick(self) -> None:
        if self.last and len(self.accepted) == self.last:
            self.over.set()

    def _send(self) -> None:
        while self._open and (
            self.sender.credit and len(self._sent) < self.window and not (self.last and self.next > self.last)
        ):
            number, self.next = self.next, self.next + 1
            if number in self.accepted:
                continue
            annotations = {} if self.name is None else {"x-opt-publisher": self.name, "x-opt-number": number}
            delivery = self.sender.send(Message(body=number, durable=True, annotations=annotations or None))
            self._sent[delivery.tag] = number, delivery

    def on_transport_error(self, event: Any) -> None:
        """Proton would send a message that it still had before all others: see docs/amqp.md."""
        self._open = False  # What is sent now would be sent by itself, too.
        for _, delivery in self._sent.values():
            delivery.abort()
        self._sent.clear()

    def on_accepted(self, event: Any) -> None:
        if (found := self._sent.pop(event.delivery.tag, None)) is not None:
            self.accepted.add(found[0])
        self._send()

    def on_rejected(self, event: Any) -> None:
        number, _ = self._sent.pop(event.delivery.tag, (None, None))
        self.error = AssertionError(f"{number} was rejected: {event.delivery.remote.condition}")
        self.over.set()

    def finish(self) -> None:
        """End when everything that was sent is accepted."""
        self.last = self.next


class Consumer(Client):
    """Receives messages and accepts them."""

    def __init__(self, urls: list[str], queue: str, wanted: Callable[[Consumer], bool]) -> None:
        super().__init__(urls, prefetch=200)
        self.queue = queue
        self.wanted = wanted
        """Whether more must come."""
        self.received: list[int] = []

    def progress(self) -> str:
        return f"{len(self.received)} received, {self.connections} connections"

    def open(self, container: Container) -> None:
        container.create_receiver(self.connection, self.queue)

    def on_message(self, event: Any) -> None:
        self.received.append(event.message.body)

    def tick(self) -> None:
        if not self.wanted(self):
            self.over.set()


class Mover(Client, TransactionHandler):
    """Moves messages from one queue to another, some in each transaction."""

    def __init__(
        self, urls: list[str], source: str, target: str, messages: int, per_transaction: int
    ) -> None:
        Client.__init__(self, urls, prefetch=0, auto_accept=False)
        self.source, self.target = source, target
        self.messages, self.per = messages, per_transaction
        self.moved = 0
        """In transactions that the broker said are committed."""
        self.transaction: Any = None
        self._batch: list[Any] = []
        self.refused: list[str] = []

    def progress(self) -> str:
        return f"{self.moved} moved, {self.connections} connections, {self.refused}"

    def open(self, container: Container) -> None:
        self.container = container
        self.receiver = container.create_receiver(self.connection, self.source)
        self.sender = container.create_sender(self.connection, self.target)

    def on_connection_opened(self, event: Any) -> None:
        super().on_connection_opened(event)
        self._batch, self.transaction = [], None
        self.declare()

    def declare(self) -> None:
        self.container.declare_transaction(self.connection, handler=self)

    def on_transaction_declared(self, event: Any) -> None:
        self.transaction = event.transaction
        self.receiver.flow(self.per)

    def on_message(self, event: Any) -> None:
        if self.transaction is None:
            self.release(event.delivery, delivered=False)
            return
        self.transaction.send(self.sender, Message(body=event.message.body, durable=True))
        self.transaction.accept(event.delivery)
        self._batch.append(event.message.body)
        if len(self._batch) == self.per:
            self.transaction.commit()
            self.transaction = None

    def on_transaction_committed(self, event: Any) -> None:
        self.moved += len(self._batch)
        self._batch = []
        self.declare()

    def on_transaction_commit_failed(self, event: Any) -> None:
        self.refused.append(str(event.delivery.remote.condition))
        self._batch = []
        self.declare()


def run_all(clients: Iterable[Client], timeout_s: float) -> None:
    for client in clients:
        client.join(timeout_s)


__all__ = ["Client", "Consumer", "Delivery", "Mover", "Publisher", "run_all"]
