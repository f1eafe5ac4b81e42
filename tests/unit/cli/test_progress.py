"""Progress is shown where somebody looks, with a rate and an estimate, and never among the results."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from qpidha.cli.progress import Progress
from qpidha.stores import SqliteStore
from qpidha.stores import progress as in_stores
from qpidha.testing.conformance.changes import some_commits

MB = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        return [line.split("\x1b")[0] for line in self.getvalue().split("\r")[1:]]


def told(line: Progress, clock: Clock, *said: tuple[float, int]) -> None:
    for at, done in said:
        clock.now = at
        line(done * MB, 100 * MB)


def test_a_terminal_has_one_line_after_two_seconds_and_it_is_taken_away() -> None:
    terminal, clock = Terminal(), Clock()
    line = Progress("saving", terminal, clock)
    told(line, clock, (1.0, 10), (2.5, 40), (2.6, 41), (3.5, 60))
    assert terminal.lines() == [
        "saving: 40.0 MB of 100 MB, 40 %, 20.0 MB/s, about 3.0s left",
        "saving: 60.0 MB of 100 MB, 60 %, 20.0 MB/s, about 2.0s left",
    ]
    line.end()
    line.end()
    told(line, clock, (9.0, 90))  # A thread that could not be stopped.
    assert terminal.lines()[2:] == [""]


def test_elsewhere_there_is_a_line_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    line = Progress("saving", stream, clock)
    told(line, clock, (2.5, 10), (9.9, 20), (12.5, 30), (13.0, 31), (22.5, 50))
    line.end()
    assert stream.getvalue().splitlines() == [
        "qpidha: saving: 30.0 MB of 100 MB, 30 %, 2.0 MB/s, about 35s left",
        "qpidha: saving: 50.0 MB of 100 MB, 50 %, 2.0 MB/s, about 25s left",
    ]


def test_parts_are_added_up() -> None:
    terminal, clock = Terminal(), Clock()
    line = Progress("reading 2 stores", terminal, clock)
    first, second = line.part(), line.part()
    clock.now = 5.0
    first(10 * MB, 10 * MB)
    clock.now = 6.0
    second(5 * MB, 30 * MB)
    assert terminal.lines()[-1] == "reading 2 stores: 15.0 MB of 40.0 MB, 37 %, 5.0 MB/s, about 5.0s left"


def test_other_output_clears_the_line_and_it_comes_again() -> None:
    terminal, clock = Terminal(), Clock()
    line = Progress("simulating", terminal, clock, unit="seeds")
    clock.now = 3.0
    line(5, 10)
    line.clear()
    clock.now = 4.0
    line(6, 10)
    assert terminal.lines() == [
        "simulating: 5 of 10 seeds, 50 %",
        "",
        "simulating: 6 of 10 seeds, 60 %, 1 seeds/s, about 4.0s left",
    ]


def test_a_terminal_that_is_gone_stops_nothing() -> None:
    terminal, clock = Terminal(), Clock()
    line = Progress("saving", terminal, clock)
    terminal.close()
    line._stream = terminal
    clock.now = 3.0
    line(1, 2)
    line.end()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "a"
    made = SqliteStore(directory)
    made.open("a")
    for changes in some_commits():
        made.commit(changes)
    made.close(clean=True)
    return directory


def commands(store: Path, base: Path) -> dict[str, list[str]]:
    saved = str(base / "a.saved")
    return {
        "reading the store: ": ["store", "inspect", str(store)],
        "compacting": ["store", "compact", str(store)],
        "saving": ["store", "backup", str(store), saved],
        "verifying": ["store", "verify", saved],
        "restoring": ["store", "restore", saved, str(base / "b")],
        "reading the store": ["why", "--store", str(store), "orders", "1"],
        "reading 2 stores": ["store", "rank", str(store), str(base / "b")],
        "simulating": ["simulate", "--seeds", "60"],
    }


IMPATIENT = """
import sys
from qpidha.cli import main, progress
progress.PATIENCE_S = progress.EACH_S = progress.LOGGED_EACH_S = 0.0
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.processes
def test_every_long_command_tells_and_its_results_stay_clean(store: Path, tmp_path: Path) -> None:
    """In a pipe: each result is what it is without progress, and what is told is on the standard error."""
    for what, words in commands(store, tmp_path).items():
        ran = subprocess.run(
            [sys.executable, "-c", IMPATIENT, *words, "--json"], capture_output=True, text=True
        )
        assert ran.returncode == 0, (what, ran)
        assert any(line.startswith(f"qpidha: {what}") for line in ran.stderr.splitlines()), (what, ran.stderr)
        assert (
            "qpidha:" not in ran.stdout and "\r" not in ran.stdout + ran.stderr and "\x1b" not in ran.stderr
        )
        assert ran.stdout.lstrip()[0] in "{[" and ran.stdout.rstrip()[-1] in "}]", ran.stdout


def test_a_quick_command_tells_nothing(store: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "qpidha", "store", "inspect", str(store)], capture_output=True, text=True
    )
    assert ran.returncode == 0 and ran.stderr == ""


def test_a_start_that_takes_long_has_lines_in_the_log(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(in_stores, "LOGGED_EACH_S", 0.0)
    with caplog.at_level("INFO", logger="qpidha.stores"):
        opened = SqliteStore(store)
        opened.open("a")
        opened.close(clean=True)
    assert any(line.startswith("reading the store in ") and " of " in line for line in caplog.messages)
