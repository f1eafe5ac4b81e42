"""When to kill, and how fast to publish until then, so that every kill falls inside the stream.

The stream is cut into ``kills + 1`` stretches of equal length. Somewhere inside each (drawn from the seed)
is the point from which the next kill is due; in the last stretch, the return of the last killed node. Up to
there the publisher runs as fast as it can. Beyond, while the cluster is not yet ready, it slows down: each
second it may use up a fixed share of what is left of the stretch. So it never stands still, never reaches
the end of the stretch too early, and a short input lasts as long as a long one.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

SLOW_S = 1.2
"""While a kill is due, this many seconds would use up the rest of the stretch at the present speed."""
EARLIEST, LATEST = 0.15, 0.6
"""Where in its stretch a kill becomes due."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the stream with one kill in it, or at last one return."""

    due: int
    """The kill is due when so many messages are confirmed."""
    end: int
    """At most so many messages are published before it has happened."""


def plan(total: int, kills: int, seed: int) -> list[Stretch]:
    """One stretch for each kill and one more, ascending; none without kills."""
    random = Random(seed)
    stretches = []
    for kill in range(kills + 1 if kills else 0):
        start, end = total * kill // (kills + 1), total * (kill + 1) // (kills + 1)
        due = start + int((end - start) * random.uniform(EARLIEST, LATEST))
        stretches.append(Stretch(min(max(1, due), total), end))  # Never before the first message.
    return stretches


class Pace:
    """Tells the publisher how many messages it may publish now."""

    def __init__(self, total: int, kills: int, seed: int) -> None:
        self._left = plan(total, kills, seed)
        self._left.reverse()
        self._total = total
        self._earned = 0.0
        self._earned_at: float | None = None

    @property
    def kills_left(self) -> int:
        return max(0, len(self._left) - 1)

    def due(self, confirmed: int) -> bool:
        """Whether the stream is far enough for the next kill."""
        return self.kills_left > 0 and confirmed >= self._left[-1].due

    def next(self) -> None:
        """What this stretch waited for has happened: a kill, or in the last one the return."""
        if self._left:
            self._left.pop()
        self._earned_at = None

    def allowance(self, published: int, now: float) -> int:
        """How many messages may be published now. Call again a little later if it is 0."""
        if not self._left:
            return self._total - published
        stretch = self._left[-1]
        if published < stretch.due:
            self._earned_at = None
            return stretch.due - published
        if self._earned_at is None:
            self._earned, self._earned_at = 0.0, now
        self._earned += (stretch.end - published) * min(1.0, (now - self._earned_at) / SLOW_S)
        self._earned_at = now
        whole = min(int(self._earned), stretch.end - published)
        self._earned -= whole
        return whole
