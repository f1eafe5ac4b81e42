"""An operator steers real brokers from elsewhere, with the certificate that ``qpidha init`` has made; a node does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpidha.cli import OK, PROBLEM, main
from qpidha.demo.cluster import free_ports

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.2"
"""Not one of the addresses on which the example broker serves everybody."""
WAIT_S = 60.0

pytestmark = [pytest.mark.processes, pytest.mark.network]


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """The HTTP ports of two brokers, by node."""
    monkeypatch.chdir(tmp_path)
    free = free_ports()
    words = [
        word for id in "ab"
        for word in ("--node", f"{id}={HOST}:{next(free)}", "--client", f"{id}=127.0.0.1:{next(free)}")
    ]  # fmt: skip
    assert main(["init", "--certificates", *words]) == OK
    web, running = {id: next(free) for id in "ab"}, []
    for id, port in web.items():
        command = [sys.executable, str(ROOT / "examples/simple/broker.py"), "--cluster", "qpidha.toml"]
        with (tmp_path / f"{id}.log").open("wb") as log:
            running.append(
                subprocess.Popen(
                    [*command, "--node", id, "--web", f"{HOST}:{port}"], stdout=log, stderr=log,
                    env=os.environ | {"PYTHONPATH": str(ROOT)},
                )
            )  # fmt: skip
    yield web
    for process in running:
        process.kill()
        process.wait()


def in_sync(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """By role, the node that has it, of those in sync."""
    capsys.readouterr()  # What another command has said.
    main(["status", "--json"])
    nodes = json.loads(capsys.readouterr().out)["nodes"].values()
    return {status["role"]: status["node"] for status in nodes if status and status["in_sync"]}


def until_in_order(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    deadline = time.monotonic() + WAIT_S
    while set(found := in_sync(capsys)) != {"active", "ready"}:
        assert time.monotonic() < deadline, [path.read_text()[-2000:] for path in Path().glob("*.log")]
        time.sleep(0.1)
    return found


def steer(command: str, port: int, name: str) -> int:
    shown = [
        "--ca",
        "certificates/ca.pem",
        "--certificate",
        f"certificates/{name}.pem",
        "--key",
        f"certificates/{name}.key",
    ]
    return main([command, "--url", f"https://{HOST}:{port}", *shown])


def test_an_operator_hands_over_from_elsewhere(
    ports: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The links between the nodes use the certificates of peers, and require their role."""
    before = until_in_order(capsys)
    first, second = before["active"], before["ready"]
    assert steer("demote", ports[first], second) == PROBLEM
    assert "this certificate is for peer: one for operator is needed" in capsys.readouterr().err
    assert in_sync(capsys) == before
    assert steer("demote", ports[first], "operator") == OK
    assert until_in_order(capsys) == {"active": second, "ready": first}
    assert steer("promote", ports[first], "operator") == OK
    assert until_in_order(capsys) == before
