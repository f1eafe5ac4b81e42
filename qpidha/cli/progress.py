"""Shows on a terminal how far a command has come that takes longer than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

PATIENCE_S = 2.0
"""A command that is quicker shows nothing."""
EACH_S = 0.5
MIB = 1 << 20


class Progress:
    """One line, on the standard error if that is a terminal, which is written over until the work is done.

    It may be called from any thread, one at a time.
    """

    def __init__(
        self, what: str, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._clock = clock
        self._next = clock() + PATIENCE_S
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Say that so many bytes are done."""
        now = self._clock()
        if now < self._next or not self._stream.isatty():
            return
        self._next, self._shown = now + EACH_S, True
        share = f", {100 * done // total} %" if total else ""
        self._write(f"\r{self._what}: {done // MIB} of {total // MIB} MiB{share}\x1b[K")

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # The terminal is gone; the work goes on.
            self._stream.write(text)
            self._stream.flush()


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A line that is gone when the work is done or has failed."""
    line = Progress(what)
    try:
        yield line
    finally:
        line.end()
