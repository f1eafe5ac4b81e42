"""Who has opened a session in an engine: 16 bytes that are kept beside it.

The first half names the lock that a process holds while it has sessions, or is random; the second half is random. So a
process tells its own session from that of a process which has held the same lock before and has ended.
"""

from __future__ import annotations

import hashlib
import os

from qpidha.checks import Rule

LOCK = Rule("the name of a lock, as bytes", lambda value: isinstance(value, bytes) and bool(value))
OPENER_BYTES = 16
HALF = OPENER_BYTES // 2


class OpenerName:
    """The name under which one store object opens sessions."""

    def __init__(self) -> None:
        self._lock = os.urandom(HALF)
        self._life = os.urandom(HALF)
        self._inherits = False

    def hold(self, lock: bytes) -> None:
        """This process holds a lock, which no other process can hold now."""
        self._lock = hashlib.sha256(lock).digest()[:HALF]
        self._inherits = True

    def __bytes__(self) -> bytes:
        return self._lock + self._life

    @property
    def inherited(self) -> bytes:
        """What the names of earlier holders of the lock begin with. Empty: nothing is inherited.

        Only until a session was opened: if another process has replaced it since, that one is a copy of this
        machine, and must not be replaced in turn.
        """
        return self._lock if self._inherits else b""

    def opened(self) -> None:
        """A session was opened."""
        self._inherits = False

    def replaces(self, found: bytes) -> bool:
        """Whether a session with this name is our own, of a call without an answer, or inherited."""
        return found == bytes(self) or (self._inherits and found[:HALF] == self._lock)
