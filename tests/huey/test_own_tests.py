"""huey's own tests, on the replicated storage: those of storages, of the whole interface, and of the consumer.

They are part of the huey package. Nobody here wrote them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

os.environ["HUEY_SLOW_TESTS"] = "1"  # Read when the tests are imported.

from huey.tests import base, test_api, test_consumer, test_priority, test_signals, test_storage
from huey_ha import Consumer
from huey_ha.consumer import Scheduler

from qpidha import Node
from tests.huey.clusters import cluster, huey_on, storage

primary: Node
names = count()


@pytest.fixture(scope="module", autouse=True)
def nodes() -> Iterator[None]:
    global primary
    with cluster("a", "b") as (primary, _):
        yield


OF_OTHERS = {"test_chord_bookkeeping_cleared": "it reads an attribute of MemoryStorage"}
"""Tests that this storage cannot pass, and why."""


class OnTheCluster(base.BaseTestCase):
    """Each test has a huey of its own."""

    consumer_class = Consumer

    def get_huey(self) -> Any:
        return huey_on(storage(primary, f"huey-{next(names)}"))


def on_the_cluster(module: Any) -> Iterator[Any]:
    """The test classes of a module that take whatever huey they are given."""
    given = base.BaseTestCase.get_huey
    for name, found in vars(module).items():
        if isinstance(found, type) and getattr(found, "get_huey", None) is given and "Base" not in name:
            of_others = dict.fromkeys(OF_OTHERS.keys() & vars(found).keys())
            yield name, type(name, (OnTheCluster, found), of_others)


class RestlessScheduler(Scheduler):
    """As that of huey's tests of the consumer, which call its loop themselves."""

    def sleep_for_interval(self, start_ts: float, nseconds: float) -> None:
        self.huey.storage.commit()


class RestlessConsumer(Consumer):
    scheduler_class = RestlessScheduler


class TestReplicatedStorage(test_storage.StorageTests, OnTheCluster):
    pass


for _module in (test_api, test_consumer, test_priority, test_signals):
    globals().update(on_the_cluster(_module))
TestConsumerIntegration.consumer_class = RestlessConsumer  # type: ignore[name-defined]  # noqa: F821
