"""The demo in its smallest form: real processes, one kill, a verdict, and no processes or files left over."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    """Run the command as a user would, with its temporary files under the test's directory."""
    return subprocess.Popen(
        [sys.executable, "-m", "qpidha", "demo", "--out", str(tmp_path / "out"), *words],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def processes_of(tmp_path: Path) -> list[str]:
    """Command lines that name the directory: brokers that are still alive."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(tmp_path) in line and "broker.py" in line:
            found.append(line)
    return found


def test_one_kill_and_nothing_is_lost(tmp_path: Path) -> None:
    content = os.urandom(200_000) + b"\n" * 3000 + b"no end"
    (tmp_path / "input").write_bytes(content)
    with start(tmp_path, "--input", str(tmp_path / "input"), "--kills", "1") as demo:
        output, _ = demo.communicate(timeout=90)
    assert demo.returncode == 0, output
    assert "\x1b" not in output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["went_in"] == report["came_out"] == hashlib.sha256(content).hexdigest()
    assert report["kills"][0]["failover_s"] > 0
    assert (report["missing"], report["left_in_queue"], report["verdict"]) == (0, 0, "nothing lost")
    assert not list(tmp_path.glob("qpidha-demo-*"))
    assert not processes_of(tmp_path)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_an_interrupted_demo_stops_its_brokers(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with start(tmp_path, "--short", "--memory") as demo:
        deadline = time.monotonic() + 30
        while len(processes_of(tmp_path)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=30)
    assert demo.returncode == code, output
    while processes_of(tmp_path):
        assert time.monotonic() < deadline + 30, "brokers are still alive"
        time.sleep(0.05)
    if number is not signal.SIGKILL:
        assert not list(tmp_path.glob("qpidha-demo-*"))
