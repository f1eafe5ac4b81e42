"""Is the code in the current directory broken? Run there, in a process of its own, by `tests.mutants.copies`.

Two opinions, each written as one line of JSON as soon as it is there: the first test that fails, and the first
random walk that finds something.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import pytest

TEST_SECONDS_MAX = 100
"""A bug may keep a test waiting for ever: that is a failure too. The longest takes 10 s if nothing else runs."""
RUNNING = "# "
"""In the file of the answers, before the id of a test that begins."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to run."""

    tests: tuple[str, ...]
    """Paths."""
    first: str
    """Tests with this in their id run before the others."""
    seeds: int
    """Random walks at most."""
    answers: str
    """The file for the answers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One opinion."""

    by: str
    """"tests" or "walks"."""
    found: str
    """The id of the test, or the error of the walk. Empty: nothing was found."""
    count: int
    """How many tests or walks ran."""


class Watcher:
    """A plugin of pytest: decides what runs first, and remembers what failed.

    What runs is written down before: compiled code that is broken may end the process, or never come back.
    """

    def __init__(self, first: str, answers: TextIO) -> None:
        self._first = first
        self._answers = answers
        self.failed = ""
        self.broken = ""
        self.ran = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._first not in item.nodeid)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        print(RUNNING + nodeid, file=self._answers)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran += report.when == "call"
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken = f"{report.nodeid}: {report.longreprtext}"


def ask_tests(paths: tuple[str, ...], first: str, answers: TextIO) -> Answer:
    """The first test that fails.

    Raises:
        RuntimeError: They could not run: not a bug that was planted, but a hole in the ground.
    """
    watcher = Watcher(first, answers)
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_SECONDS_MAX}"]
    try:
        status = pytest.main([*options, *paths], plugins=[watcher])
    except Exception:  # What a test that failed has left open is an error of the whole run, at its end.
        if not watcher.failed:
            raise
        status = pytest.ExitCode.TESTS_FAILED
    if watcher.broken or status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"the tests could not run: {watcher.broken or status}")
    return Answer("tests", watcher.failed, watcher.ran)


def ask_walks(seeds: int) -> Answer:
    """The first seed whose run breaks a promise; they are the same seeds for everybody."""
    from qpidha.testing.walks.shrink import attempt
    from qpidha.testing.walks.walk import Walk

    for seed in range(seeds):
        if error := attempt(Walk(seed)):
            return Answer("walks", error, seed + 1)
    return Answer("walks", "", seeds)


def main(question: Question) -> None:
    import qpidha

    here = Path.cwd()
    if here not in Path(qpidha.__file__).parents:
        raise RuntimeError(f"{qpidha.__file__} is not the copy in {here}")
    with Path(question.answers).open("w", encoding="utf-8", buffering=1) as answers:
        if question.tests:
            print(json.dumps(asdict(ask_tests(question.tests, question.first, answers))), file=answers)
        if question.seeds:
            print(json.dumps(asdict(ask_walks(question.seeds))), file=answers)


if __name__ == "__main__":
    main(Question(**json.loads(sys.argv[1])))
