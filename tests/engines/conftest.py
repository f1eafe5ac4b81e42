"""Engines that the tests of one process share: starting one takes seconds. `run` is a test on one of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.engines import case, etcd, postgresql, zookeeper
from tests.engines.engine import Engine, quick_folder

NAMES = ("etcd", "zookeeper", "postgresql")


def shared(run: Callable[[Path], AbstractContextManager[Engine]]) -> Iterator[Engine]:
    """An engine that runs when the first test begins."""
    folder = quick_folder()
    try:
        with run(folder / "engine") as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", name="etcd")
def _etcd() -> Iterator[Engine]:
    """Three members of etcd. A test may damage them: call `start` first."""
    yield from shared(etcd.running)


@pytest.fixture(scope="session", name="zookeeper")
def _zookeeper() -> Iterator[Engine]:
    """Three members of ZooKeeper, as `etcd`."""
    yield from shared(zookeeper.running)


@pytest.fixture(scope="session", name="postgresql")
def _postgresql() -> Iterator[Engine]:
    """A primary of PostgreSQL and its standby, as `etcd`."""
    yield from shared(postgresql.running)


@pytest.fixture(params=NAMES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine. A module for one of them parametrises this fixture."""
    made: Engine = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def run(engine: Engine, request: pytest.FixtureRequest, tmp_path: Path) -> case.Run:
    """Runs a test with a new cluster in the engine."""
    place = "/qpidha/" + re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    return partial(case.run, engine, place, tmp_path)
