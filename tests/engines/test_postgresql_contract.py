"""`PostgreSqlRecordStore` on real servers keeps every rule of `RecordStore` and `Session`."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpidha.records import PostgreSqlRecordStore
from qpidha.testing import conformance
from qpidha.testing.conformance import Check
from tests.engines.postgresql import Pair

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


class Factory:
    """Makes two stores on a new record each time."""

    def __init__(self) -> None:
        self.pair: Pair | None = None
        self.made = 0

    def __call__(self, directory: Path) -> tuple[PostgreSqlRecordStore, PostgreSqlRecordStore]:
        assert self.pair is not None
        self.made += 1
        name = f"contract/{self.made}"
        return self.pair.store(name), self.pair.store(name)


FACTORY = Factory()


@pytest.mark.parametrize("check", conformance.record_checks(FACTORY), ids=str)
def test_postgresql(check: Check, pair: Pair) -> None:
    FACTORY.pair = pair
    check()
