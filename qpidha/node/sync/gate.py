"""What a thread waits at, until the event loop opens it."""

from __future__ import annotations

import threading


class Gate:
    """Closed until `open` is called, once. Any number of threads may wait. One lock, which is cheaper than an `Event`."""

    __slots__ = ("_lock", "_open")

    def __init__(self) -> None:
        self._open = False
        self._lock = threading.Lock()
        """Held while the gate is closed. Afterwards each thread that waits takes it for a moment."""
        _ = self._lock.acquire()

    def open(self) -> None:
        """Let all threads through, now and later."""
        self._open = True
        self._lock.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait for so long at most. Whether it is open.

        A thread that is interrupted while it holds the lock keeps it. The others get through at their next call.
        """
        if not self._open and self._lock.acquire(timeout=timeout_s):
            self._lock.release()
        return self._open
