"""The application of the tests: the servers execute its tasks, and the tests enqueue them. See `test_kills`."""

from __future__ import annotations

import os
from pathlib import Path

from huey import Huey
from huey_ha import ClusterStorage

huey = Huey("app", storage_class=ClusterStorage, store_intermediate_errors=False)
DIARY = Path(os.environ.get("HUEY_DIARY", os.devnull))
"""A line for each execution, written before it has any effect."""


def note(what: str) -> None:
    with open(DIARY, "a") as diary:  # One short write: lines of several processes do not mix.
        diary.write(f"{what}\n")


@huey.task()
def square(n: int) -> int:
    note(f"square {n}")
    return n * n


@huey.task(priority=50)
def urgent(n: int) -> int:
    note(f"urgent {n}")
    return -n


@huey.task()
def total(numbers: list[int]) -> int:
    note(f"total {numbers}")
    return sum(numbers)


@huey.task(retries=3)
def flaky(n: int) -> int:
    """It fails twice, each time after the failure was counted on all nodes."""
    note(f"flaky {n}")
    if huey.storage.incr(f"failures {n}") < 3:
        raise ValueError(n)
    return n


@huey.task(retries=1000, retry_delay=1)
@huey.lock_task("one at a time")
def locked(n: int) -> int:
    note(f"locked {n}")
    return n
