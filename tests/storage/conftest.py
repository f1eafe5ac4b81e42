"""The bench of the storage tests, and how much they try: `make crash-states ARGS=--full` for all of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.crash import FULL, QUICK, Effort
from tests.storage.shim import Bench, compile_shim


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="storage: every fault of every call, more crash states"
    )


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Also where the option is not known, since the tests of another directory were asked for."""
    return bool(request.config.getoption("--full", False))


@pytest.fixture(scope="session")
def effort(full: bool) -> Effort:
    return FULL if full else QUICK


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A directory where an fsync costs nothing, if there is such a place: thousands of stores are opened here."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name).resolve()


@pytest.fixture(scope="session")
def bench(memory: Path) -> Iterator[Bench]:
    scratch = memory / "bench"
    scratch.mkdir()
    with Bench(compile_shim(scratch), scratch) as bench:
        yield bench


@pytest.fixture
def place(memory: Path) -> Iterator[Path]:
    """An empty directory for the files of one workload."""
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)
