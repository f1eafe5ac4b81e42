"""Brokers under a service manager: what real processes say; the files of contrib, as far as programs here can tell."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from qpidha.cli import OK, build_parser, main
from qpidha.clusterfile import ClusterFile
from qpidha.engines.ports import free_ports
from qpidha.service.service import BEAT_S, BEATS_A_WATCHDOG, EXTENSION_S, HAND_OVER_S
from qpidha.settings import Settings
from qpidha.skeleton import files
from tests.engines.server import require

ROOT = Path(__file__).resolve().parents[2]
BROKER = ROOT / "examples/simple/broker.py"
UNIT = ROOT / "contrib/systemd/qpidha-broker@.service"
CONTAINER = ROOT / "contrib/container"
WATCHDOG_S = 0.4
WAIT_S = 60.0


class Managed:
    """One broker process, and the socket on which it talks to its service manager."""

    def __init__(self, base: Path, node: str) -> None:
        self.log = base / f"{node}.log"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(base / f"{node}.notify"))
        self._socket.settimeout(0.1)
        self.said: list[dict[str, str]] = []
        environment = os.environ | {
            "NOTIFY_SOCKET": str(base / f"{node}.notify"), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        command = [
            sys.executable,
            str(BROKER),
            "--cluster",
            "qpidha.toml",
            "--node",
            node,
            "--log-format",
            "json",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=base, env=environment, stdout=log, stderr=log)

    def hear(self) -> None:
        """Take what was said until it is quiet for a moment."""
        try:
            while True:
                text = self._socket.recv(65536).decode()
                self.said.append(dict(line.split("=", 1) for line in text.split("\n")))
        except TimeoutError:
            pass

    def all(self, name: str) -> list[str]:
        return [state[name] for state in self.said if name in state]

    def wait(self, condition: Callable[[], object], *others: Managed) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, (self.said[-5:], self.log.read_text()[-2000:])
            for managed in (self, *others):
                managed.hear()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._socket.close()


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Managed]]:
    monkeypatch.chdir(tmp_path)
    ports = free_ports()
    words = [
        word for id in "ab"
        for word in ("--node", f"{id}=127.0.0.1:{next(ports)}", "--client", f"{id}=127.0.0.1:{next(ports)}")
    ]  # fmt: skip
    assert main(["init", *words]) == OK
    made = [Managed(tmp_path, id) for id in "ab"]
    yield made
    for managed in made:
        managed.end()


@pytest.mark.processes
@pytest.mark.network
def test_real_brokers_say_what_they_are(pair: list[Managed]) -> None:
    """Ready, status, the watchdog of a loop that runs and of one that does not, and a hand-over before the end."""
    a, b = pair
    for managed in pair:
        managed.wait(lambda managed=managed: managed.all("READY"), *pair)  # type: ignore[misc]
    a.wait(lambda: {status(m).partition(":")[0] for m in pair} == {"active", "ready"}, b)
    first, second = sorted(pair, key=lambda m: not status(m).startswith("active"))
    assert re.fullmatch(r"active: serves as primary of generation \d+", status(first))
    assert re.fullmatch(r"ready: in sync with [ab], can take over", status(second))
    assert [m.all("READY") for m in pair] == [["1"], ["1"]] and a.all("STATUS")[0] == "starting"
    assert all(m.all("EXTEND_TIMEOUT_USEC") for m in pair)

    second.process.send_signal(signal.SIGSTOP)
    second.hear()
    heard = len(second.said)
    time.sleep(2 * WATCHDOG_S)
    second.hear()
    assert len(second.said) == heard, "a process that does not run is not alive"
    second.process.send_signal(signal.SIGCONT)
    second.wait(lambda: len(second.said) > heard + 2 and "can take over" in status(second), first)

    first.process.send_signal(signal.SIGTERM)
    first.wait(lambda: first.process.poll() is not None, second)
    first.hear()
    assert first.process.returncode == 0
    assert first.all("STOPPING") == ["1"] and status(first) == "stopping: hands over"
    second.wait(lambda: status(second).startswith("active: serves"))
    second.process.send_signal(signal.SIGTERM)
    second.wait(lambda: second.process.poll() is not None)
    assert second.process.returncode == 0 and status(second) == "stopping"

    lines = [json.loads(line) for m in pair for line in m.log.read_text().splitlines()]
    assert {line["node"] for line in lines} == {"a", "b"}
    roles = [line["fields"]["role"] for line in lines if line.get("event") == "role"]
    assert roles.count("active") == 2 and not any("error" in line for line in lines)


def status(managed: Managed) -> str:
    return (managed.all("STATUS") or [""])[-1]


# --- the files -----------------------------------------------------------------------------------


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], str]:
    """The node id of a command line of the example broker, by its own parser."""
    monkeypatch.syspath_prepend(BROKER.parent)
    options = importlib.import_module("options")

    def parsed(words: list[str]) -> str:
        monkeypatch.setattr(sys, "argv", ["broker.py", *words])
        return str(options.parse_arguments().id)

    return parsed


def test_the_command_of_the_unit_is_one_of_the_broker(parsed: Callable[[list[str]], str]) -> None:
    (command,) = re.findall(r"^ExecStart=(.+)$", UNIT.read_text(), re.MULTILINE)
    words = shlex.split(command.replace("%i", "a").replace("${QPIDHA_CLUSTER}", "/etc/qpidha/qpidha.toml"))
    assert words[1] == "/opt/broker/broker.py" and parsed(words[2:]) == "a"


def verified(unit: Path, text: str) -> tuple[int, str]:
    """The exit code of ``systemd-analyze verify``, and what it said about a unit with a program that is there."""
    require("systemd-analyze", "systemd")
    unit.write_text(text.replace("/opt/broker/bin/python", sys.executable))
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in (found.stdout + found.stderr).splitlines() if "qpidha-broker" in line]
    return found.returncode, "\n".join(said)


def test_systemd_accepts_the_unit_and_would_see_a_slip(tmp_path: Path) -> None:
    text, unit = UNIT.read_text(), tmp_path / "qpidha-broker@a.service"
    assert verified(unit, text) == (0, "")
    assert "WatchdogSeconds" in verified(unit, text.replace("WatchdogSec", "WatchdogSeconds"))[1]


def test_the_unit_of_a_new_broker_says_the_same(tmp_path: Path) -> None:
    """What ``qpidha new`` writes differs in the command, and in nothing that was thought about."""
    text, unit = files()["broker@.service"], tmp_path / "qpidha-broker@a.service"
    assert verified(unit, text) == (0, "")
    own = {"ExecStart", "EnvironmentFile", "WorkingDirectory"}
    assert settings_of(text, own) == settings_of(UNIT.read_text(), own)


def settings_of(text: str, but: set[str]) -> set[str]:
    """The lines of a unit that set something."""
    lines = {line for line in text.splitlines() if line and line[0] not in "#["}
    return {line for line in lines if line.split("=")[0] not in but}


def test_the_times_of_the_unit_fit_one_another() -> None:
    """The node extends the start and the stop before they run out, and the watchdog waits for several beats."""
    found = dict(re.findall(r"^(\w+Sec)=(\d+)$", UNIT.read_text(), re.MULTILINE))
    assert int(found["TimeoutStartSec"]) > EXTENSION_S
    assert int(found["TimeoutStopSec"]) >= HAND_OVER_S + Settings().stop_timeout_s
    assert int(found["WatchdogSec"]) > 2 * BEATS_A_WATCHDOG * BEAT_S


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
    return found


def instructions() -> list[list[str]]:
    """Of the recipe: continued lines are one."""
    text = (CONTAINER / "Containerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_compose_file_has_the_nodes_of_the_cluster_file(
    parsed: Callable[[list[str]], str],
) -> None:
    file, services = ClusterFile.load(CONTAINER / "qpidha.toml"), compose()["services"]
    assert set(services) == {*file.nodes, "etcd", "certificates"}
    (entry,) = [
        json.loads(rest) for word, rest in instructions() if word == "ENTRYPOINT" and "broker.py" in rest
    ]
    for id, node in file.nodes.items():
        service = services[id]
        assert service["hostname"] == id == parsed([*entry[2:], *service["command"]])
        assert {host for host, _ in node.addresses} == {id}
        assert node.client_address == (id, 5672) and str(node.store).startswith("/var/lib/qpidha/")
        assert f"{id}:/var/lib/qpidha" in service["volumes"]
        check = service["healthcheck"]["test"]
        assert build_parser().parse_args(check[2:]).node == [id] and check[:2] == ["CMD", "qpidha"]
        assert set(service["depends_on"]) <= set(services)
    assert file.record_url.startswith("etcd://etcd:2379/")
    named = {volume.split(":")[0] for s in services.values() for volume in s.get("volumes", ())}
    assert {name for name in named if not name.startswith(".")} == set(compose()["volumes"])


def test_the_certificates_of_the_compose_file_are_those_of_the_cluster_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, (command,) = (
        ClusterFile.load(CONTAINER / "qpidha.toml"),
        compose()["services"]["certificates"]["command"],
    )
    (words,) = re.findall(r"(qpidha init .+?) &&", command)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(words)[1:]) == OK
    made = {path.name for path in (tmp_path / "certificates").iterdir()}
    wanted = {Path(path.replace("{node}", id)).name for path in file.tls_files.values() for id in file.nodes}
    assert wanted <= made


def test_the_recipe_installs_extras_that_exist_and_copies_what_is_there() -> None:
    stages = [re.search(r" AS (\w+)$", rest) for word, rest in instructions() if word == "FROM"]
    targets = {stage[1] for stage in stages if stage}
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    text = (CONTAINER / "Containerfile").read_text()
    for found in re.findall(r"\[([a-z,]+)\]'", text):
        assert set(found.split(",")) <= extras
    for word, rest in instructions():
        if word == "COPY":
            source = rest.split()[0]
            assert source == "--from=build" or (ROOT / source).exists()
            assert source != "--from=build" or "build" in targets
    built = [service["build"] for service in compose()["services"].values() if "build" in service]
    assert {build["target"] for build in built} <= targets
    assert {(CONTAINER / build["context"] / build["dockerfile"]).resolve() for build in built} == {
        CONTAINER / "Containerfile"
    }
