"""Primaries of real brokers are killed while their record is in etcd: the next one does not wait for the lease."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.engines.etcd import Ensemble
from tests.engines.kills import measure

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


def test_each_confirmed_message_survives_three_kills(ensemble: Ensemble, tmp_path: Path) -> None:
    took_s = asyncio.run(measure(tmp_path, 3, ensemble.url(tmp_path, "/qpidha/kills")))
    assert len(took_s) == 3
