"""rhea, a client in JavaScript, publishes and consumes exactly once while the primary is killed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.amqp.brokers import Brokers
from tests.amqp.scripts import check_exactly_once
from tests.support.missing import leave_out

SCRIPT = Path(__file__).with_name("rhea_client.js")
INSTALL_S = 120


@pytest.mark.slow
@pytest.mark.external
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_numbered_messages_of_rhea_are_there_once(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        leave_out("rhea needs node and npm: apt-get install nodejs npm")
    place = tmp_path / "rhea"
    command = [npm, "install", "--silent", "--prefix", str(place), "rhea@3"]
    if subprocess.run(command, timeout=INSTALL_S, capture_output=True).returncode:
        leave_out("npm cannot install rhea: it needs the registry of npm")
    with Brokers(tmp_path / "nodes", 2) as brokers:
        brokers.start()
        check_exactly_once(brokers, [node, str(SCRIPT)], NODE_PATH=str(place / "node_modules"))
