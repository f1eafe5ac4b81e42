"""What Proton's client does with publishes that were not answered when its connection broke, as docs/amqp.md says.

Method: a server that takes messages and answers none is killed, and another one takes its place.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from proton import Message

from qpidha.engines.ports import free_ports
from tests.amqp.brokers import until
from tests.amqp.clients import Client

SILENT = """
import sys
from proton.handlers import MessagingHandler
from proton.reactor import Container

class Silent(MessagingHandler):
    def __init__(self):
        super().__init__(auto_accept=False)
    def on_start(self, event):
        event.container.listen(sys.argv[1])
    def on_message(self, event):
        print(event.message.body, flush=True)

Container(Silent()).run()
"""
SENT = 3
CREDIT = 10
"""What Proton's server grants at first."""


class Sender(Client):
    """Sends a few messages once, and one more when its sender is opened again."""

    def open(self, container: Any) -> None:
        self.events: list[str] = []
        self.sent: list[Any] = []
        self.sender = container.create_sender(self.connection, "q")

    def on_sendable(self, event: Any) -> None:
        while self.sender.credit and len(self.sent) < SENT + self.connections - 1:
            self.sent.append(self.sender.send(Message(body=len(self.sent) + 1)))

    def on_unhandled(self, method: str, event: Any) -> None:
        if method in ("on_accepted", "on_released", "on_rejected", "on_modified", "on_settled"):
            self.events.append(method)


class Server:
    """A context manager: a process that prints the messages that it gets."""

    def __init__(self, url: str, log: Path) -> None:
        self.log = log
        self._command = [sys.executable, "-c", SILENT, url]
        self.log.touch()

    def __enter__(self) -> Server:
        with self.log.open("w") as out:
            self._process = subprocess.Popen(self._command, stdout=out)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def got(self) -> list[int]:
        return [int(line) for line in self.log.read_text().split()]


@pytest.mark.processes
def test_a_publish_in_doubt_is_not_sent_again(tmp_path: Path) -> None:
    """Only what is published after the sender was opened again arrives, and the client is told nothing of the others."""
    url = f"127.0.0.1:{next(free_ports())}"
    client = Sender([url])
    with Server(url, tmp_path / "first") as first:
        client.start()
        until(lambda: len(first.got()) == SENT)
    with Server(url, tmp_path / "second") as second:
        until(lambda: client.connections == 2 and second.got())
        assert second.got() == [SENT + 1]
        assert client.events == [] and not any(delivery.settled for delivery in client.sent)
        assert client.sender.unsettled == SENT + 1
        client.over.set()
        client.join(60)


class Late(Sender):
    """Its server is killed before its first messages are written, and one more is queued than it has credit for."""

    def __init__(self, url: str, kill: Callable[[], None], *, aborts: bool) -> None:
        super().__init__([url])
        self.kill, self.aborts = kill, aborts

    def on_sendable(self, event: Any) -> None:
        if self.sent and self.connections == 1:
            return
        if not self.sent:
            self.kill()
        for _ in range(CREDIT + 1):
            self.sent.append(self.sender.send(Message(body=len(self.sent) + 1)))

    def on_transport_error(self, event: Any) -> None:
        if self.aborts and self.connections == 1:
            for delivery in self.sent:
                delivery.abort()


@pytest.mark.processes
@pytest.mark.parametrize(("aborts", "first"), [(False, CREDIT + 1), (True, CREDIT + 2)])
def test_what_was_only_queued_is_sent_unless_it_is_aborted(tmp_path: Path, aborts: bool, first: int) -> None:
    url = f"127.0.0.1:{next(free_ports())}"
    with Server(url, tmp_path / "first") as server, ExitStack() as later:

        def kill() -> None:
            server.kill()
            later.enter_context(second)

        second = Server(url, tmp_path / "second")
        client = Late(url, kill, aborts=aborts)
        client.start()
        until(lambda: client.connections == 2 and len(second.got()) >= CREDIT)
        assert server.got() == []
        assert second.got()[0] == first
        client.over.set()
        client.join(60)
