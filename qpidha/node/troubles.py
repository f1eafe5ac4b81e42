"""What is wrong with a node now, and a log that says so once instead of at every attempt.

A cause is reported at each attempt that fails, and cleared when it is over. The log gets a line when a cause
begins, when its text changes, and when it is over. In between there are reminders: the first after
FIRST_REMINDER_S, each of the next ones after twice as long, up to ``log_reminder_s``. The attempts are
counted; `NodeStatus.troubles` shows them.

Invariants:
  - a cause has at most LINES_MAX lines in each ``log_reminder_s``, however it changes, ends and begins again
  - an event has at most EVENT_LINES_MAX lines in that time, and lines that were left out are counted in the next
  - at most CAUSES_MAX causes are remembered: more of them at once share the cause "other"
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

FIRST_REMINDER_S = 5.0
REMINDER_FACTOR = 2
LINES_MAX = 10
EVENT_LINES_MAX = 60
CAUSES_MAX = 100
OTHER = "other"
TEXT_MAX = 1_000
"""Characters of a text that are kept: it may repeat what a peer sent."""

Write: TypeAlias = Callable[[int, str], None]
"""Takes a level of ``logging`` and a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubleStatus:
    """One cause of trouble that stands now."""

    cause: str
    text: str
    """What was reported last."""
    began_ago_s: float
    last_ago_s: float
    """When it was reported last."""
    attempts: int
    """How often it was reported since it began."""


@dataclass(slots=True)
class _Budget:
    """Lines about one thing in a window of time."""

    lines_max: int
    window_s: float
    opened_at: float = -float("inf")
    lines: int = 0
    left_out: int = 0

    def spend(self, now: float, line: str) -> str | None:
        """The line to write, or None if there were too many."""
        if now - self.opened_at >= self.window_s:
            if self.left_out:
                line += f" ({self.left_out} lines about this were left out before)"
            self.opened_at, self.lines, self.left_out = now, 0, 0
        if self.lines >= self.lines_max:
            self.left_out += 1
            return None
        self.lines += 1
        if self.lines == self.lines_max:
            line += f" (too often: more lines about this are left out for {self.window_s:g} s)"
        return line


@dataclass(slots=True)
class _Cause:
    name: str
    budget: _Budget
    standing: bool = False
    fades: bool = False
    once: bool = False
    text: str = ""
    began_at: float = 0.0
    last_at: float = 0.0
    told_at: float = 0.0
    remind_s: float = FIRST_REMINDER_S
    """The next reminder comes so long after the last line."""
    attempts: int = 0
    told: set[str] = field(default_factory=set)
    """The texts that were logged since it began or the last reminder."""


class Troubles:
    """The causes of trouble of one node. Every method is O(1) but `tick` and `standing`."""

    def __init__(self, write: Write, now: Callable[[], float], *, reminder_s: float, fade_s: float) -> None:
        """Without a cause.

        Args:
            write: Where lines go.
            now: The clock, in seconds.
            reminder_s: A cause that stands is logged again after this time at the latest.
            fade_s: A cause that fades is over when it was not reported for this time.
        """
        self._write = write
        self._now = now
        self._reminder_s = reminder_s
        self._fade_s = fade_s
        self._causes: dict[str, _Cause] = {}
        self._events: dict[str, _Budget] = {}

    # --- causes ----------------------------------------------------------------------------------

    def report(self, cause: str, text: str, *, fades: bool = False, once: bool = False) -> None:
        """An attempt failed, or something is wrong.

        Args:
            cause: What is wrong, in a few words that stay the same: "record", "link to the primary".
            text: The reason this time.
            fades: Nobody will clear it: it is over when it is not reported again for a while.
            once: It is not logged again before its text changes.
        """
        now = self._now()
        cause, text = printable(cause), printable(text)
        known = self._find(cause)
        begins = not known.standing
        if begins:
            known.standing, known.began_at, known.attempts = True, now, 0
            known.remind_s = min(FIRST_REMINDER_S, self._reminder_s)
            known.told.clear()
        known.attempts += 1
        known.last_at, known.text, known.fades, known.once = now, text, fades, once
        if begins or text not in known.told:
            self._tell(known, now, text)
        else:
            self._remind(known, now)

    def clear(self, cause: str) -> None:
        """It is over, if it was there at all."""
        known = self._causes.get(printable(cause))
        if known is not None and known.standing:
            self._end(known, "in order again")

    def tick(self) -> None:
        """Time passed: reminders of what stands, and the end of what faded. Call it about once a second."""
        now = self._now()
        for known in list(self._causes.values()):
            silent_s = now - known.last_at
            if not known.standing:
                if silent_s >= self._reminder_s:
                    del self._causes[known.name]
            elif known.fades and silent_s >= self._fade_s:
                self._end(known, f"not seen again for {silent_s:.0f} s")
            else:
                self._remind(known, now)

    def standing(self) -> list[TroubleStatus]:
        """What is wrong now, the oldest first."""
        now = self._now()
        return [
            TroubleStatus(
                cause=c.name,
                text=c.text,
                began_ago_s=now - c.began_at,
                last_ago_s=now - c.last_at,
                attempts=c.attempts,
            )
            for c in sorted(self._causes.values(), key=lambda c: c.began_at)
            if c.standing
        ]

    def _find(self, cause: str) -> _Cause:
        known = self._causes.get(cause)
        if known is None and len(self._causes) >= CAUSES_MAX:
            over = [c for c in self._causes.values() if not c.standing]
            if over:
                del self._causes[min(over, key=lambda c: c.last_at).name]
            else:
                known = self._causes.get(cause := OTHER)
        if known is None:
            known = self._causes[cause] = _Cause(cause, _Budget(LINES_MAX, self._reminder_s))
        return known

    def _remind(self, known: _Cause, now: float) -> None:
        if not known.once and now - known.told_at >= known.remind_s:
            known.remind_s = min(REMINDER_FACTOR * known.remind_s, self._reminder_s)
            known.told.clear()
            self._tell(known, now, f"{known.text} ({_times(known.attempts)} in {now - known.began_at:.0f} s)")

    def _tell(self, known: _Cause, now: float, text: str) -> None:
        line = known.budget.spend(now, f"{known.name}: {text}")
        if line is not None:
            known.told.add(known.text)
            known.told_at = now
            self._write(logging.WARNING, line)

    def _end(self, known: _Cause, how: str) -> None:
        known.standing = False
        now = self._now()
        text = f"{known.name}: {how}, after {_times(known.attempts)} in {now - known.began_at:.0f} s"
        line = known.budget.spend(now, text)
        if line is not None:
            self._write(logging.INFO, line)

    # --- events ----------------------------------------------------------------------------------

    def event(self, event: str, detail: str) -> None:
        """Log something that happened and is over. ``event`` is one of a few fixed phrases."""
        budget = self._events.get(event)
        if budget is None:
            budget = self._events[event] = _Budget(EVENT_LINES_MAX, self._reminder_s)
        line = budget.spend(self._now(), f"{event}: {printable(detail)}")
        if line is not None:
            self._write(logging.INFO, line)


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count} times"


def printable(text: str) -> str:
    """One line of bounded length: what a peer or a file said must not look like a line of ours."""
    if len(text) > TEXT_MAX:
        text = f"{text[:TEXT_MAX]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
