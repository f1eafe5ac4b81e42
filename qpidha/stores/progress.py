"""How far long work on a store has come, for those who wait for it (L6)."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qpidha.amounts import Speed, advance

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all, from the thread that works, several times a second."""
TOLD_BYTES = 4 * 1024 * 1024
"""Bytes of messages between two calls."""
INSTRUCTIONS = 20_000
"""Steps of SQLite between two calls: some milliseconds."""
LOGGED_EACH_S = 10.0

log = logging.getLogger("qpidha.stores")


def silent(done: int, total: int) -> None:
    """Tell nobody."""


class Logged:
    """Lines of the log about work that takes long: a start of a node with a large store is told from one that hangs."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._next = clock() + LOGGED_EACH_S
        self._speed = Speed()

    def __call__(self, done: int, total: int) -> None:
        """See `Progress`."""
        now = self._clock()
        rate = self._speed.at(now, done)
        if now >= self._next:
            self._next = now + LOGGED_EACH_S
            log.info("%s: %s", self._what, advance(done, total, rate))


class Reading:
    """How far the messages of one database were read."""

    def __init__(self, db: sqlite3.Connection, progress: Progress) -> None:
        pages, free, page_bytes = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        self._total = (pages - free) * page_bytes
        self._read = self._told = 0
        self._progress = progress
        self.begin: Callable[[], None] | None = (
            None if progress is silent else lambda: progress(0, self._total)
        )
        """To be called before the first message is read. None: nobody wants to know."""

    def read(self, nbytes: int) -> None:
        """So many more bytes were read."""
        self._read += nbytes
        if self._read - self._told >= TOLD_BYTES:
            self._told = self._read
            self._progress(min(self._read, self._total), self._total)

    def end(self) -> None:
        """All were read."""
        self._progress(self._total, self._total)


class Steps:
    """Several steps as one piece of work, each of about as many bytes as the others."""

    def __init__(self, progress: Progress, count: int, nbytes: int) -> None:
        """``nbytes``: of each step."""
        self._progress = progress
        self._count = count
        self._nbytes = max(1, nbytes)
        self._begun = 0

    def next(self) -> Progress:
        """What the next step is to call, with its own numbers. The steps before it are over."""
        before, self._begun = self._begun * self._nbytes, self._begun + 1

        def tell(done: int, total: int) -> None:
            part = self._nbytes * min(done, total) // total if total else 0
            self._progress(before + part, self._count * self._nbytes)

        tell(0, 1)
        return tell

    def end(self) -> None:
        """All is done."""
        self._progress(self._count * self._nbytes, self._count * self._nbytes)


@contextmanager
def watched(db: sqlite3.Connection, look: Callable[[], None] | None) -> Iterator[None]:
    """Call ``look`` now and then while the connection works. None: nobody wants to know."""
    if look is None:
        yield
        return
    db.set_progress_handler(look, INSTRUCTIONS)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)
