"""The current failures of a node, each logged once instead of at every attempt.

A `Trouble` is reported at each failed attempt, and cleared when it is over. Reports with the same `Trouble.cause`
are one trouble. The log gets a line when a trouble begins, when its detail changes, and when it is over. In between
there are reminders: the first after FIRST_REMINDER_S, each of the next ones after twice as long, up to
``log_reminder_s``. The attempts are counted; `NodeStatus.troubles` shows them.

Invariants:
  - a cause has at most LINES_MAX lines in each ``log_reminder_s``, however it changes, ends and begins again
  - an event has at most EVENT_LINES_MAX lines in that time, and lines that were left out are counted in the next
  - at most CAUSES_MAX causes are remembered: more of them at once share the cause "other"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from qpidha.events import NodeEvent, Trouble, TroubleOver
from qpidha.events.node import times

FIRST_REMINDER_S = 5.0
REMINDER_FACTOR = 2
LINES_MAX = 10
EVENT_LINES_MAX = 60
CAUSES_MAX = 100
OTHER = "other"
TEXT_MAX = 1_000
"""Characters of a text that are kept: it may repeat what a peer sent."""

Write: TypeAlias = Callable[[NodeEvent, str], None]
"""Takes an event, whose level is one of ``logging``, and its line, which may be longer than that of the event."""
Tell: TypeAlias = Callable[[NodeEvent], None]


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
    trouble: Trouble | None = None
    """What was reported last."""
    text: str = ""
    """Its detail, printable."""
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

    def __init__(
        self, write: Write, tell: Tell, now: Callable[[], float], *, reminder_s: float, fade_s: float
    ) -> None:
        """Begin without a cause.

        Args:
            write: Where lines go.
            tell: Called with every event, with a trouble when it begins or has changed, and with its end.
            now: The clock, in seconds.
            reminder_s: A cause that stands is logged again after this time at the latest.
            fade_s: A cause that fades is over when it was not reported for this time.
        """
        self._write = write
        self._tell = tell
        self._now = now
        self._reminder_s = reminder_s
        self._fade_s = fade_s
        self._causes: dict[str, _Cause] = {}
        self._events: dict[str, _Budget] = {}

    # --- causes ----------------------------------------------------------------------------------

    def report(self, trouble: Trouble) -> None:
        """An attempt failed, or something is wrong."""
        now = self._now()
        text = printable(trouble.detail)
        known = self._find(printable(trouble.cause))
        begins = not known.standing
        if begins:
            known.standing, known.began_at, known.attempts = True, now, 0
            known.remind_s = min(FIRST_REMINDER_S, self._reminder_s)
            known.told.clear()
        known.attempts += 1
        changes = begins or trouble != known.trouble
        known.last_at, known.trouble, known.text = now, trouble, text
        if begins or text not in known.told:
            self._log(known, now, text)
        else:
            self._remind(known, now)
        if changes:
            self._tell(trouble)

    def clear(self, kind: type[Trouble], subject: str = "") -> None:
        """Trouble of this kind with this `Trouble.subject` is over, if it was there at all."""
        known = self._causes.get(printable(kind.cause_of(subject)))
        if known is not None and known.standing:
            self._end(known, None)

    def tick(self) -> None:
        """Time passed: reminders of what stands, and the end of what faded. Call it about once a second."""
        now = self._now()
        for known in list(self._causes.values()):
            silent_s = now - known.last_at
            if not known.standing:
                if silent_s >= self._reminder_s:
                    del self._causes[known.name]
            elif known.trouble and known.trouble.fades and silent_s >= self._fade_s:
                self._end(known, silent_s)
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
        assert known.trouble is not None  # It was reported.
        if not known.trouble.once and now - known.told_at >= known.remind_s:
            known.remind_s = min(REMINDER_FACTOR * known.remind_s, self._reminder_s)
            known.told.clear()
            self._log(known, now, f"{known.text} ({times(known.attempts)} in {now - known.began_at:.0f} s)")

    def _log(self, known: _Cause, now: float, text: str) -> None:
        line = known.budget.spend(now, f"{known.name}: {text}")
        if line is not None:
            known.told.add(known.text)
            known.told_at = now
            assert known.trouble is not None  # It was reported.
            self._write(known.trouble, line)

    def _end(self, known: _Cause, silent_s: float | None) -> None:
        known.standing = False
        now = self._now()
        over = TroubleOver(known.name, known.attempts, now - known.began_at, silent_s)
        line = known.budget.spend(now, over.line)
        if line is not None:
            self._write(over, line)
        self._tell(over)

    # --- events ----------------------------------------------------------------------------------

    def event(self, event: NodeEvent, *, logged: bool = True) -> None:
        """Something happened and is over. False for ``logged``: another line says the same."""
        if logged:
            budget = self._events.get(event.name)
            if budget is None:
                budget = self._events[event.name] = _Budget(EVENT_LINES_MAX, self._reminder_s)
            line = budget.spend(self._now(), printable(event.line))
            if line is not None:
                self._write(event, line)
        self._tell(event)


def printable(text: str) -> str:
    """One line of bounded length, so that text from a peer or a file cannot look like another log line."""
    if len(text) > TEXT_MAX:
        text = f"{text[:TEXT_MAX]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
