"""The thread whose event loop the ops of a node belong to."""

from __future__ import annotations

from collections.abc import Iterable

from qpidha.node.caller import FORKED
from qpidha.system import forks


class Home:
    """One for all ledgers of a node."""

    def __init__(self, thread: int = 0) -> None:
        """``thread``: its identifier; 0: there is none yet."""
        self.thread = 0
        if thread:
            self.enter(thread)

    def enter(self, thread: int) -> None:
        """Belong to this thread from now on, and to none in a child of this process: nothing completes there."""
        self.thread = thread
        forks.watch(self)

    def forked(self) -> Iterable[int]:
        """In a child."""
        self.thread = FORKED
        return ()


NOWHERE = Home()
"""Of ledgers of a node that was not started."""
