"""Long work in slices leaves turns to the rest of the loop, and stops between two steps when it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from qpidha.node.slices import SLICE_S, in_slices


class Clock:
    """Time that passes only by the steps of a test."""

    def __init__(self, monkeypatch_loop: asyncio.AbstractEventLoop) -> None:
        self.now = 0.0
        monkeypatch_loop.time = lambda: self.now


def steps(done: list[int], clock: Clock, count: int, cost_s: float) -> Iterator[None]:
    for n in range(count):
        clock.now += cost_s
        done.append(n)
        yield


def test_short_work_is_done_in_one_turn() -> None:
    async def main() -> None:
        clock, done, turns = Clock(asyncio.get_running_loop()), list[int](), list[int]()
        asyncio.get_running_loop().call_soon(lambda: turns.append(len(done)))
        await in_slices(steps(done, clock, 10, SLICE_S / 100))
        assert (len(done), turns) == (10, [])

    asyncio.run(main())


def test_long_work_gives_others_a_turn_after_each_slice() -> None:
    async def main() -> None:
        clock, done, turns = Clock(asyncio.get_running_loop()), list[int](), list[int]()

        def turn() -> None:
            turns.append(len(done))
            asyncio.get_running_loop().call_soon(turn)

        asyncio.get_running_loop().call_soon(turn)
        await in_slices(steps(done, clock, 9, SLICE_S * 0.6))
        assert len(done) == 9
        assert len(turns) >= 3 and turns == sorted(turns)

    asyncio.run(main())


def test_a_cancelled_work_ends_between_two_steps() -> None:
    async def main() -> None:
        clock, done = Clock(asyncio.get_running_loop()), list[int]()
        task = asyncio.ensure_future(in_slices(steps(done, clock, 1000, SLICE_S * 2)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert 0 < len(done) < 1000

    asyncio.run(main())
