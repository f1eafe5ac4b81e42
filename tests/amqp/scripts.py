"""Clients of other languages, as processes, and a primary that is killed again and again: an exact ledger."""

from __future__ import annotations

import json
import os
import subprocess
import threading

from tests.amqp.brokers import Brokers, until

MESSAGES = 3000
KILLS = 5


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


def check_ledger(brokers: Brokers, command: list[str], **environment: str) -> None:
    """While primaries are killed, three clients work: nothing is lost, and numbered messages are there once, in order."""
    for queue in ("numbered", "plain"):
        brokers.manage("CREATE", "queue", queue)
    until(lambda: brokers.in_sync(2))

    def script(mode: str, queue: str, *more: str) -> Script:
        return Script(command, brokers, mode, queue, str(MESSAGES), *more, **environment)

    numbered, plain = script("publish", "numbered", "orders"), script("publish", "plain")
    consumer = script("consume", "plain")
    scripts = [numbered, plain, consumer]
    try:
        for _ in range(KILLS):
            enough = len(numbered.lines) + 2
            until(lambda e=enough: len(numbered.lines) > e or numbered.process.poll() is not None)
            killed = brokers.processes[brokers.kill_primary()]
            killed.start()
            until(lambda: brokers.in_sync(2))
        assert [numbered.end(), plain.end()] == ["done", "done"]
        received = json.loads(consumer.end())
    except AssertionError as error:
        told = [each.lines[-3:] for each in scripts]
        raise AssertionError(f"{error}\n{told}\n{brokers.logs()}") from error
    finally:
        for each in scripts:
            each.process.kill()
    assert set(received) == set(range(1, MESSAGES + 1)), (
        "every message without a number was accepted, so it is there"
    )
    assert brokers.manage("READ", "queue", "numbered")["messages"] == MESSAGES
    assert json.loads(script("consume", "numbered").end()) == list(range(1, MESSAGES + 1))
    print(f"{KILLS} kills, {len(received) - len(set(received))} deliveries of unnumbered messages came twice")
