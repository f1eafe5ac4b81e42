"""A loop in a thread runs coroutines for other threads, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from qpidha.bridge import LoopThread
from qpidha.errors import LocalProtocolError


async def here() -> str:
    return threading.current_thread().name


def test_a_coroutine_runs_in_the_thread_and_its_result_comes_back() -> None:
    loop = LoopThread("there")
    assert loop.run(here()) == "there"
    loop.close()
    assert not [t for t in threading.enumerate() if t.name == "there"]


def test_an_error_of_the_coroutine_reaches_the_caller() -> None:
    async def fails() -> None:
        raise TimeoutError("my own")

    loop = LoopThread("there")
    with pytest.raises(TimeoutError, match="my own"):
        loop.run(fails())
    loop.close()


def test_a_coroutine_that_takes_too_long_is_cancelled() -> None:
    cancelled = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    loop = LoopThread("there")
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        loop.run(waits(), 0.01)
    assert cancelled.wait(10)
    loop.close()


def test_waiting_in_its_own_thread_is_refused() -> None:
    """It would wait for itself for ever."""
    loop = LoopThread("there")

    async def waits_for_itself() -> None:
        loop.run(here())

    with pytest.raises(LocalProtocolError, match="own thread"):
        loop.run(waits_for_itself())
    loop.close()


def test_close_ends_tasks_and_later_calls_are_refused() -> None:
    ended = threading.Event()

    async def works() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def begin() -> None:
        loop.keep = asyncio.ensure_future(works())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    loop = LoopThread("there")
    loop.run(begin())
    loop.close()
    loop.close()
    assert ended.is_set()
    with pytest.raises(LocalProtocolError, match="closed"):
        loop.run(here())
    loop.post(ended.clear)
    assert ended.is_set(), "a closed loop calls nothing"


def test_a_task_that_misses_its_first_cancellation_is_cancelled_again() -> None:
    """As `asyncio.wait_for` does before Python 3.12, when both happen in one turn of the loop."""
    ended = threading.Event()

    async def misses_one() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def begin() -> None:
        loop.keep = asyncio.ensure_future(misses_one())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    loop = LoopThread("there")
    loop.run(begin())
    loop.close()
    assert ended.is_set()
