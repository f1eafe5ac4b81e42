"""Whatever a few bytes ask for, decoding them takes a known multiple of what they are (Z1, L5)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.fuzz.bombs import BOMBS, MULTIPLE

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")


GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""What was freed before must not be there for the decoder to use again."""


def outcomes(multiple: float) -> dict[str, str]:
    program = [sys.executable, "-m", "tests.fuzz.bombs", str(multiple)]
    done = subprocess.run(program, env=os.environ | GIVE_BACK, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return {name: ended for name, _, ended in lines}


def test_memory_is_bounded_by_a_multiple_of_the_input() -> None:
    found = outcomes(MULTIPLE)
    assert set(found) == set(BOMBS)
    assert set(found.values()) == {"accepted", "refused"}, found


def test_the_limit_is_felt() -> None:
    """With the room alone, large inputs do not fit: so the limit is in force, for Python and for C."""
    found = outcomes(0)
    assert found["msgpack: arrays of one"] == "out of memory"
    assert found["subscribe: a long lineage"] == "out of memory"
    assert found["ids: half a million runs of two bytes"] == "out of memory"
    assert found["ids: 2**60 runs announced"] == "refused"
