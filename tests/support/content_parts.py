"""The public calls of `Content` on one node without disk and links: what tests of tables and transactions use."""

from __future__ import annotations

from types import SimpleNamespace

from qpidha import Settings
from qpidha.node.commit import Commits
from qpidha.node.content import Content
from qpidha.node.keywatches import KeyWatches
from tests.support.node_parts import Seat


class Room(Content):
    """Node a with a real core, which is the only member of its cluster when it leads."""

    def __init__(self, settings: Settings | None = None, *, id: str = "a") -> None:
        self.seat = Seat(settings, id=id).enter()
        seat = self.seat
        self.watches: KeyWatches = seat.effects._watches
        self.commits = Commits(seat.runtime, handles=seat.handles, effects=seat.effects, watches=self.watches)
        self._begin_content(
            SimpleNamespace(  # type: ignore[arg-type]
                runtime=seat.runtime, handles=seat.handles, effects=seat.effects, commits=self.commits
            )
        )

    def lead(self, *others: str, generation: int = 1) -> Room:
        """Become primary, and have the broker open."""
        self.seat.lead(*others, generation=generation)
        self.turn()
        return self

    def follow(self, generation: int = 2) -> Room:
        """Another node is primary."""
        self.seat.see(generation, "b", "a", "b")
        return self

    def turn(self) -> None:
        """Let the turn of the loop end, and all that follows from it."""
        for _ in range(3):
            self.seat.turn()

    def stored(self) -> int:
        """How many changes were made durable so far."""
        return len(self.seat.persisted)
