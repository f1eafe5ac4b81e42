"""The display repaints itself only on a terminal, and never breaks a line."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from qpidha.demo.progress import Display, LiveDisplay, Numbers, Rate, bar, clip, cluster_line, display_for
from qpidha.demo.watch import Phase, View

VIEW = View(
    statuses={}, phases={"a": Phase.PRIMARY, "b": Phase.IN_SYNC, "c": Phase.DOWN}, primary="a", generation=3,
    members=("a", "b"), behind={"b": 7, "c": 9}, depth=1234, queue_bytes=9,
)  # fmt: skip


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def numbers(at: float, acknowledged: int) -> Numbers:
    found = Numbers(1000)
    found.update(at, acknowledged, acknowledged // 2, VIEW)
    return found


@pytest.mark.parametrize(
    ("out", "environment", "live"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {}, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_who_gets_which_display(out: io.StringIO, environment: dict[str, str], live: bool) -> None:
    assert isinstance(display_for(out, environment), LiveDisplay) is live


def test_plain_lines_have_no_control_characters() -> None:
    out = io.StringIO()
    display = Display(out)
    for i in range(40):
        display.show(numbers(i / 10, i))
    display.say("an event")
    display.close()
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 5, "one line a second, and the event"


def test_a_live_display_erases_what_it_painted() -> None:
    out = Terminal()
    display = LiveDisplay(out)
    display.show(numbers(0.0, 0))
    height = out.getvalue().count("\n")
    display.say("an event")
    display.show(numbers(1.0, 500))
    display.close()
    assert re.findall(r"\x1b\[(\d+)F\x1b\[J", out.getvalue()) == [str(height)] * 3


@pytest.mark.parametrize("columns", [20, 40, 79, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    LiveDisplay(out).show(numbers(1.0, 999))
    for line in re.sub(r"\x1b\[[0-9;]*[mFJ]", "", out.getvalue()).splitlines():
        assert len(line) < columns


def test_the_cluster_in_one_line() -> None:
    assert cluster_line(VIEW) == "generation 3: a primary · b in sync (7 behind) · c down   queue 1,234"
    assert cluster_line(None) == "no broker answers yet"


def test_a_rate_looks_back_about_a_second() -> None:
    rate = Rate()
    speeds = [rate.update(i / 10, 100 * i if i < 20 else 2000) for i in range(40)]
    assert speeds[0] == 0
    assert speeds[15] == pytest.approx(1000)
    assert speeds[39] == 0


@pytest.mark.parametrize(("share", "full"), [(-1, 0), (0, 0), (0.5, 5), (1, 10), (7, 10)])
def test_a_bar_is_as_wide_as_it_should(share: float, full: int) -> None:
    assert (len(bar(share, 10)), bar(share, 10).count("█")) == (10, full)


def test_clipping_keeps_short_lines() -> None:
    assert (clip("short", 10), clip("much too long", 10)) == ("short", "much too…")
