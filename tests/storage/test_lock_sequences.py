"""All sequences of three actions on the locks, names and processes of a store. A unit test covers two actions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent.parent / "support" / "lock_sequences.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_three_actions_let_two_processes_use_one_store() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM), "3"],
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert done.stdout == "1000 sequences, 0 wrong\n", done.stdout + done.stderr
