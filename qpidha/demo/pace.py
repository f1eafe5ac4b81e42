"""When to kill, and how fast to publish until then, so that every kill falls inside the stream.

    |------- head -------|--- kill 1 ---|--- kill 2 ---|--- kill 3 ---|-- the return of the last --|

The head fills the queue as fast as possible. The rest is cut into stretches of equal length, one for each
kill and one for the return of the last killed broker. A kill is due at a point in its stretch that is drawn from
the seed, but it also waits until the broker killed before is back. So a stretch is published at a speed at
which it lasts `STRETCH_S`. If that is not enough, the speed decreases further, so that the stretch does not end
before its kill or return has happened. A short input thus lasts as long as a long one.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

STRETCH_S = 1.8
"""How long a stretch should last: a failover, a restart and a resynchronisation, with some room."""
SLOW_S = 0.7
"""When less than this is left of it, the speed is what would use up the rest in this time."""
EARLIEST, LATEST = 0.1, 0.6
"""Where in its stretch a kill becomes due."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the stream with one kill in it, or at last one return."""

    due: int
    """The kill is due when so many messages are confirmed."""
    end: int
    """At most so many messages are published before it has happened."""


def plan(total: int, head: int, kills: int, seed: int) -> list[Stretch]:
    """One stretch for each kill and one more, ascending; none without kills."""
    random = Random(seed)
    stretches = []
    for kill in range(kills + 1 if kills else 0):
        start, end = (head + (total - head) * part // (kills + 1) for part in (kill, kill + 1))
        due = start + int((end - start) * random.uniform(EARLIEST, LATEST))
        due = min(max(1, due), total)  # Never before the first message, of however few.
        stretches.append(Stretch(due, max(due, end)))
    return stretches


class Pace:
    """Tells the publisher how many messages it may publish now, and the killer when to kill."""

    def __init__(self, total: int, head: int, kills: int, seed: int) -> None:
        self._left = plan(total, head, kills, seed)
        self._left.reverse()
        self._total = total
        self._head = head
        self._began: float | None = None
        self._earned = 0.0
        self._earned_at = 0.0

    @property
    def kills_left(self) -> int:
        """How many kills are still to come."""
        return max(0, len(self._left) - 1)

    def due(self, confirmed: int) -> bool:
        """Whether the stream is far enough for the next kill."""
        return self.kills_left > 0 and confirmed >= self._left[-1].due

    def next(self) -> None:
        """What this stretch waited for has happened: a kill, or in the last one the return."""
        if self._left:
            self._left.pop()
        self._began = None

    def allowance(self, published: int, now: float) -> int:
        """How many messages may be published now. Call again a little later if it is 0."""
        if not self._left:
            return self._total - published
        if published < self._head:
            return self._head - published
        if self._began is None:
            self._began = self._earned_at = now
            self._earned = 0.0
        stretch = self._left[-1]
        left_s = max(SLOW_S, STRETCH_S - (now - self._began))
        self._earned += (stretch.end - published) * min(1.0, (now - self._earned_at) / left_s)
        self._earned_at = now
        whole = min(int(self._earned), stretch.end - published)
        self._earned -= whole
        return max(0, whole)
