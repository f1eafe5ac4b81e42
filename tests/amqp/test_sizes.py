"""Messages of all sizes and kinds of bodies: they come back as they were sent, or are refused with a typed error.

The limit of a message is half of ``message_bytes_max``: 4 MiB. What a client cannot encode is its own affair.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from proton import Delivery, Message
from proton.handlers import MessagingHandler
from proton.reactor import Container
from proton.utils import BlockingConnection, SendException

from tests.amqp.brokers import Brokers, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(280)]
MIB = 1 << 20
SIZES = (1, 255, 256, 65_000, 65_536, MIB, 3 * MIB)
TOO_LARGE = (4 * MIB, 16 * MIB, 32 * MIB)
WAITING = 60


def bodies(size: int) -> dict[str, Message]:
    texts = ["é" * min(size // 2 + 1, 5000)] * (size // 10_000 + 1)
    return {
        "binary": Message(body=b"\xa5" * size, durable=True),
        "data": Message(body=b"\xa5" * size, inferred=True, durable=True),
        "text": Message(body="x" * size, durable=True),
        "list": Message(body=texts, durable=True),
        "sequence": Message(body=texts, inferred=True, durable=True),
    }


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with Brokers(tmp_path_factory.mktemp("amqp"), 2, memory=True) as brokers:
        brokers.start()
        until(lambda: brokers.in_sync(1))
        yield brokers


@pytest.fixture
def connection(brokers: Brokers) -> Iterator[BlockingConnection]:
    connection = brokers.connect()
    connection.timeout = 60
    yield connection
    connection.close()
    assert [p.exit_code for p in brokers.processes.values()] == [None, None], brokers.logs()


def test_each_comes_back_as_it_was_sent(brokers: Brokers, connection: BlockingConnection) -> None:
    brokers.manage("CREATE", "queue", "sizes")
    sender, receiver = connection.create_sender("sizes"), connection.create_receiver("sizes", credit=1)
    for size in SIZES:
        for kind, message in bodies(size).items():
            sender.send(message)
            received: Any = receiver.receive(timeout=60)
            receiver.accept()
            assert (received.body, received.inferred) == (message.body, message.inferred), (size, kind)


@pytest.mark.parametrize("kind", ["binary", "data", "text", "list", "sequence"])
def test_what_is_too_large_is_rejected_and_the_link_goes_on(
    brokers: Brokers, connection: BlockingConnection, kind: str
) -> None:
    queue = f"refused {kind}"
    brokers.manage("CREATE", "queue", queue)
    sender = connection.create_sender(queue)
    for size in TOO_LARGE:
        with pytest.raises(SendException) as refused:
            sender.send(bodies(size)[kind])
        assert refused.value.state == Delivery.REJECTED
        sender.send(Message(body=size))
    assert brokers.drained(queue) == list(TOO_LARGE)


def test_the_error_has_a_type(brokers: Brokers) -> None:
    brokers.manage("CREATE", "queue", "typed")

    class Sender(MessagingHandler):
        condition: Any = None

        def on_start(self, event: Any) -> None:
            connection = event.container.connect(brokers.urls[list(brokers.processes).index(primary)])
            event.container.create_sender(connection, "typed")

        def on_sendable(self, event: Any) -> None:
            if self.condition is None:
                event.sender.send(Message(body=b"x" * 5 * MIB))
                self.condition = ""

        def on_rejected(self, event: Any) -> None:
            self.condition = event.delivery.remote.condition
            event.connection.close()

    primary = until(brokers.primary)
    sender = Sender()
    Container(sender).run()
    assert sender.condition.name == "amqp:resource-limit-exceeded"
    assert "4194304 is the limit" in sender.condition.description


def test_a_consumer_that_does_not_read_is_given_only_what_its_connection_takes(brokers: Brokers) -> None:
    """It has credit for all of them; but what it does not read stays in the queue, and takes no memory twice."""
    brokers.manage("CREATE", "queue", "slow")
    filler = brokers.connect()
    sender = filler.create_sender("slow")
    for _ in range(WAITING):
        sender.send(Message(body=b"x" * MIB))
    filler.close()
    go = threading.Event()

    class Slow(MessagingHandler):
        received = 0

        def on_start(self, event: Any) -> None:
            self.connection = event.container.connect(
                brokers.urls[list(brokers.processes).index(until(brokers.primary))]
            )
            event.container.create_receiver(self.connection, "slow")

        def on_message(self, event: Any) -> None:
            go.wait(60)
            self.received += 1
            if self.received == WAITING:
                self.connection.close()

    slow = Slow(prefetch=WAITING)
    thread = threading.Thread(target=Container(slow).run, daemon=True)
    thread.start()
    acquired = until(lambda: brokers.manage("READ", "queue", "slow")["acquired"])
    for _ in range(5):
        acquired = brokers.manage("READ", "queue", "slow")["acquired"]
    assert 0 < acquired < WAITING // 2
    go.set()
    thread.join(60)
    assert slow.received == WAITING
    until(lambda: brokers.manage("READ", "queue", "slow")["messages"] == 0)


def test_a_request_that_is_too_large_ends_the_connection(brokers: Brokers) -> None:
    with pytest.raises(Exception, match="resource-limit-exceeded"):
        brokers.manage("CREATE", "queue", "large", note="x" * 5 * MIB)
    assert brokers.manage("QUERY", "queue")["results"]
