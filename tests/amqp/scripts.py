"""Clients of other languages, as processes, and a primary that is killed again and again: an exact ledger."""

from __future__ import annotations

import json
import os
import subprocess
import threading

from tests.amqp.brokers import Brokers, until

MESSAGES = 3000
KILLS = 5
SIZES = (1, 255, 256, 65_536, 1 << 20, 3 << 20)
PORTS = "PORTS"
TOO_LARGE = (5 << 20, 32 << 20)


class Script:
    """One run of a client. Its lines are collected by a thread, so that it never waits for a reader."""

    def __init__(self, command: list[str], brokers: Brokers, *arguments: str, **environment: str) -> None:
        """In ``arguments``, PORTS stands for the ports of all nodes."""
        ports = ",".join(str(port) for _, port in brokers.addresses)
        self.process = subprocess.Popen(
            [*command, *(ports if each == PORTS else each for each in arguments)],
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
        return Script(command, brokers, mode, PORTS, queue, str(MESSAGES), *more, **environment)

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


def check_sizes(
    brokers: Brokers, command: list[str], *, kinds: int, condition: str, **environment: str
) -> None:
    """Messages of all sizes are accepted and come back whole, or rejected with a typed error; the link goes on."""
    brokers.manage("CREATE", "queue", "sizes")
    script = Script(command, brokers, PORTS, "sizes", *map(str, (*SIZES, *TOO_LARGE)), **environment)
    assert script.end() == "done"
    told = [line.split() for line in script.lines[:-1]]
    assert len(told) == kinds * (len(SIZES) + len(TOO_LARGE))
    for size, _, *outcome in told:
        refused = ["rejected", condition] if condition else ["rejected"]
        assert outcome == (refused if int(size) in TOO_LARGE else ["accepted"]), told
    for (size, kind, *_), body in zip(told, brokers.drained("sizes"), strict=False):
        whole = len(body) if kind in ("binary", "data", "text") else sum(map(len, body))
        assert whole == (int(size) if kind in ("binary", "data", "text") else len_of_words(int(size))), kind
    assert brokers.manage("READ", "queue", "sizes")["messages"] == 0
    assert [process.exit_code for process in brokers.processes.values()] == [None]


def len_of_words(size: int) -> int:
    """How much text the lists of these clients have."""
    return (size // 5000 + 1) * min(size, 5000)
