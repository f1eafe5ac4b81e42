"""A seed decides a whole run: a rehearsal that fails does so each time, in each process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qpidha.testing.rehearsal import Rehearsal
from tests.rehearsal import example, wide

ROOT = Path(__file__).parents[2]


def digest(kind: str, seed: int) -> str:
    """Of all that happened in a run."""
    if kind == "example":
        made = Rehearsal(example.node(), example.publish, example.consume, seed=seed, values=100)
    else:
        made = Rehearsal(
            wide.node(wide.Session),
            wide.publish,
            wide.consume,
            seed=seed,
            values=60,
            publishers=2,
            consumers=3,
            requests=wide.Requests,
            rounds=2,
        )
    report = made.run()
    events = [*report.log, *map(str, made.clients.ledger.events)]
    assert len(events) > 100, "else there is little to compare"
    return hashlib.sha256("\n".join(events).encode()).hexdigest()


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["example", "wide"])
def test_a_seed_decides_a_whole_run_in_each_process(kind: str) -> None:
    """The hashes of strings and of objects, and so the order of sets of them, differ between processes."""
    code = f"from tests.rehearsal.test_repeated import digest; print(digest({kind!r}, 5))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hashes},
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        for hashes in ("0", "1", "2")
    }
    assert found == {digest(kind, 5) + "\n"}
