"""Transactions of Proton's client: committed, aborted, refused, and left open. `test_kills` has those over failovers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from proton import Message
from proton.handlers import MessagingHandler, TransactionHandler
from proton.reactor import Container

from tests.amqp.brokers import Brokers

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with Brokers(tmp_path_factory.mktemp("amqp"), 1, memory=True) as brokers:
        brokers.start()
        yield brokers


class Once(MessagingHandler, TransactionHandler):
    """One transaction: takes one message, publishes some, and ends in one of four ways."""

    def __init__(self, url: str, source: str, target: str, publishes: int, end: str) -> None:
        super().__init__(prefetch=0, auto_accept=False)
        self.url, self.source, self.target, self.publishes, self.end = url, source, target, publishes, end
        self.outcome = ""
        Container(self).run()

    def on_start(self, event: Any) -> None:
        self.container = event.container
        self.connection = event.container.connect(self.url)
        self.receiver = event.container.create_receiver(self.connection, self.source)
        self.sender = event.container.create_sender(self.connection, self.target)
        event.container.declare_transaction(self.connection, handler=self)

    def on_transaction_declared(self, event: Any) -> None:
        self.transaction = event.transaction
        self.receiver.flow(1)

    def on_message(self, event: Any) -> None:
        for n in range(self.publishes):
            self.transaction.send(self.sender, Message(body=n))
        self.transaction.accept(event.delivery)
        if self.end == "commit":
            self.transaction.commit()
        elif self.end == "abort":
            self.transaction.abort()
        elif self.end == "unknown":
            self.transaction.id = b"other"
            self.transaction.commit()
        else:
            self.connection.close()

    def on_transaction_committed(self, event: Any) -> None:
        self.ended("committed")

    def on_transaction_aborted(self, event: Any) -> None:
        self.ended("aborted")

    def on_transaction_commit_failed(self, event: Any) -> None:
        self.ended(event.delivery.remote.condition.name)

    def ended(self, outcome: str) -> None:
        self.outcome = outcome
        self.connection.close()


@pytest.mark.parametrize(
    ("end", "limit", "outcome", "left"),
    [
        ("commit", None, "committed", (0, 3)),
        ("abort", None, "aborted", (1, 0)),
        ("commit", 2, "amqp:transaction:rollback", (1, 0)),
        ("unknown", None, "amqp:transaction:unknown-id", (1, 0)),
        ("close", None, "", (1, 0)),
    ],
)
def test_all_or_nothing(
    brokers: Brokers, end: str, limit: int | None, outcome: str, left: tuple[int, int]
) -> None:
    source, target = f"from {end} {limit}", f"to {end} {limit}"
    brokers.manage("CREATE", "queue", source)
    brokers.manage("CREATE", "queue", target, **({} if limit is None else {"qpid.max_count": limit}))
    connection = brokers.connect()
    connection.create_sender(source).send(Message(body="task"))
    connection.close()
    assert Once(brokers.urls[0], source, target, 3, end).outcome == outcome
    assert (len(brokers.drained(source)), len(brokers.drained(target))) == left
