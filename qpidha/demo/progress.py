"""What is shown while the demo runs: a few lines that repaint themselves, or plain lines for everything else."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Mapping
from typing import TextIO

from qpidha.demo.watch import Phase, View

PLAIN_INTERVAL_S = 1.0
LIVE_INTERVAL_S = 0.1
RATE_OVER_S = 1.0

COLOURS = {Phase.PRIMARY: "1;34", Phase.IN_SYNC: "32", Phase.CATCHING_UP: "33", Phase.DOWN: "31"}


class Rate:
    """The recent speed of a counter."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def update(self, now: float, count: int) -> float:
        """Note the counter; returns its growth per second over about the last second."""
        points = self._points
        points.append((now, count))
        while len(points) > 2 and points[1][0] <= now - RATE_OVER_S:
            points.popleft()
        (since, before), (until, after) = points[0], points[-1]
        return (after - before) / (until - since) if until > since else 0.0


class Numbers:
    """The counters of a moment and their speeds, as every display shows them."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.at = 0.0
        self.acknowledged = self.delivered = 0
        self.ack_rate = self.delivery_rate = 0.0
        self.view: View | None = None
        self._acks, self._deliveries = Rate(), Rate()

    def update(self, at: float, acknowledged: int, delivered: int, view: View | None) -> None:
        """Take in the newest counters."""
        self.at, self.acknowledged, self.delivered, self.view = at, acknowledged, delivered, view
        self.ack_rate = self._acks.update(at, acknowledged)
        self.delivery_rate = self._deliveries.update(at, delivered)

    @property
    def share(self) -> float:
        """How much of the stream is through, 0 to 1."""
        return (self.acknowledged + self.delivered) / (2 * self.total) if self.total else 1.0


def counters_line(n: Numbers) -> str:
    """The line with the counters."""
    return (
        f"acknowledged {n.acknowledged:>9,} ({n.ack_rate:>8,.0f}/s)"
        f"   delivered {n.delivered:>9,} ({n.delivery_rate:>8,.0f}/s)"
    )


def cluster_line(view: View | None, paint: Mapping[Phase, str] | None = None) -> str:
    """Who is what, and how far behind: ``a primary · b in sync (2 behind) · c down``."""
    if view is None:
        return "no broker answers yet"
    words = []
    for name, phase in view.phases.items():
        behind = view.behind.get(name, 0)
        late = f" ({behind} behind)" if behind and phase in (Phase.IN_SYNC, Phase.CATCHING_UP) else ""
        word = f"{name} {phase.value}"
        words.append((f"\x1b[{paint[phase]}m{word}\x1b[0m" if paint else word) + late)
    return f"generation {view.generation}: {' · '.join(words)}   queue {view.depth:,}"


class Display:
    """Prints lines, and keeps something up to date below them. This one does so with plain lines."""

    interval_s = PLAIN_INTERVAL_S

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._shown_at: float | None = None

    def say(self, line: str) -> None:
        """One line that stays."""
        self._write(line + "\n")

    def show(self, numbers: Numbers) -> None:
        """The present state; call as often as you like."""
        if self._shown_at is None or numbers.at - self._shown_at >= self.interval_s:
            self._shown_at = numbers.at
            self._paint(numbers)

    def close(self) -> None:
        """Leave the terminal as it was."""

    def _paint(self, n: Numbers) -> None:
        self.say(f"{n.at:6.1f} s  {n.share:4.0%}  {counters_line(n)}   {cluster_line(n.view)}")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class LiveDisplay(Display):
    """Three lines at the bottom of a terminal, painted over and over; what is said scrolls above them."""

    interval_s = LIVE_INTERVAL_S

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._block: list[str] = []

    def say(self, line: str) -> None:
        """Print a line above the block that is redrawn."""
        self._write(f"{self._erase()}{line}\n{self._drawn()}")

    def close(self) -> None:
        """Remove the block."""
        self._write(self._erase())
        self._block = []

    def _paint(self, n: Numbers) -> None:
        columns = shutil.get_terminal_size().columns
        erase = self._erase()
        self._block = [
            "",
            clip(f"{bar(n.share, min(40, columns - 20))} {n.share:4.0%}  {n.at:6.1f} s", columns),
            clip(counters_line(n), columns),
            # Colours take no room, so a line that fits without them is painted; a longer one is not.
            cluster_line(n.view, COLOURS)
            if len(cluster_line(n.view)) < columns
            else clip(cluster_line(n.view), columns),
        ]
        self._write(erase + self._drawn())

    def _erase(self) -> str:
        """Back to the first line of the block, and clear from there."""
        return f"\x1b[{len(self._block)}F\x1b[J" if self._block else ""

    def _drawn(self) -> str:
        return "".join(line + "\n" for line in self._block)


def clip(line: str, columns: int) -> str:
    """A line that does not wrap."""
    return line if len(line) < columns else line[: max(0, columns - 2)] + "…"


def bar(share: float, width: int) -> str:
    """A share as a bar of block characters."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width, "░")


def display_for(out: TextIO, environment: Mapping[str, str] = os.environ) -> Display:
    """Repaint only where it can be seen: not in a pipe, a dumb terminal, or where colours are unwanted."""
    encoding = (getattr(out, "encoding", None) or "").lower().replace("-", "")
    capable = out.isatty() and environment.get("TERM", "dumb") != "dumb" and encoding == "utf8"
    return LiveDisplay(out) if capable and not environment.get("NO_COLOR") else Display(out)
