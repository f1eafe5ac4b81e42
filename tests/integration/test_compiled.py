"""Compiled or not, the same inputs have the same effects: walks of the simulator, compared call by call.

Method: two processes walk the same seeds, one with compiled modules and one without. Each digests all that the cores are
asked and answer, every `Ready` with its frames, changes and completions above all, and what lies on the disks in the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qpidha import compiled
from qpidha.testing import Walk
from tests.simulation.test_seeds import SAVED
from tests.support.missing import leave_out

ROOT = Path(__file__).resolve().parents[2]
RUNS = 8
"""Seeds of each profile."""


def walked(pure: str, first: int, runs: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.effects", str(first), str(runs)],
        cwd=ROOT,
        env={**os.environ, "QPIDHA_PURE": pure, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
@pytest.mark.processes
def test_the_same_inputs_have_the_same_effects() -> None:
    if not compiled.built():
        leave_out("no modules are compiled of these sources: make compiled")
    written, built = walked("1", 0, RUNS), walked("0", 0, RUNS)
    assert not written["running"] and not any(written["compiled"].values()), "the sources were to run"
    assert built["running"] and all(built["compiled"].values()), "the compiled modules were to run"
    for one, other in zip(written["walks"], built["walks"], strict=True):
        assert one == other, f"seed {one['seed']} of the profile {one['profile']}"
    assert not [walk["error"] for walk in written["walks"] if walk["error"]]
    assert sum(walk["calls"] for walk in written["walks"]) > 100_000, "the walks do too little"
    assert sum(walk["acknowledged"] for walk in written["walks"]) > 10 * RUNS


def test_an_error_of_one_way_would_be_seen() -> None:
    """Other seeds have other digests: the comparison above can fail."""
    walks = walked("1", 0, 2)["walks"]
    assert len({walk["digest"] for walk in walks}) == len(walks)


@pytest.mark.parametrize("seed", SAVED)
def test_seeds_that_once_found_something(seed: int) -> None:
    """On compiled modules, if they are there; `tests/simulation` runs the sources."""
    Walk(seed).run()
