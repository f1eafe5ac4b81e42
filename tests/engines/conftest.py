"""Engines that the tests of one process share: starting one takes seconds. `run` is a test on one of them."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.engines import case, etcd, postgresql, zookeeper
from tests.engines.engine import Engine, quick_folder

NAMES = ("etcd", "zookeeper", "postgresql")


def started(kind: type[etcd.Ensemble | zookeeper.Ensemble]) -> Iterator[Engine]:
    """Three members that run when the first test begins."""
    folder = quick_folder(kind.name)
    made: Engine | None = None
    try:
        made = kind.make(folder)
        asyncio.run(made.start())
        yield made
    finally:
        if made is not None:
            made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", name="etcd")
def _etcd() -> Iterator[Engine]:
    """Three members of etcd. A test may damage them: call `start` first."""
    yield from started(etcd.Ensemble)


@pytest.fixture(scope="session", name="zookeeper")
def _zookeeper() -> Iterator[Engine]:
    """Three members of ZooKeeper, as `etcd`."""
    yield from started(zookeeper.Ensemble)


@pytest.fixture(scope="session", name="postgresql")
def _postgresql() -> Iterator[Engine]:
    """A primary of PostgreSQL and its standby, as `etcd`."""
    with postgresql.running() as made:
        yield made


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
