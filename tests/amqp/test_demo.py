"""``qpidha demo --broker amqp``: Proton's clients, a primary that is killed, and a verdict that notices a loss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LINES = 1500
LOSES_ONE = """
import sys
sys.path.insert(0, {folder!r})
from amqp_broker import incoming, sections
from amqp_broker.__main__ import main
publish_all = incoming.publish

def publish(term, target, data, confirm):
    confirm() if b"line 700\\n" in data else publish_all(term, target, data, confirm)

incoming.publish = publish
sections.PUBLISHER = "nobody"
main()
"""
"""It accepts one message and forgets it. It does not look at numbers, so it sees no gap."""

REFUSES = """
import sys
sys.path.insert(0, {folder!r})
from amqp_broker import incoming
from amqp_broker.__main__ import main
from amqp_broker.refusals import INTERNAL, Refused

def publish(*_):
    raise Refused(INTERNAL, "out of order")

incoming.publish = publish
main()
"""


def demo(tmp_path: Path, *words: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output and report."""
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(b"line %d\n" % n for n in range(LINES)))
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "qpidha", "demo", "--input", str(lines), "--out", str(out), *words],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, text=True, capture_output=True, timeout=200,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr, json.loads((out / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_nothing_is_lost(tmp_path: Path) -> None:
    code, output, report = demo(tmp_path, "--broker", "amqp", "--kills", "2")
    assert code == 0, output
    assert "3 of examples/amqp" in output
    assert (report["acknowledged"], report["distinct"], report["missing"]) == (LINES, LINES, 0)
    assert report["went_in"] == report["came_out"]
    assert [kill["failover_s"] > 0 for kill in report["kills"]] == [True, True]
    assert not list(tmp_path.glob("qpidha-demo-*"))


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_a_lost_message_is_noticed(tmp_path: Path) -> None:
    example = ROOT / "examples" / "amqp"
    (tmp_path / "broker.py").write_text(LOSES_ONE.format(folder=str(example)))
    for name in ("client.py", "amqp_broker"):
        (tmp_path / name).symlink_to(example / name)
    code, output, report = demo(tmp_path, "--broker", str(tmp_path / "broker.py"), "--kills", "0")
    assert code == 1, output
    assert (report["missing"], report["distinct"]) == (1, LINES - 1)
    assert "FAILED: 1 acknowledged messages were lost" in output


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_a_client_that_ends_fails_the_demo_in_one_line(tmp_path: Path) -> None:
    example = ROOT / "examples" / "amqp"
    (tmp_path / "broker.py").write_text(REFUSES.format(folder=str(example)))
    for name in ("client.py", "amqp_broker"):
        (tmp_path / name).symlink_to(example / name)
    code, output, _ = demo(tmp_path, "--broker", str(tmp_path / "broker.py"), "--kills", "0")
    assert code == 1, output
    assert "FAILED: the client has ended: the broker rejects a message" in output
    assert "out of order" in output and "Traceback" not in output
