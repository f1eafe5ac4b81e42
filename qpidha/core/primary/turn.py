"""Which side has to act next, the primary or a backup that does not stream yet.

A backup that subscribes or catches up waits for this node at each step. If this node keeps it waiting, because its own
disk stalls, that is not counted against the backup (`qpidha.core.primary.deadlines`).
"""

from __future__ import annotations

from math import inf


class Turn:
    """Since when one session waits for this node."""

    __slots__ = ("answered_since", "asked_at", "fresh_at")

    def __init__(self) -> None:
        self.asked_at: float | None = None
        """When the oldest frame of the backup arrived that this node has not answered yet; None: all are answered."""
        self.answered_since: float | None = None
        """The same for the frames that the `Ready` being performed answers."""
        self.fresh_at = -inf
        """When the backup's last long wait for this node ended: its time-outs start again from there."""

    def asked(self, now: float) -> None:
        """A frame of the backup arrived that this node has to answer."""
        if self.asked_at is None:
            self.asked_at = now

    def since(self, now: float) -> float:
        """Since when the backup waits for this node; ``now`` if it does not wait."""
        if self.answered_since is not None:
            return self.answered_since
        return now if self.asked_at is None else self.asked_at
