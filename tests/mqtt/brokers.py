"""Processes of the MQTT broker, under one cluster file."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from qpidha.demo.cluster import STOP_TIMEOUT_S, BrokerProcess
from qpidha.engines.ports import free_ports
from qpidha.node.ask import ask

BROKER = Path(__file__).parents[2] / "examples" / "amqtt" / "broker.py"
PATIENCE_S = 60.0
T = TypeVar("T")


class Brokers:
    """A context manager: on the way out every process is gone."""

    def __init__(
        self, work: Path, nodes: int = 3, *options: str, settings: str = "ack_timeout_s = 5.0"
    ) -> None:
        ports = free_ports()
        self.file = work / "qpidha.toml"
        self.processes: dict[str, BrokerProcess] = {}
        lines = [
            'cluster = "mqtt"',
            "[record]",
            'url = "record"',
            "[settings]",
            settings,
        ]
        for name in "abcdefg"[:nodes]:
            client = ("127.0.0.1", next(ports))
            command = [
                sys.executable,
                str(BROKER),
                "--id",
                name,
                "--cluster",
                str(self.file),
                "--until-eof",
                *options,
            ]
            self.processes[name] = BrokerProcess(name, command, work / name, client)
            lines += [
                f"[nodes.{name}]",
                f'addresses = ["127.0.0.1:{next(ports)}"]',
                f'client_address = "127.0.0.1:{client[1]}"',
                'store = "{node}"',
            ]
        self.file.write_text("\n".join(lines) + "\n")

    def start(self) -> Brokers:
        """All nodes, and wait until the primary has all others as members."""
        for process in self.processes.values():
            process.start()
        self.wait_in_sync()
        return self

    def wait_in_sync(self) -> None:
        assert not any(process.exit_code for process in self.processes.values()), self.logs()
        until(lambda: self.members() == set(self.processes))

    @property
    def ports(self) -> list[int]:
        return [process.client[1] for process in self.processes.values()]

    def primary(self) -> str | None:
        """The node that serves; None: none does now."""
        found = (name for name, status in self._statuses().items() if status and status["role"] == "active")
        return next(found, None)

    def members(self) -> set[str]:
        statuses = self._statuses().values()
        return next((set(s["members"]) for s in statuses if s and s["role"] == "active"), set())

    def _statuses(self) -> dict[str, dict[str, object] | None]:
        async def asked() -> list[dict[str, object] | None]:
            return await asyncio.gather(*(process.status() for process in self.processes.values()))

        return dict(zip(self.processes, asyncio.run(asked()), strict=True))

    def kill_primary(self) -> BrokerProcess:
        """Kill it; returns its process, to be started again."""
        process = self.processes[until(self.primary)]
        process.kill()
        process.wait(STOP_TIMEOUT_S)
        return process

    def demote(self) -> str:
        """Ask the primary to hand over; returns the next one."""
        before = until(self.primary)
        asyncio.run(ask(self.processes[before]._control, "demote", timeout_s=10.0))
        return until(lambda: (now := self.primary()) and now != before and now)

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{process.tail()}" for name, process in self.processes.items())

    def __enter__(self) -> Brokers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(STOP_TIMEOUT_S)


def until(probe: Callable[[], T | None], timeout_s: float = PATIENCE_S) -> T:
    """What the probe finds, once it finds something."""
    deadline = time.monotonic() + timeout_s
    while not (found := probe()):
        assert time.monotonic() < deadline, f"{probe} found nothing in {timeout_s:.0f} s"
        time.sleep(0.02)
    return found
