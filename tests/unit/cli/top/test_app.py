"""The live screen under textual's own pilot: keys, questions, answers, and an error that ends it in one line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from qpidha.cli.top import app as app_module
from qpidha.cli.top.app import Top
from qpidha.cli.top.cluster import Cluster
from qpidha.cli.top.watch import Report
from qpidha.node.ask import NoAnswer
from tests.unit.cli.top.test_view import place, status

Test = Callable[[Top, Pilot[int]], Awaitable[None]]


class Reports:
    """A watch without threads."""

    def __init__(self) -> None:
        self.given: list[Report] = []
        self.asked = 0

    def reports(self) -> Iterator[Report]:
        given, self.given = self.given, []
        return iter(given)

    def ask_now(self) -> None:
        self.asked += 1


@pytest.fixture
def steered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What was asked of nodes."""
    asked: list[tuple[str, ...]] = []

    def steer(socket: object, node: str, command: str) -> str:
        asked.append((node, command))
        return f"{node} did it"

    def explain(socket: object, node: str, words: str) -> list[str]:
        asked.append((node, "why", words))
        return ["message 7 is [bold]safe"]

    monkeypatch.setattr(app_module, "steer", steer)
    monkeypatch.setattr(app_module, "explain", explain)
    return asked


def play(test: Test, *answers: dict[str, Any] | Exception) -> Top:
    """Run the screen of nodes a, b, … that answer this."""
    places = [place(id) for id, _ in zip("abc", answers, strict=False)]
    watch = Reports()
    watch.given = [Report(where, 1.0, answer) for where, answer in zip(places, answers, strict=True)]
    top = Top(Cluster(places, 0.0, silence_max_s=1e9), watch)  # type: ignore[arg-type]

    async def main() -> None:
        async with top.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            await test(top, pilot)

    asyncio.run(main())
    return top


def text(top: Top, id: str = "#view") -> str:
    return str(top.screen_stack[0].query_one(id, Static).content)


def shown(top: Top) -> str:
    """All texts of the screen on top."""
    return "\n".join(str(found.content) for found in top.screen.query(Static))


async def until(top: Top, pilot: Pilot[int], condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError(f"not in time:\n{shown(top)}")


PAIR = (status("a", "active"), status("b"))


def test_it_draws_what_was_reported() -> None:
    async def test(top: Top, pilot: Pilot[int]) -> None:
        assert "primary a" in text(top) and "\n> a " in text(top)
        await pilot.press("down")
        assert "\n> b " in text(top)
        await pilot.press("down", "up")
        assert "\n> b " in text(top)

    assert play(test, *PAIR).failure is None


def test_a_hand_over_is_asked_of_the_primary_after_a_yes(steered: list[tuple[str, ...]]) -> None:
    async def test(top: Top, pilot: Pilot[int]) -> None:
        await pilot.press("h")
        assert "Shall primary a hand over to another member?" in shown(top)
        await pilot.press("n")
        assert "nothing was done" in text(top, "#said") and steered == []
        await pilot.press("h", "enter", "x", "escape")
        assert steered == []
        await pilot.press("h", "y")
        await until(top, pilot, lambda: "a did it" in text(top, "#said"))

    play(test, *PAIR)
    assert steered == [("a", "demote")]


def test_the_chosen_node_is_asked_to_be_primary(steered: list[tuple[str, ...]]) -> None:
    async def test(top: Top, pilot: Pilot[int]) -> None:
        await pilot.press("down", "p")
        assert "Shall b become primary?" in shown(top)
        await pilot.press("y")
        await until(top, pilot, lambda: "b did it" in text(top, "#said"))

    play(test, *PAIR)
    assert steered == [("b", "promote")]


def test_why_asks_for_a_message_and_shows_the_answer(steered: list[tuple[str, ...]]) -> None:
    async def test(top: Top, pilot: Pilot[int]) -> None:
        await pilot.press("w", *"orders", "space", "7", "enter")
        await until(top, pilot, lambda: "message 7 is [bold]safe" in shown(top))
        await pilot.press("escape", "w", "escape")
        assert len(top.screen_stack) == 1

    play(test, *PAIR)
    assert steered == [("a", "why", "orders 7")]


def test_a_node_that_is_not_here_is_not_asked(steered: list[tuple[str, ...]]) -> None:
    async def test(top: Top, pilot: Pilot[int]) -> None:
        for key, words in (("h", "no primary answers here"), ("p", "is not here"), ("w", "is not here")):
            await pilot.press(key)
            assert words in text(top, "#said")

    play(test, NoAnswer("hung", "no answer"))
    assert steered == []


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", 130)])
def test_it_ends(key: str, code: int) -> None:
    async def test(top: Top, pilot: Pilot[int]) -> None:
        await pilot.press("h", "ctrl+c") if key == "ctrl+c" else await pilot.press(key)

    assert play(test, *PAIR).return_value == code


def test_an_error_ends_it_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    async def test(top: Top, pilot: Pilot[int]) -> None:
        monkeypatch.setattr(app_module, "screen", broken)
        while top.failure is None:  # noqa: ASYNC110 - an App has no event for it
            await asyncio.sleep(0.01)

    assert str(play(test, *PAIR).failure) == "boom"


def test_an_order_that_fails_ends_it_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("boom")

    monkeypatch.setattr(app_module, "steer", broken)

    async def test(top: Top, pilot: Pilot[int]) -> None:
        await pilot.press("h", "y")
        await until(top, pilot, lambda: top.failure is not None)

    assert str(play(test, *PAIR).failure) == "boom"
