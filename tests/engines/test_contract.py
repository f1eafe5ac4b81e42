"""Each record store on its real engine keeps every rule of `RecordStore` and `Session`."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpidha.interfaces import RecordStore
from qpidha.testing import conformance
from qpidha.testing.conformance import Check
from tests.engines.engine import Engine

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


class Factory:
    """Makes two stores on a new record each time."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.made = 0

    def __call__(self, directory: Path) -> tuple[RecordStore, RecordStore]:
        assert self.engine is not None
        self.made += 1
        place = f"/qpidha/contract/{self.made}"
        return self.engine.store(place), self.engine.store(place, first=1)


FACTORY = Factory()


@pytest.mark.parametrize("check", conformance.record_checks(FACTORY), ids=str)
def test_the_rules_of_record_stores(check: Check, engine: Engine) -> None:
    FACTORY.engine = engine
    check()
