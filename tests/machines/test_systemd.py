"""The unit of contrib/systemd, started by a systemd: two nodes as its instances.

Method: systemd is the first process of a container, with the unit as it is. A drop-in shortens two of its times.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.machines.containers import Engine, until
from tests.machines.images import ROOT

NAME = "qpidha-systemd"
UNIT = "contrib/systemd/qpidha-broker@.service"
WATCHDOG_S = 3
START_S = 12
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
"""The images are built within the time of the first test."""
SETUP = f"""
set -e
cd /tmp
qpidha init qpidha.toml --node a=127.0.0.1:5671 --node b=127.0.0.1:5681 --client a=127.0.0.1:5672 \
    --client b=127.0.0.1:5682 --record /var/lib/qpidha/record --store '/var/lib/qpidha/{{node}}'
cp qpidha.toml /etc/qpidha/qpidha.toml
mkdir -p /etc/systemd/system/qpidha-broker@.service.d
cd /etc/systemd/system/qpidha-broker@.service.d
printf '[Service]\\nWatchdogSec={WATCHDOG_S}\\nTimeoutStartSec={START_S}\\n' > test.conf
systemctl daemon-reload
"""
PUBLISH = """
import asyncio, sys
sys.path.insert(0, "/opt/broker")
from client import Publisher

async def main():
    async with Publisher([("127.0.0.1", 5672), ("127.0.0.1", 5682)]) as publisher:
        await publisher.publish([b"one"])
        await publisher.drain()

asyncio.run(main())
"""
"""Returns when every member has the message: a node that has stopped is none any more."""


class Manager:
    """systemd in a container."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, *words: str) -> str:
        """Run a program in the container."""
        return self._engine.run("podman", "exec", NAME, *words)

    def get(self, node: str, *names: str) -> dict[str, str]:
        """Properties of the unit of a node."""
        said = self.run("systemctl", "show", f"--property={','.join(names)}", unit(node))
        return dict(line.split("=", 1) for line in said.splitlines())

    def status(self, node: str) -> str:
        """The status line that the node has sent."""
        return self.get(node, "StatusText")["StatusText"]

    def members(self, node: str) -> list[str]:
        """Who has every confirmed message, as this node sees it."""
        (status,) = json.loads(self.run("qpidha", "status", "--node", node, "--json"))["nodes"].values()
        return sorted(status["members"])

    def journal(self, node: str) -> str:
        """What systemd and the broker have written about a node."""
        return self.run("journalctl", "--no-pager", "--output", "cat", "--unit", unit(node))

    def by_role(self) -> tuple[str, str]:
        """The node that serves, and the other one, once both are what they are to be."""

        def found() -> dict[str, str]:
            return {self.status(node).partition(":")[0]: node for node in "ab"}

        until(
            lambda: set(found()) == {"active", "ready"}, lambda: [self.journal(node)[-2000:] for node in "ab"]
        )
        return found()["active"], found()["ready"]

    def restarted(self, node: str, before: int) -> None:
        """Wait until systemd has started a node again, and it is ready."""

        def is_back() -> bool:
            now = self.get(node, "NRestarts", "ActiveState")
            return int(now["NRestarts"]) > before and now["ActiveState"] == "active"

        until(is_back, lambda: self.journal(node)[-3000:])


def unit(node: str) -> str:
    return f"qpidha-broker@{node}.service"


@pytest.fixture(scope="module")
def manager(engine: Engine) -> Iterator[Manager]:
    engine.run(
        *("podman", "run", "-d", "--name", NAME, "--systemd=always", "--privileged", "--user", "root"),
        *("-v", f"{ROOT / UNIT}:/etc/systemd/system/{unit('')}:ro"),
        *("--entrypoint", "/lib/systemd/systemd", "qpidha-broker"),
    )
    made = Manager(engine)
    until(lambda: engine.try_run("podman", "exec", NAME, "systemctl", "is-active", "multi-user.target").returncode == 0,
          lambda: engine.try_run("podman", "logs", NAME).stdout)  # fmt: skip
    made.run("sh", "-c", SETUP)
    made.run("systemctl", "start", unit("a"), unit("b"))
    yield made
    engine.run("podman", "rm", "-f", NAME)


def test_a_start_returns_when_the_nodes_are_ready(manager: Manager) -> None:
    """`Type=notify`: one serves, the other one is in sync; as its own user, below its own directory only."""
    for node in "ab":
        found = manager.get(node, "ActiveState", "Type", "NRestarts", "StatusText", "User", "WatchdogUSec")
        status = found.pop("StatusText")
        assert re.fullmatch(
            r"active: serves as primary of generation \d+|ready: in sync with [ab], .+", status
        )
        assert found == {
            "ActiveState": "active", "Type": "notify", "NRestarts": "0", "User": "qpidha",
            "WatchdogUSec": f"{WATCHDOG_S}s",
        }  # fmt: skip
    manager.by_role()
    assert "-rw-------" in manager.run("ls", "-l", "/var/lib/qpidha/a/store.db")
    assert "drwxr-x--- " in manager.run("ls", "-ld", "/var/lib/qpidha")


def test_a_restart_of_the_primary_hands_over_and_returns_when_it_is_in_sync(manager: Manager) -> None:
    first, second = manager.by_role()
    manager.run("systemctl", "restart", unit(first))
    assert manager.status(first).startswith("ready: in sync with "), "the restart has waited for that"
    assert manager.status(second).startswith("active: serves as primary of generation ")
    journal = manager.journal(first)
    stop = journal.rindex("Stopping")
    assert '"event": "stepped down"' in journal[stop:] and "Deactivated successfully" in journal[stop:]


def test_a_process_that_hangs_is_killed_by_the_watchdog_and_started_again(manager: Manager) -> None:
    _, second = manager.by_role()
    found = manager.get(second, "MainPID", "NRestarts")
    manager.run("kill", "-STOP", found["MainPID"])
    manager.restarted(second, int(found["NRestarts"]))
    assert "Watchdog timeout" in manager.journal(second)
    assert "Failed with result 'watchdog'" in manager.journal(second)
    manager.by_role()


def test_a_primary_that_is_killed_is_started_again_while_the_other_serves(manager: Manager) -> None:
    first, second = manager.by_role()
    found = manager.get(first, "MainPID", "NRestarts")
    manager.run("kill", "-KILL", found["MainPID"])
    manager.restarted(first, int(found["NRestarts"]))
    assert manager.by_role() == (second, first)


def test_a_node_that_waits_for_others_may_take_longer_to_start_than_the_unit_allows(manager: Manager) -> None:
    """The one that stopped first is no member any more: it waits for the other one, and says so."""
    first, second = manager.by_role()
    manager.run("systemctl", "stop", unit(second))
    manager.run("python", "-c", PUBLISH)
    assert manager.members(first) == [first]
    manager.run("systemctl", "stop", unit(first))
    before = manager.get(second, "NRestarts")
    manager.run("systemctl", "start", "--no-block", unit(second))
    time.sleep(START_S + 2)
    found = manager.get(second, "ActiveState", "StatusText")
    assert found["ActiveState"] == "activating" and found["StatusText"].startswith("joining: "), found
    manager.run("systemctl", "start", unit(first))
    until(
        lambda: manager.get(second, "ActiveState")["ActiveState"] == "active",
        lambda: manager.journal(second)[-2000:],
    )
    assert manager.get(second, "NRestarts") == before
    manager.by_role()
