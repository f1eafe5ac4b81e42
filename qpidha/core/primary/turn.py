"""Whose turn it is between the primary and a backup that does not stream yet.

A backup that subscribes or catches up waits for this node at each step. If this node keeps it waiting, because its own
disk stalls, that is not counted against the backup (`qpidha.core.primary.deadlines`).
"""

from __future__ import annotations

from math import inf


class Turn:
    """What one session waits for."""

    __slots__ = ("answered_since", "asked_at", "fresh_at")

    def __init__(self) -> None:
        self.asked_at: float | None = None
        """When the backup said the first of what this node has not answered yet."""
        self.answered_since: float | None = None
        """The same of what is answered by the `Ready` that is being performed."""
        self.fresh_at = -inf
        """When this node had last kept it waiting for long: its time-outs begin anew then."""

    def asked(self, now: float) -> None:
        """The backup said something that this node has to answer."""
        if self.asked_at is None:
            self.asked_at = now

    def since(self, now: float) -> float:
        """Since when it waits for this node; ``now`` if it does not."""
        if self.answered_since is not None:
            return self.answered_since
        return now if self.asked_at is None else self.asked_at
