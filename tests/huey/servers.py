"""Three processes of the huey server, with a cluster file."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from qpidha.demo.cluster import STOP_TIMEOUT_S, BrokerProcess, Cluster
from qpidha.engines.ports import take_ports

T = TypeVar("T")
PATIENCE_S = 60.0
SERVER = Path(__file__).parents[2] / "examples" / "huey" / "server.py"
CLUSTER = """
cluster = "huey"
record.url = "{work}/record"
settings = {{ ack_timeout_s = 5.0, rejoin_timeout_s = 10.0 }}
"""
NODE = """
[nodes.{name}]
addresses = ["127.0.0.1:{peers}"]
client_address = "127.0.0.1:{client}"
store = "{work}/{name}"
priority = {priority}
"""


class Servers(Cluster):
    """A context manager: on the way out every process is gone."""

    def __init__(self, work: Path, huey: str, names: str = "abc") -> None:
        self.hosts = None
        self.processes = {}
        self.file = work / "qpidha.toml"
        ports = take_ports(2 * len(names))
        text = CLUSTER.format(work=work)
        for number, name in enumerate(names):
            peers, client = ports[2 * number : 2 * number + 2]
            priority = len(names) - number
            text += NODE.format(name=name, peers=peers, client=client, work=work, priority=priority)
            command = [sys.executable, str(SERVER), "--id", name, "--cluster", str(self.file), "--huey", huey]
            command.append("--until-eof")
            self.processes[name] = BrokerProcess(name, command, work / name, ("127.0.0.1", client))
        self.file.write_text(text)

    def primary(self) -> str | None:
        """The node that says it serves; None: none does now."""
        statuses = asyncio.run(self.statuses())
        return next(
            (name for name, status in statuses.items() if status and status["role"] == "active"), None
        )

    def in_sync(self) -> bool:
        """Whether all others are members, so that any of them may be the next primary."""
        statuses = asyncio.run(self.statuses())
        return any(
            status["role"] == "active" and len(status["members"]) == len(self.processes)
            for status in statuses.values()
            if status
        )

    def kill_primary(self) -> None:
        """Kill it, start it again, and wait until it is a backup."""
        process = self.processes[until(self.primary)]
        process.kill()
        process.wait(STOP_TIMEOUT_S)
        process.start()
        until(self.in_sync)

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{process.tail()}" for name, process in self.processes.items())


def until(probe: Callable[[], T | None]) -> T:
    """What the probe finds, once it finds something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := probe()):
        assert time.monotonic() < deadline, f"{probe} found nothing in {PATIENCE_S:.0f} s"
        time.sleep(0.05)
    return found
