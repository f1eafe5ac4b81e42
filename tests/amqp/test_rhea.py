"""rhea, a client in JavaScript, publishes and consumes exactly once while the primary is killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from qpidha.demo.cluster import STOP_TIMEOUT_S
from tests.amqp.brokers import Brokers, until

SCRIPT = Path(__file__).with_name("rhea_client.js")
MESSAGES = 3000
KILLS = 2
INSTALL_S = 120


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where rhea is installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("rhea needs node and npm: apt-get install nodejs npm")
    place = tmp_path_factory.mktemp("rhea")
    command = [npm, "install", "--silent", "--prefix", str(place), "rhea@3"]
    if subprocess.run(command, timeout=INSTALL_S, capture_output=True).returncode:
        pytest.skip("npm cannot install rhea here")
    return place / "node_modules"


class Script:
    """One run of the client. Its lines are collected by a thread, so that it never waits for a reader."""

    def __init__(self, modules: Path, brokers: Brokers, *arguments: str) -> None:
        mode, *rest = arguments
        ports = ",".join(str(port) for _, port in brokers.addresses)
        self.process = subprocess.Popen(
            ["node", str(SCRIPT), mode, ports, *rest],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"NODE_PATH": str(modules)},
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
            return self.lines[-1]
        finally:
            self.process.kill()


@pytest.mark.slow
@pytest.mark.external
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_numbered_messages_of_rhea_are_there_once(tmp_path: Path, modules: Path) -> None:
    with Brokers(tmp_path, 2) as brokers:
        brokers.start()
        brokers.manage("CREATE", "queue", "q")
        until(lambda: brokers.in_sync(1))
        publisher = Script(modules, brokers, "publish", "q", str(MESSAGES), "rhea")
        try:
            for _ in range(KILLS):
                enough = len(publisher.lines) + 1
                until(lambda e=enough: len(publisher.lines) > e or publisher.process.poll() is not None)
                killed = brokers.processes[brokers.kill_primary()]
                killed.wait(STOP_TIMEOUT_S)
                killed.start()
                until(lambda: brokers.in_sync(1))
            assert publisher.end().strip() == "done"
        finally:
            publisher.process.kill()
        assert brokers.manage("READ", "queue", "q")["messages"] == MESSAGES
        received = json.loads(Script(modules, brokers, "consume", "q", str(MESSAGES)).end())
        assert received == list(range(1, MESSAGES + 1))
