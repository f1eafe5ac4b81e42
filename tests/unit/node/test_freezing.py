"""What a node takes out of the sight of the garbage collector: nothing, unless its settings say so."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from uuid import UUID

import pytest

from qpidha import Node, Settings, Settle
from qpidha.errors import SettingsError
from qpidha.journal import PutQueue
from qpidha.node.freezing import GROWTH, STEP_MIN, Freezing, Pause
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores import MemoryStore
from qpidha.transports import TcpTransport
from qpidha.types import QueueSpec
from tests.support.harness import Recorder


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_nothing_is_frozen_by_default() -> None:
    assert Settings().gc_policy == "leave"
    freezing = Freezing(enabled=False)
    freezing.grown(10**6)
    freezing.freeze()
    assert gc.get_freeze_count() == 0


def test_frozen_again_after_another_eighth(monkeypatch: pytest.MonkeyPatch) -> None:
    at: list[int] = []
    freezing = Freezing(enabled=True)
    monkeypatch.setattr(freezing, "freeze", lambda: at.append(count))
    for count in range(0, 80 * STEP_MIN, 10):
        freezing.grown(count)
    assert at[:3] == [STEP_MIN, 2 * STEP_MIN, 3 * STEP_MIN]
    assert 0 <= at[-1] - at[-2] - at[-2] // GROWTH < 10
    assert at[-1] - at[-2] > STEP_MIN


def test_what_has_shrunk_is_frozen_when_it_grows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    at: list[int] = []
    freezing = Freezing(enabled=True)
    for count in (16 * STEP_MIN, STEP_MIN, 2 * STEP_MIN - 1, 2 * STEP_MIN):
        monkeypatch.setattr(freezing, "freeze", lambda count=count: at.append(count))
        freezing.grown(count)
    assert at == [16 * STEP_MIN, 2 * STEP_MIN]


def test_what_is_frozen_is_freed_when_nothing_refers_to_it() -> None:
    kept = [[n] for n in range(5000)]
    Freezing(enabled=True).freeze()
    before = gc.get_freeze_count()
    assert before >= 5000
    kept.clear()
    assert gc.get_freeze_count() <= before - 5000


def test_nothing_is_collected_while_a_store_is_loaded() -> None:
    freezing = Freezing(enabled=True)
    with freezing.loading():
        assert not gc.isenabled()
        with freezing.loading():  # Another node of the same process.
            pass
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() > 0
    with Freezing(enabled=False).loading():
        assert gc.isenabled()


def test_collections_go_on_after_a_load_that_failed() -> None:
    with pytest.raises(OSError, match="damaged"), Freezing(enabled=True).loading():
        raise OSError("damaged")
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_a_collector_that_was_off_stays_off() -> None:
    pause = Pause()
    gc.disable()
    try:
        pause.begin()
        pause.end()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_nothing_is_collected_while_very_many_queues_are_stored() -> None:
    put = PutQueue(UUID(int=1), QueueSpec(name="q", settle=Settle.REPLICATED), ((1, 1),), 1)
    freezing = Freezing(enabled=True)
    assert freezing.storing([put] * (STEP_MIN - 1)) is None
    assert Freezing(enabled=False).storing([put] * STEP_MIN) is None
    around = freezing.storing([put] * STEP_MIN)
    assert around is not None
    with around:
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() > 0


@pytest.mark.parametrize("enabled", [False, True])
def test_a_node_freezes_what_it_has_loaded(enabled: bool) -> None:
    async def main() -> None:
        node = Node(
            "a", broker=Recorder(), store=MemoryStore(), transport=TcpTransport(),
            records=MemoryRecordStore(), settings=Settings(gc_policy="freeze" if enabled else "leave"),
        )  # fmt: skip
        async with node:
            assert (gc.get_freeze_count() > 0) is enabled

    asyncio.run(main())


def test_the_setting_is_a_flag() -> None:
    with pytest.raises(SettingsError, match="gc_policy"):
        Settings(gc_policy=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("enabled", [True, False])
def test_what_loading_has_freed_is_given_back(enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []
    monkeypatch.setattr("qpidha.node.freezing.give_back", lambda: given.append(True))
    Freezing(enabled=enabled).loaded()
    assert given == [True] * enabled
