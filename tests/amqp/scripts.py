"""Clients of other languages, as processes: they publish numbered messages through kills, and consume."""

from __future__ import annotations

import json
import os
import subprocess
import threading

from qpidha.demo.cluster import STOP_TIMEOUT_S
from tests.amqp.brokers import Brokers, until

MESSAGES = 2000
KILLS = 2


class Script:
    """One run of a client. Its lines are collected by a thread, so that it never waits for a reader."""

    def __init__(self, command: list[str], brokers: Brokers, *arguments: str, **environment: str) -> None:
        mode, *rest = arguments
        ports = ",".join(str(port) for _, port in brokers.addresses)
        self.process = subprocess.Popen(
            [*command, mode, ports, *rest],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment,
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(iter(lines.readline, ""))

    def end(self) -> str:
        """Wait for its end. Returns its last line."""
        try:
            assert self.process.wait(60) == 0, self.lines
            self._reader.join()
            return self.lines[-1].strip()
        finally:
            self.process.kill()


def check_exactly_once(brokers: Brokers, command: list[str], **environment: str) -> None:
    """Numbered messages of a client are in the queue once and in order, though primaries are killed; it receives them."""
    brokers.manage("CREATE", "queue", "q")
    until(lambda: brokers.in_sync(1))
    publisher = Script(command, brokers, "publish", "q", str(MESSAGES), "p", **environment)
    try:
        for _ in range(KILLS):
            enough = len(publisher.lines) + 1
            until(lambda e=enough: len(publisher.lines) > e or publisher.process.poll() is not None)
            killed = brokers.processes[brokers.kill_primary()]
            killed.wait(STOP_TIMEOUT_S)
            killed.start()
            until(lambda: brokers.in_sync(1))
        assert publisher.end() == "done"
    finally:
        publisher.process.kill()
    assert brokers.manage("READ", "queue", "q")["messages"] == MESSAGES
    received = json.loads(Script(command, brokers, "consume", "q", str(MESSAGES), **environment).end())
    assert received == list(range(1, MESSAGES + 1))
