"""The resource agent for Pacemaker, with a real broker, under the tool that checks agents."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from qpidha.cli import main as qpidha
from qpidha.engines.ports import take_ports
from tests.engines.server import require

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]

ROOT = Path(__file__).resolve().parents[2]
BROKER = ROOT / "examples/simple/broker.py"


def test_the_agent_passes_ocf_tester(tmp_path: Path) -> None:
    """``ocf-tester`` is the check of the OCF project: each action in each state, and the description against its DTD."""
    require("ocf-tester", "resource-agents")
    require("xmllint", "libxml2-utils")
    if os.geteuid() != 0:
        pytest.skip("ocf-tester needs root")
    assert qpidha(["ocf", "install", "--to", str(tmp_path / "agents")]) == 0
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)  # It runs the agent as nobody, too.
    python = shutil.which("python3", path=str(ROOT / ".venv/bin")) or "python3"
    places = f"--dir {tmp_path}/data --cluster {tmp_path}/cluster --client 127.0.0.1:{take_ports(1)[0]}"
    command = f"{python} {BROKER} --id a {places}"
    (tmp_path / "broker").write_text(f"#!/bin/sh\nexec {command} --promoter operator\n")
    (tmp_path / "broker").chmod(0o755)
    done = subprocess.run(
        ["ocf-tester", "-n", "broker", "-o", f"directory={tmp_path}/data", "-o", f"command={tmp_path}/broker",
         str(tmp_path / "agents/qpidha")],
        capture_output=True, text=True, timeout=200, env={**os.environ, "HA_RSCTMP": str(tmp_path / "run")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed all tests" in done.stdout
