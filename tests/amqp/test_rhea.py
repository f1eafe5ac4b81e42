"""rhea, a client in JavaScript, and a primary that is killed five times: an exact ledger."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.amqp.brokers import Brokers
from tests.amqp.scripts import check_ledger, check_sizes
from tests.support.missing import leave_out

INSTALL_S = 120
pytestmark = [pytest.mark.slow, pytest.mark.external, pytest.mark.processes, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where rhea is installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        leave_out("rhea needs node and npm: apt-get install nodejs npm")
    place = tmp_path_factory.mktemp("rhea")
    command = [npm, "install", "--silent", "--prefix", str(place), "rhea@3"]
    if subprocess.run(command, timeout=INSTALL_S, capture_output=True).returncode:
        leave_out("npm cannot install rhea: it needs the registry of npm")
    return place / "node_modules"


def script(name: str) -> list[str]:
    return [str(shutil.which("node")), str(Path(__file__).with_name(name))]


def test_five_kills_lose_and_repeat_nothing_of_rhea(tmp_path: Path, modules: Path) -> None:
    with Brokers(tmp_path / "nodes") as brokers:
        brokers.start()
        check_ledger(brokers, script("rhea_client.js"), NODE_PATH=str(modules))


def test_messages_of_all_sizes_of_rhea(tmp_path: Path, modules: Path) -> None:
    with Brokers(tmp_path / "nodes", 1, memory=True) as brokers:
        brokers.start()
        condition = "amqp:resource-limit-exceeded"
        check_sizes(brokers, script("rhea_sizes.js"), kinds=5, condition=condition, NODE_PATH=str(modules))
