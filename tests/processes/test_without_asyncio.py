"""The example broker without asyncio, as three processes: the primary is killed, and no confirmed message is lost."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpidha.engines.ports import free_ports
from qpidha.journal import StoreState
from qpidha.stores import read_status
from tests.support.rush import rush

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[2]
LONG_S = 60.0
NAMES = ("a", "b", "c")


class Cluster:
    """Three brokers, and a client that looks for the primary."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        ports = free_ports()
        self.ports = {name: next(ports) for name in NAMES}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        with open(self.directory / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, ROOT / "examples/selectors/broker.py", name, self.directory,
                 f"127.0.0.1:{self.ports[name]}"],
                env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
            )  # fmt: skip

    def log(self) -> str:
        return "\n".join(f"{n}: {(self.directory / f'{n}.log').read_text()}" for n in NAMES)

    def put(self, text: str) -> tuple[str, str]:
        """Publish until a primary confirms. Returns the primary and its answer; the text may be stored twice."""
        return self._ask(f"PUT {text}", "\n")

    def texts(self) -> list[str]:
        return self._ask("LIST", "\n\n")[1].split("\n")[:-2]

    def _ask(self, line: str, end: str) -> tuple[str, str]:
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            for name, port in self.ports.items():
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", port), 10) as client,
                ):
                    client.sendall(f"{line}\n".encode())
                    answer = b""
                    while data := client.recv(65536):
                        answer += data
                        if answer.endswith(end.encode()):
                            return name, answer.decode()
            time.sleep(0.02)
        raise AssertionError(f"{line!r} was never answered\n{self.log()}")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    for name in NAMES:
        cluster.start(name)
    yield cluster
    for process in cluster.processes.values():
        process.kill()
        process.wait()


def wait_log(cluster: Cluster, name: str, text: str, count: int = 1) -> None:
    deadline = time.monotonic() + LONG_S
    while (cluster.directory / f"{name}.log").read_text().count(text) < count:
        assert time.monotonic() < deadline, cluster.log()
        time.sleep(0.02)


def test_no_confirmed_message_is_lost_when_the_primary_is_killed(cluster: Cluster) -> None:
    """Two kills: the killed broker returns as a backup, and is primary or in sync again before the next kill."""
    primary, _ = cluster.put("first")
    for name in NAMES:
        if name != primary:
            wait_log(cluster, name, f"{name} is ready")
    confirmed = ["first"]
    for turn in range(2):
        for n in range(20):
            primary, answer = cluster.put(f"{turn}-{n}")
            assert answer.startswith("OK ")
            confirmed.append(f"{turn}-{n}")
        cluster.processes[primary].kill()
        cluster.processes[primary].wait()
        ready = f"{primary} is ready"
        seen = (cluster.directory / f"{primary}.log").read_text().count(ready)
        successor, _ = cluster.put(f"after {turn}")
        assert successor != primary
        confirmed.append(f"after {turn}")
        cluster.start(primary)
        wait_log(cluster, primary, ready, seen + 1)
    found = cluster.texts()
    assert list(dict.fromkeys(found)) == confirmed, cluster.log()
    for process in cluster.processes.values():
        process.terminate()
    for name, process in cluster.processes.items():
        assert process.wait(LONG_S) == 0, cluster.log()
        assert read_status(cluster.directory / name).state is StoreState.CLEAN
    assert "Traceback" not in cluster.log()


def test_all_clients_connect_at_once(cluster: Cluster) -> None:
    primary, _ = cluster.put("first")
    rush(cluster.processes[primary].pid, ("127.0.0.1", cluster.ports[primary]))
    assert cluster.put("second")[0] == primary
