"""Virtual time: it always goes on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from qpidha.testing.rehearsal.loop import VirtualLoop
from qpidha.testing.rehearsal.network import Network

TURNS_MAX = 10


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop(Network(random.Random(1)))


async def sleeping(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def waiting(seconds: float) -> None:
    try:
        await asyncio.wait_for(asyncio.Event().wait(), seconds)
    except asyncio.TimeoutError:
        return


@pytest.mark.parametrize("wait", [sleeping, waiting])
@pytest.mark.parametrize("early_s", [1e-16, 1e-12, 3e-10, 1e-9, 2e-9])
def test_who_waits_for_what_is_left_of_a_time_gets_there(
    loop: VirtualLoop, wait: Callable[[float], Awaitable[None]], early_s: float
) -> None:
    """Another timer just before it makes asyncio wake both at once, the later one too early."""

    async def main() -> int:
        until = loop.time() + 1.0
        loop.call_at(until - early_s, lambda: None)
        turns = 0
        while (left_s := until - loop.time()) > 0 and turns < TURNS_MAX:
            turns += 1
            await wait(left_s)
        return turns

    try:
        assert loop.run_until_complete(main()) < TURNS_MAX
    finally:
        loop.close()


def test_a_wait_without_a_timer_is_a_deadlock(loop: VirtualLoop) -> None:
    with pytest.raises(RuntimeError, match="deadlock"):
        loop.run_until_complete(asyncio.Event().wait())
    loop.close()


def test_sets_of_futures_and_tasks_have_the_order_in_which_they_were_made(loop: VirtualLoop) -> None:
    async def main() -> None:
        futures = [loop.create_future() for _ in range(100)]
        assert list({*futures[::-1]}) == futures
        tasks = [asyncio.ensure_future(sleeping(0)) for _ in range(100)]
        assert list({*tasks[::-1]}) == tasks
        done, _ = await asyncio.wait(tasks)
        assert list(done) == tasks

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
