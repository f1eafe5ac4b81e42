"""Primaries of real brokers are killed while their record is in an engine: the next one does not wait for the session."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.engines.engine import Engine
from tests.engines.kills import measure

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]
KILLS = 1


def test_each_confirmed_message_survives_a_kill(engine: Engine, tmp_path: Path) -> None:
    asyncio.run(engine.start())
    assert len(asyncio.run(measure(tmp_path, KILLS, engine.url(tmp_path, "/qpidha/kills")))) == KILLS
