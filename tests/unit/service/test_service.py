"""A service manager hears that a node starts, is ready, what it is, lives and stops, after a hand-over."""

from __future__ import annotations

import asyncio
import time

import pytest

from qpidha.errors import ArgumentError, StoreFailed
from qpidha.service import Service
from qpidha.service.notify import Notifier
from tests.support.harness import World, run, until


class Heard(Notifier):
    """What was said."""

    def __init__(self, watchdog_s: float | None = 0.04, *, managed: bool = True) -> None:
        super().__init__({"NOTIFY_SOCKET": "/nowhere"} if managed else {})
        self.watchdog_s = watchdog_s
        self.said: list[dict[str, str | int]] = []

    def tell(self, **state: str | int) -> None:
        self.said.append(state)

    def all(self, name: str) -> list[str | int]:
        return [state[name] for state in self.said if name in state]


def test_a_primary_is_ready_when_it_serves_and_hands_over_when_it_leaves() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        heard = Heard()
        async with Service(a, notifier=heard) as service:
            await until(lambda: len(heard.all("WATCHDOG")) > 3)
            assert heard.all("READY") == [] and len(heard.all("EXTEND_TIMEOUT_USEC")) > 3
            b = await world.start("b")
            await a.promote()
            await until(lambda: heard.all("READY") == [1])
            await until(lambda: heard.all("STATUS")[-1] == "active: serves as primary of generation 1")
            extended = len(heard.all("EXTEND_TIMEOUT_USEC"))
            await until(lambda: len(heard.all("WATCHDOG")) > 20)
            assert len(heard.all("EXTEND_TIMEOUT_USEC")) <= extended + 1 and heard.all("READY") == [1]
            await until(lambda: b.status().in_sync)
            await service.leave()
            assert heard.all("STOPPING") == [1] and heard.all("STATUS")[-1] == "stopping: hands over"
            assert a.status().role != "active"
        said = len(heard.said)
        await asyncio.sleep(0.1)
        assert len(heard.said) == said, "after the stop nothing is said"

    run(main)


def test_a_backup_is_ready_when_it_is_in_sync() -> None:
    async def main(world: World) -> None:
        _, b = await world.cluster("a", "b")
        heard = Heard()
        async with Service(b, notifier=heard) as service:
            await until(lambda: heard.all("READY") == [1])
            assert heard.all("STATUS")[-1] == "ready: in sync with a, can take over"
            await service.leave()
        assert "stopping: hands over" not in heard.all("STATUS")

    run(main)


def test_a_loop_that_hangs_is_not_reported_alive() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        heard = Heard()
        async with Service(a, notifier=heard):
            await until(lambda: len(heard.all("WATCHDOG")) > 2)
            before = len(heard.said)
            time.sleep(0.3)  # noqa: ASYNC251 - it is the subject
            assert len(heard.said) == before

    run(main)


def test_a_node_whose_store_failed_is_not_alive() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        heard = Heard()
        async with Service(a, notifier=heard):
            await until(lambda: len(heard.all("WATCHDOG")) > 2)
            a._parts.life.store_failed(StoreFailed("disk full"))
            await a.stop()
            before = len(heard.all("WATCHDOG"))
            await asyncio.sleep(0.1)
            assert len(heard.all("WATCHDOG")) <= before + 1
            assert "the node has stopped" in str(heard.all("STATUS")[-1])

    run(main)


def test_without_a_manager_it_only_hands_over() -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        heard = Heard(managed=False)
        async with Service(a, notifier=heard) as service:
            await asyncio.sleep(0.1)
            assert heard.said == []
            await service.leave()
        assert a.status().role != "active"

    run(main)


def test_a_hand_over_that_fails_does_not_hold_up_the_stop() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        await Service(a, hand_over_s=0.0).leave()
        await Service(a).leave()  # There is no heir.
        assert a.status().role == "active"

    run(main)


def test_a_wrong_time_is_refused() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        with pytest.raises(ArgumentError):
            Service(a, hand_over_s=-1.0)
        with pytest.raises(ArgumentError):
            Service("a")  # type: ignore[arg-type]

    run(main)
