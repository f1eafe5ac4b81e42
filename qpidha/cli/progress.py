"""Says how far a command has come that takes longer than two seconds (L6).

On a terminal that is one line, which is written over and is gone at the end. Elsewhere it is a line now and then.
Both are on the standard error: the standard output has nothing but results.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from qpidha.amounts import BYTES, Speed, advance

PATIENCE_S = 2.0
"""A command that is quicker shows nothing."""
EACH_S = 0.5
LOGGED_EACH_S = 10.0
"""Where the standard error is no terminal: a command that is quicker than this says nothing there."""


class Progress:
    """How far some work has come, of one or several parts. It may be called from any thread."""

    def __init__(
        self,
        what: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        unit: str = BYTES,
    ) -> None:
        """``unit``: what is counted, in the plural."""
        self._what = what
        self._stream = stream or sys.stderr
        self._clock = clock
        self._unit = unit
        self._live = self._stream.isatty()
        self._next = clock() + (PATIENCE_S if self._live else LOGGED_EACH_S)
        self._lock = threading.Lock()
        self._parts: list[tuple[int, int]] = []
        self._speed = Speed()
        self._own: Callable[[int, int], None] | None = None
        self._shown = self._ended = False

    def __call__(self, done: int, total: int) -> None:
        """Say how much of the work is done. Of work with a single part."""
        if self._own is None:
            self._own = self.part()
        self._own(done, total)

    def part(self) -> Callable[[int, int], None]:
        """One more part of the work: to be called with how much of it is done, and how much there is."""
        with self._lock:
            number = len(self._parts)
            self._parts.append((0, 0))

        def tell(done: int, total: int) -> None:
            with self._lock:
                self._parts[number] = (done, total)
                self._show()

        return tell

    def end(self) -> None:
        """Take the line away. What is told afterwards is not shown: a thread may go on."""
        self.clear()
        self._ended = True

    def clear(self) -> None:
        """Take the line away, until more is told: something else is about to be printed."""
        with self._lock:
            if self._shown and self._live:
                self._shown = False
                self._write("\r\x1b[K")

    def _show(self) -> None:
        done, total = (sum(part[side] for part in self._parts) for side in (0, 1))
        now = self._clock()
        rate = self._speed.at(now, done)
        if now < self._next or self._ended:
            return
        self._next, self._shown = now + (EACH_S if self._live else LOGGED_EACH_S), True
        said = f"{self._what}: {advance(done, total, rate, self._unit)}"
        self._write(f"\r{said}\x1b[K" if self._live else f"qpidha: {said}\n")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # The terminal is gone; the work goes on.
            self._stream.write(text)
            self._stream.flush()


@contextmanager
def progress(what: str, unit: str = BYTES) -> Iterator[Progress]:
    """A line that is gone when the work is done or has failed."""
    line = Progress(what, unit=unit)
    try:
        yield line
    finally:
        line.end()
