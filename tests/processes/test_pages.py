"""The programs in README and on the getting-started page do what the pages say, and end cleanly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpidha.engines.ports import free_ports
from qpidha.journal import StoreState
from qpidha.stores import read_status

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGTERM, signal.SIGINT)
LONG_S = 30.0


def program(page: str) -> str:
    """Return the only complete program on a page."""
    shown: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    whole = [code for code in shown if "asyncio.run(main(" in code]
    assert len(whole) == 1, f"{page} shows {len(whole)} programs"
    return whole[0]


LIKE_PROCESS_1 = """
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Like process 1 of a container: signals without a handler are ignored."""


@contextmanager
def running(command: list[str], directory: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", LIKE_PROCESS_1, *command],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str], text: str) -> str:
    """Read the output up to the first line that contains this text, and return the line."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"it never said {text!r}: {process.communicate()[1]}")


def ends(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send the signal and check that the process ends with exit code 0 and without a traceback."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=LONG_S)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("page", "arguments", "store"),
    [("README.md", [], "data/a"), ("docs/getting-started.md", ["a", "ha"], "ha/a")],
)
def test_a_program_of_a_page_publishes_and_ends_in_order(
    page: str, arguments: list[str], store: str, number: signal.Signals, tmp_path: Path
) -> None:
    """The program prints that a message is safe; after the signal its store is clean."""
    (tmp_path / "broker.py").write_text(program(page))
    with running(["broker.py", *arguments], tmp_path) as process:
        said(process, "safe on ['a']")
        ends(process, number)
    assert read_status(tmp_path / store).state is StoreState.CLEAN


@pytest.mark.parametrize("number", SIGNALS)
def test_a_backup_of_the_page_ends_in_order(number: signal.Signals, tmp_path: Path) -> None:
    """The backup was never primary; the primary goes on alone, and ends cleanly too."""
    (tmp_path / "broker.py").write_text(program("docs/getting-started.md"))
    command = ["broker.py"]
    with running([*command, "a", "ha"], tmp_path) as first:
        said(first, "safe on ['a']")
        with running([*command, "b", "ha"], tmp_path) as second:
            said(first, "safe on ['a', 'b']")
            ends(second, number)
        said(first, "safe on ['a']")
        ends(first, number)
    for name in ("a", "b"):
        assert read_status(tmp_path / "ha" / name).state is StoreState.CLEAN


@pytest.mark.parametrize("number", SIGNALS)
def test_the_example_broker_ends_in_order(number: signal.Signals, tmp_path: Path) -> None:
    client = f"127.0.0.1:{next(free_ports())}"
    broker = str(ROOT / "examples" / "simple" / "broker.py")
    command = [broker, "--id", "a", "--dir", "a", "--cluster", "c", "--client", client]
    with running(command, tmp_path) as process:
        deadline = time.monotonic() + LONG_S
        while not (tmp_path / "a" / "control.sock").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        ends(process, number)
    assert read_status(tmp_path / "a").stop is not None, "it may not have been primary yet"
