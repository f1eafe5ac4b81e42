"""Fixtures of the storage tests, and their effort: `make crash-states ARGS=--full` tries everything."""

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
    """Whether ``--full`` was given; False also if pytest does not know the option, since it started elsewhere."""
    return bool(request.config.getoption("--full", False))


@pytest.fixture(scope="session")
def effort(full: bool) -> Effort:
    return FULL if full else QUICK


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A directory in memory, where an fsync costs nothing, if there is one: thousands of stores are opened here."""
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
