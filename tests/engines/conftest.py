"""Ensembles that the tests of one process share: starting one takes seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.engines.etcd import Ensemble
from tests.engines.postgresql import Pair, running
from tests.engines.zookeeper import Ensemble as ZooKeeper


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three members of etcd that run when the first test begins. A test may damage them: call `start` first."""
    made = Ensemble.make(tmp_path_factory.mktemp("etcd"))
    try:
        asyncio.run(made.start())
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    """Three members of ZooKeeper, as `ensemble`."""
    made = ZooKeeper.make(tmp_path_factory.mktemp("zookeeper"))
    try:
        asyncio.run(made.start())
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    """A primary of PostgreSQL and its standby. A test may damage them, and promotes none."""
    with running() as made:
        yield made
