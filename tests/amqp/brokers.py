"""Three processes of the AMQP broker, and short requests to whichever of them is primary."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from proton import Message, ProtonException
from proton.utils import BlockingConnection

from qpidha.demo.cluster import STOP_TIMEOUT_S, Cluster

BROKER = Path(__file__).parents[2] / "examples" / "amqp" / "broker.py"
PATIENCE_S = 60.0
T = TypeVar("T")


class Brokers(Cluster):
    """A context manager: on the way out every process is gone."""

    def __init__(self, work: Path, nodes: int = 3, *options: str, memory: bool = False) -> None:
        work.mkdir(exist_ok=True)
        super().__init__(BROKER, work, nodes, memory=memory)
        for process in self.processes.values():
            process._command += options

    @property
    def urls(self) -> list[str]:
        return [f"amqp://{host}:{port}" for host, port in self.addresses]

    def primary(self) -> str | None:
        """The node that says it serves; None: none does now."""
        statuses = asyncio.run(self.statuses())
        return next(
            (name for name, status in statuses.items() if status and status["role"] == "active"), None
        )

    def in_sync(self, backups: int) -> bool:
        """Whether the primary has so many backups that acknowledge."""
        statuses = asyncio.run(self.statuses())
        return any(
            status["role"] == "active" and len(status["members"]) > backups
            for status in statuses.values()
            if status
        )

    def kill_primary(self) -> str:
        """Kill it, and start it again as a backup."""
        name = until(self.primary)
        process = self.processes[name]
        process.kill()
        process.wait(STOP_TIMEOUT_S)
        return name

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{process.tail()}" for name, process in self.processes.items())

    # --- requests --------------------------------------------------------------------------------

    def connect(self, **options: Any) -> BlockingConnection:
        """A connection to the primary."""

        def attempt() -> BlockingConnection | None:
            for url in self.urls:
                try:
                    return BlockingConnection(url, timeout=10, **options)
                except (ProtonException, OSError):
                    continue
            return None

        return until(attempt)

    def manage(self, operation: str, type: str, name: str = "", **attributes: Any) -> Any:
        """One request to ``$management``. Returns the body of the answer; an error raises."""
        connection = self.connect()
        try:
            return manage(connection, operation, type, name, attributes)
        finally:
            connection.close()

    def drained(self, queue: str) -> list[Any]:
        """All messages of a queue, taken out of it."""
        messages = self.manage("READ", "queue", queue)["messages"]
        connection = self.connect()
        try:
            receiver = connection.create_receiver(queue, credit=min(messages, 1000) or 1)
            found = []
            for _ in range(messages):
                found.append(receiver.receive(timeout=10).body)
                receiver.accept()
            return found
        finally:
            connection.close()


def manage(
    connection: BlockingConnection, operation: str, type: str, name: str, attributes: dict[str, Any]
) -> Any:
    answers = connection.create_receiver(None, dynamic=True)
    requests = connection.create_sender("$management")
    properties = {"operation": operation, "type": type, "name": name}
    requests.send(
        Message(body=attributes, reply_to=answers.remote_source.address, properties=properties, id="1")
    )
    answer = answers.receive(timeout=10)
    answers.accept()
    answers.close()
    requests.close()
    if answer.properties["statusCode"] >= 300:
        raise Refusal(answer.properties["statusCode"], answer.properties["statusDescription"])
    return answer.body


class Refusal(Exception):
    """The broker refused a request."""


def until(probe: Callable[[], T | None], timeout_s: float = PATIENCE_S) -> T:
    """What the probe finds, once it finds something."""
    deadline = time.monotonic() + timeout_s
    while not (found := probe()):
        assert time.monotonic() < deadline, f"{probe} found nothing in {timeout_s:.0f} s"
        time.sleep(0.02)
    return found
