"""rhea, a client in JavaScript, and a primary that is killed five times: an exact ledger."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.amqp.brokers import Brokers
from tests.amqp.scripts import check_ledger
from tests.support.missing import leave_out

SCRIPT = Path(__file__).with_name("rhea_client.js")
INSTALL_S = 120


@pytest.mark.slow
@pytest.mark.external
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_five_kills_lose_and_repeat_nothing_of_rhea(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        leave_out("rhea needs node and npm: apt-get install nodejs npm")
    place = tmp_path / "rhea"
    command = [npm, "install", "--silent", "--prefix", str(place), "rhea@3"]
    if subprocess.run(command, timeout=INSTALL_S, capture_output=True).returncode:
        leave_out("npm cannot install rhea: it needs the registry of npm")
    with Brokers(tmp_path / "nodes") as brokers:
        brokers.start()
        check_ledger(brokers, [node, str(SCRIPT)], NODE_PATH=str(place / "node_modules"))
