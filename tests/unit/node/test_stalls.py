"""How long the event loop stood still is measured, forgotten after a minute, and logged once a minute."""

from __future__ import annotations

import asyncio
import time

from qpidha.node.stalls import LOG_INTERVAL_S, RECENT_S, Stalls


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        self.stalls = Stalls(lambda event: self.lines.append(event.line), lambda: self.now)

    def at(self, now: float, late_s: float) -> None:
        self.now = now
        self.stalls.saw(late_s)


def test_the_worst_stall_is_kept_and_that_of_the_last_minute_expires() -> None:
    clock = Clock()
    assert (clock.stalls.worst_s, clock.stalls.recent_worst_s) == (0.0, 0.0)
    for now, late_s in ((100.0, 0.01), (110.0, 0.5), (120.0, 0.1), (130.0, 0.3), (140.0, 0.2)):
        clock.at(now, late_s)
    assert (clock.stalls.worst_s, clock.stalls.recent_worst_s) == (0.5, 0.5)
    clock.now = 110.0 + RECENT_S + 1
    assert (clock.stalls.worst_s, clock.stalls.recent_worst_s) == (0.5, 0.3)
    clock.now = 140.0 + RECENT_S + 1
    assert (clock.stalls.worst_s, clock.stalls.recent_worst_s) == (0.5, 0.0)


def test_the_number_of_kept_values_is_bounded() -> None:
    clock = Clock()
    for n in range(10_000):
        clock.at(100.0 + n * 0.05, 0.001 * (n % 7))
    assert len(clock.stalls._recent) < 10


def test_a_long_stall_is_logged_and_the_next_ones_are_counted() -> None:
    clock = Clock()
    clock.at(100.0, 0.1)
    assert clock.lines == []
    clock.at(101.0, 0.25)
    assert clock.lines == ["event loop stalled: 0.25 s"]
    for n in range(5):
        clock.at(102.0 + n, 0.3 + n / 10)
    assert len(clock.lines) == 1
    clock.at(101.0 + LOG_INTERVAL_S, 0.01)
    assert clock.lines[1:] == ["event loop stalled: 0.70 s, the longest of 5"]
    clock.at(101.0 + 3 * LOG_INTERVAL_S, 0.01)
    assert len(clock.lines) == 2


def test_a_loop_that_is_blocked_is_seen() -> None:
    async def run() -> float:
        stalls = Stalls(lambda event: None, asyncio.get_running_loop().time)
        stalls.start()
        await asyncio.sleep(0.06)
        time.sleep(0.4)  # noqa: ASYNC251 - this is what is measured
        await asyncio.sleep(0.06)
        stalls.stop()
        stalls.stop()
        return stalls.worst_s

    assert asyncio.run(run()) > 0.3
