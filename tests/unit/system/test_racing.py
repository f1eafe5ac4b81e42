"""The first attempt that succeeds wins; the others are begun late, cancelled, and undone if they had succeeded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from qpidha.system.racing import AllFailed, first_of
from tests.support.harness import until

Attempt = Callable[[], Coroutine[Any, Any, str]]


class Race:
    """Attempts by name, and what happened to each."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.go = asyncio.Event()

    def answers(self, name: str) -> Attempt:
        async def attempt() -> str:
            self.happened.append(f"{name} begins")
            return name

        return attempt

    def fails(self, name: str, error: type[Exception] = OSError) -> Attempt:
        async def attempt() -> str:
            self.happened.append(f"{name} begins")
            raise error(name)

        return attempt

    def waits(self, name: str, *, stubborn: bool = False) -> Attempt:
        async def attempt() -> str:
            self.happened.append(f"{name} begins")
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.happened.append(f"{name} is cancelled")
                if not stubborn:
                    raise
            return name

        return attempt

    async def run(self, *attempts: Attempt, stagger_s: float = 0.0) -> tuple[int, str]:
        undo = lambda name: self.happened.append(f"{name} is undone")  # noqa: E731
        return await first_of(attempts, (OSError,), undo, stagger_s)


def play(main: Callable[[Race], Coroutine[Any, Any, None]]) -> None:
    async def work() -> None:
        await main(Race())

    asyncio.run(work())


def test_while_the_first_is_quick_no_other_is_begun() -> None:
    async def main(race: Race) -> None:
        assert await race.run(race.answers("a"), race.answers("b"), stagger_s=60.0) == (0, "a")
        assert race.happened == ["a begins"]

    play(main)


def test_after_a_failure_the_next_is_begun_at_once() -> None:
    async def main(race: Race) -> None:
        assert await race.run(race.fails("a"), race.answers("b"), stagger_s=60.0) == (1, "b")

    play(main)


def test_a_silent_one_is_overtaken_and_cancelled() -> None:
    async def main(race: Race) -> None:
        assert await race.run(race.waits("a"), race.answers("b")) == (1, "b")
        assert race.happened == ["a begins", "b begins", "a is cancelled"]

    play(main)


def test_a_slow_one_can_still_win() -> None:
    async def main(race: Race) -> None:
        asyncio.get_running_loop().call_later(0.05, race.go.set)
        assert await race.run(race.waits("a"), race.fails("b"), race.fails("c")) == (0, "a")

    play(main)


def test_what_succeeds_too_late_is_undone() -> None:
    async def main(race: Race) -> None:
        assert await race.run(race.waits("a", stubborn=True), race.answers("b")) == (1, "b")
        assert race.happened[-2:] == ["a is cancelled", "a is undone"]

    play(main)


def test_two_that_succeed_in_one_turn_have_one_winner() -> None:
    async def main(race: Race) -> None:
        asyncio.get_running_loop().call_later(0.05, race.go.set)
        assert await race.run(race.waits("a"), race.waits("b")) == (0, "a")
        assert race.happened == ["a begins", "b begins", "b is undone"]

    play(main)


def test_without_any_success_all_failures_are_raised() -> None:
    async def main(race: Race) -> None:
        with pytest.raises(AllFailed, match="a; b") as caught:
            await race.run(race.fails("a"), race.fails("b"))
        assert [str(error) for error in caught.value.errors] == ["a", "b"]

    play(main)


def test_an_error_that_no_attempt_may_raise_ends_the_race() -> None:
    async def main(race: Race) -> None:
        with pytest.raises(ZeroDivisionError):
            await race.run(race.waits("a"), race.fails("b", ZeroDivisionError), race.answers("c"))
        assert "a is cancelled" in race.happened and "c begins" not in race.happened

    play(main)


def test_a_race_that_is_cancelled_cancels_its_attempts() -> None:
    async def main(race: Race) -> None:
        running = asyncio.ensure_future(race.run(race.waits("a"), race.waits("b")))
        await until(lambda: len(race.happened) == 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert race.happened[2:] == ["a is cancelled", "b is cancelled"]

    play(main)
