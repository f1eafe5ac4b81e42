"""The recipe and the compose file of contrib/container: built and started by podman, three brokers and etcd.

Method: the images are built on a base of this machine's packages, so no registry is asked. The engine has namespaces of
its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.machines.containers import Engine, until
from tests.machines.images import CONTAINER

COMPOSE = ("podman-compose", "-f", str(CONTAINER / "compose.yaml"))
NODES = ("a", "b", "c")
KILL = """
import os, pathlib, signal
for entry in pathlib.Path("/proc").iterdir():
    if entry.name.isdigit() and int(entry.name) not in (1, os.getpid()):
        if b"broker.py" in (entry / "cmdline").read_bytes():
            os.kill(int(entry.name), signal.SIGKILL)
"""
"""Ends the broker, but not the init process of the container."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
"""The images are built within the time of the first test."""


class Brokers:
    """What ``compose.yaml`` starts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def compose(self, *words: str) -> None:
        """Run a command of the compose program."""
        self._engine.run(*COMPOSE, *words)

    def status(self, node: str) -> dict[str, Any]:
        """What ``qpidha status`` in its container says; nothing if it does not run or does not answer."""
        command = ("podman", "exec", container(node), "qpidha", "status", "--node", node, "--json")
        done = self._engine.try_run(*command)
        nodes = json.loads(done.stdout)["nodes"] if done.stdout.startswith("{") else {}
        return next(iter(nodes.values()), None) or {}

    def roles(self) -> dict[str, str]:
        """By node, its role, if it is in sync."""
        found = {node: self.status(node) for node in NODES}
        return {node: status["role"] for node, status in found.items() if status.get("in_sync")}

    def is_healthy(self, node: str) -> bool:
        """The health check of the compose file."""
        return self._engine.try_run("podman", "healthcheck", "run", container(node)).returncode == 0

    def inspect(self, node: str, what: str) -> str:
        """A field of the state of its container."""
        return self._engine.run(
            "podman", "inspect", container(node), "--format", f"{{{{.State.{what}}}}}"
        ).strip()

    def lines(self, node: str) -> list[dict[str, Any]]:
        """The log of its container."""
        done = self._engine.try_run("podman", "logs", container(node))
        return [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]

    def told(self) -> str:
        """For a failure: the end of all logs."""
        return "\n".join(f"{node}: {self.roles().get(node)} {self.lines(node)[-3:]}" for node in NODES)


def container(node: str) -> str:
    return f"container_{node}_1"


@pytest.fixture(scope="module")
def brokers(engine: Engine) -> Iterator[Brokers]:
    made = Brokers(engine)
    made.compose("up", "-d", "--no-build")
    yield made
    made.compose("down", "-v")


def in_order(roles: dict[str, str]) -> bool:
    return sorted(roles.values()) == ["active", "ready", "ready"]


def test_three_containers_become_a_cluster_and_are_healthy(brokers: Brokers) -> None:
    """With the certificates that the first container has made, over the network of the containers, and etcd."""
    until(lambda: in_order(brokers.roles()), brokers.told)
    until(lambda: all(brokers.is_healthy(node) for node in NODES), brokers.told)
    status = brokers.status("a")
    assert sorted(status["members"]) == sorted(status["live"]) == [*NODES]
    assert 364 <= status["certificate_days_left"] <= 365
    assert not status["troubles"]


def test_a_container_that_is_stopped_hands_over_first(brokers: Brokers) -> None:
    """SIGTERM through the init process of the container: another node is primary before this one has stopped."""
    until(lambda: in_order(brokers.roles()), brokers.told)
    (first,) = [node for node, role in brokers.roles().items() if role == "active"]
    generation = brokers.status(first)["generation"]
    brokers.compose("stop", first)
    assert (brokers.inspect(first, "Status"), brokers.inspect(first, "ExitCode")) == ("exited", "0")
    events = [line["event"] for line in brokers.lines(first) if "event" in line]
    assert "stepped down" in events and events[-1] == "stopped"
    others = {node: brokers.status(node) for node in NODES if node != first}
    assert {status["generation"] for status in others.values()} == {generation + 1}
    brokers.compose("start", first)
    until(lambda: in_order(brokers.roles()), brokers.told)
    assert brokers.roles()[first] == "ready", "its store was kept in its volume"


def test_a_container_whose_broker_is_killed_is_started_again(brokers: Brokers, engine: Engine) -> None:
    until(lambda: in_order(brokers.roles()), brokers.told)
    (first,) = [node for node, role in brokers.roles().items() if role == "active"]
    started = brokers.inspect(first, "StartedAt")
    # The container ends with its broker, and this command within it: podman may wait for its end in vain.
    engine.try_run("podman", "exec", "--detach", "--user", "root", container(first), "python", "-c", KILL)
    until(lambda: brokers.inspect(first, "StartedAt") != started, brokers.told)
    until(lambda: in_order(brokers.roles()), brokers.told)
    assert not brokers.is_healthy("none")
