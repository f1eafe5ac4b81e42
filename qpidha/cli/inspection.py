"""Reading several stores side by side, each within a time limit: for the commands that look at stores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpidha.cli.console import complain
from qpidha.cli.progress import progress
from qpidha.cli.text import name
from qpidha.cli.work import LeftOut, gather, hung, require_directory, require_no_cluster

if TYPE_CHECKING:
    from qpidha.stores.report import StoreReport

HUNG = "the store is large, or its disk hangs (--timeout gives it longer)"


def inspected(directory: Path, told: Callable[[int, int], None]) -> StoreReport:
    """Raises `LeftOut`, StoreError or OSError if there is nothing to inspect, or it cannot be read."""
    from qpidha.stores.offline import inspect

    require_directory(directory, "store")
    require_no_cluster(directory)
    return inspect(directory, progress=told)


def inspect_all(directories: list[Path], timeout_s: float) -> list[tuple[Path, Any]]:
    """The report of each directory, or the error; directories that are left out are named on the standard error."""
    directories = list(dict.fromkeys(directories))
    what = "reading the store" if len(directories) == 1 else f"reading {len(directories)} stores"
    with progress(what) as line:
        jobs = [partial(inspected, directory, line.part()) for directory in directories]
        answers = gather(jobs, timeout_s, one_by_one=True)
    found = []
    for directory, answer in zip(directories, answers, strict=True):
        if isinstance(answer, LeftOut):
            complain(f"{name(directory)}: {answer}")
        else:
            found.append((directory, hung(answer, HUNG)))
    return found
