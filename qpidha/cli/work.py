"""Runs jobs for several places at once, with one time limit: results are kept, however long other jobs take.

A disk or a network file system may not answer for minutes, and a thread that waits for it cannot be stopped.
So each job runs in a thread that does not prevent the program from ending.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from qpidha.errors import QpidhaError
from qpidha.node.ask import owner_of

T = TypeVar("T")

AT_ONCE_MAX = 200
STAGGER_S = 5.0
"""Jobs that take much memory or time run one after the other, but none waits longer than this for the one before."""


class TimeUp(QpidhaError):
    """A place did not answer within the time limit."""


class LeftOut(QpidhaError):
    """A directory that the command ignores, because it was probably included by a glob."""


def gather(
    jobs: Sequence[Callable[[], T]], timeout_s: float, *, one_by_one: bool = False
) -> list[T | BaseException]:
    """The result or the error of each job, in their order. `TimeUp` for those that did not end in time.

    Args:
        one_by_one: Start the next when the one before has ended, or has taken long.
    """
    found: list[T | BaseException] = [TimeUp(f"no answer in {timeout_s:g} s") for _ in jobs]
    changed = threading.Condition()
    ended = 0

    def work(number: int) -> None:
        nonlocal ended
        try:
            result: T | BaseException = jobs[number]()
        except BaseException as error:  # noqa: BLE001 - it is what came of this job
            result = error
        with changed:
            if not closed:
                found[number] = result
            ended += 1
            changed.notify()

    deadline = time.monotonic() + timeout_s
    stagger_s = min(STAGGER_S, timeout_s / (len(jobs) + 1))
    started, next_at, closed = 0, 0.0, False
    with changed:
        while ended < len(jobs) and (now := time.monotonic()) < deadline:
            room = started - ended < AT_ONCE_MAX
            if started < len(jobs) and room and (not one_by_one or started == ended or now >= next_at):
                threading.Thread(target=work, args=(started,), daemon=True, name="qpidha-ask").start()
                started, next_at = started + 1, now + stagger_s
                continue
            until = min(deadline, next_at) if one_by_one and started < len(jobs) else deadline
            changed.wait(max(0.0, until - now))
        closed = True
    return found


def one(job: Callable[[], T], timeout_s: float) -> T:
    """The result of a single job that reads or writes something small.

    Raises:
        TimeUp: It did not end in time.
        BaseException: What the job has raised.
    """
    (found,) = gather([job], timeout_s)
    found = hung(found, "its disk or file system does not answer")
    if isinstance(found, BaseException):
        raise found
    return found


def hung(found: T | BaseException, reason: str) -> T | BaseException:
    """The same; a `TimeUp` says for what reason it may be."""
    return TimeUp(f"{found}: {reason}") if isinstance(found, TimeUp) else found


def require_directory(directory: Path, what: str) -> None:
    """Say what is wrong with a directory before ``what`` is looked for in it. Blocks while the disk does.

    Raises:
        OSError: It is not there, not a directory, or may not be read.
    """
    try:
        with os.scandir(directory):
            pass
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {what}: no such directory") from None
    except NotADirectoryError:
        raise NotADirectoryError("this is not a directory") from None
    except PermissionError:
        raise PermissionError(f"permission denied{owner_of(directory)}") from None


def write_new(path: Path, text: str) -> None:
    """Write a new file, or none: what a full disk has cut off is removed. Raises `OSError`."""
    file = open(path, "x", encoding="utf-8")  # noqa: SIM115 - closing it may fail, too
    try:
        with file:
            file.write(text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def is_cluster_directory(directory: Path) -> bool:
    """Whether a file record store is here, and neither a store nor a node."""

    def there(*found: str) -> bool:
        return any(os.path.lexists(directory / entry) for entry in found)

    return there("record.json", "record.lock") and not there("store.db", "identity", "control.sock", "lock")


def require_no_cluster(directory: Path) -> None:
    """Raises `LeftOut` if this is the directory of the record, which ``DIR/*`` takes in with those of the nodes."""
    if is_cluster_directory(directory):
        raise LeftOut("left out: it holds the record of a cluster, not a node")
