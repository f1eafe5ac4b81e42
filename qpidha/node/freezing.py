"""Excludes the objects that a node keeps for its queues from Python's garbage collections (`Settings.gc_policy`).

A full collection visits every live object and holds the interpreter meanwhile. It does not visit frozen objects;
freezing costs the same for any number of objects. A node freezes as its number of queues grows, so that a collection
visits only a fraction of their objects. While a store is loaded, or very many queues are stored, which creates all their
objects at once, there are no collections.

With "leave" nothing of the process is changed.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from qpidha.journal import Change, PutQueue
from qpidha.system.memory import give_back

if TYPE_CHECKING:
    from qpidha.core.replica import Replica

STEP_MIN = 1000
"""Queues before the first freeze: freezing for every queue would need a young collection each time."""
GROWTH = 64
"""Freeze again after another 64th. Of 100,000 queues that are some 20,000 objects: a collection of milliseconds."""


class Freezing:
    """When to freeze, for one node."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        """False: queues need not be counted."""
        self._next = STEP_MIN

    @contextmanager
    def loading(self) -> Iterator[None]:
        """A store is loaded inside: no collections meanwhile, in any thread. What is alive at the end is frozen."""
        if not self.enabled:
            yield
            return
        PAUSE.begin()
        try:
            yield
            gc.freeze()  # Without a collection: all that was loaded is young.
        finally:
            PAUSE.end()

    def loaded(self) -> None:
        """Return to the system what loading has freed: of 100,000 queues that is a tenth of the memory in use."""
        if self.enabled:
            give_back()

    def storing(self, changes: Sequence[Change]) -> AbstractContextManager[None] | None:
        """What to enter while these are stored: a store makes its own objects for very many queues at once, too."""
        if self.enabled and sum(type(change) is PutQueue for change in changes) >= STEP_MIN:
            return self.loading()
        return None

    def grown(self, queues: int) -> None:
        """Note how many queues are in memory now, each counted as often as it is kept. May be called often."""
        if not self.enabled:
            return
        grown = queues >= self._next
        again = queues + max(STEP_MIN, queues // GROWTH)
        self._next = again if grown else min(again, self._next)  # What is gone may come again.
        if grown:
            self.freeze()

    def freeze(self) -> None:
        """Exclude all live objects from collections from now on; an object without references is still freed."""
        if self.enabled:
            gc.collect(1)  # What is garbage already and young, so that it is not kept.
            gc.freeze()


class Pause:
    """A pause of the collector of this process while any node needs it. Nodes may start in several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0
        self._was_enabled = False

    def begin(self) -> None:
        """Stop automatic garbage collection until the last matching `end`. May be called again before that."""
        with self._lock:
            if not self._wanted:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._wanted += 1

    def end(self) -> None:
        """The last one restores what was there before the first."""
        with self._lock:
            self._wanted -= 1
            if not self._wanted and self._was_enabled:
                gc.enable()


PAUSE = Pause()


def kept_by(replica: Replica) -> int:
    """How many queues a core has in memory, each counted as often as it is kept. O(sessions)."""
    primary = replica.primary
    described = sum(session.described for session in primary.sessions.values()) if primary else 0
    return len(replica.queues) + len(replica.local) + replica.follower.staged + described
