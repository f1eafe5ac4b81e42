"""Waits for a state of the node: woken by changes, ended by their time, and independent of one another."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from qpidha.node.waits import Waits


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def test_a_state_that_is_reached_needs_no_wait() -> None:
    async def main() -> None:
        assert await Waits(asyncio.get_running_loop().time).until(lambda: True, 0)

    run(main())


def test_a_wait_ends_with_the_change_that_reaches_its_state() -> None:
    async def main() -> None:
        waits, state = Waits(asyncio.get_running_loop().time), list[int]()
        first = asyncio.ensure_future(waits.until(lambda: len(state) >= 1, None))
        second = asyncio.ensure_future(waits.until(lambda: len(state) >= 2, None))
        await asyncio.sleep(0)
        state.append(1)
        waits.look()
        assert await first
        assert not second.done()
        state.append(2)
        waits.look()
        assert await second

    run(main())


def test_a_wait_whose_time_is_over_says_whether_it_was_reached() -> None:
    async def main() -> None:
        waits, state = Waits(asyncio.get_running_loop().time), list[int]()
        assert not await waits.until(lambda: False, 0.01)
        task = asyncio.ensure_future(waits.until(lambda: bool(state), 0.05))
        await asyncio.sleep(0)
        state.append(1)  # Nothing checked the state meanwhile: the last check of the wait sees it.
        assert await task

    run(main())


def test_an_error_of_a_condition_ends_only_its_own_wait() -> None:
    async def main() -> None:
        waits, broken = Waits(asyncio.get_running_loop().time), list[int]()

        def condition() -> bool:
            if broken:
                raise RuntimeError("broken")
            return False

        bad = asyncio.ensure_future(waits.until(condition, None))
        good = asyncio.ensure_future(waits.until(lambda: bool(broken), None))
        await asyncio.sleep(0)
        broken.append(1)
        waits.look()
        assert await good
        with pytest.raises(RuntimeError, match="broken"):
            await bad

    run(main())


def test_a_cancelled_wait_is_forgotten() -> None:
    async def main() -> None:
        waits, asked = Waits(asyncio.get_running_loop().time), list[int]()

        def condition() -> bool:
            asked.append(1)
            return False

        task = asyncio.ensure_future(waits.until(condition, None))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        before = len(asked)
        waits.look()
        assert len(asked) == before

    run(main())
