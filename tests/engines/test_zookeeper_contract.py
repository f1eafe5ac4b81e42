"""`ZooKeeperRecordStore` on a real ensemble, with TLS and a login, keeps every rule of `RecordStore` and `Session`."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpidha.records import ZooKeeperRecordStore
from qpidha.testing import conformance
from qpidha.testing.conformance import Check
from tests.engines.zookeeper import Ensemble

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


class Factory:
    """Makes two stores on a new record each time."""

    def __init__(self) -> None:
        self.ensemble: Ensemble | None = None
        self.made = 0

    def __call__(self, directory: Path) -> tuple[ZooKeeperRecordStore, ZooKeeperRecordStore]:
        assert self.ensemble is not None
        self.made += 1
        prefix = f"/qpidha/contract-{self.made}"
        return self.ensemble.store(prefix), self.ensemble.store(prefix, first=1)


FACTORY = Factory()


@pytest.mark.parametrize("check", conformance.record_checks(FACTORY), ids=str)
def test_zookeeper(check: Check, zookeeper: Ensemble) -> None:
    FACTORY.ensemble = zookeeper
    check()
