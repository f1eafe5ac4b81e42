"""Bugs in what operators and their scripts see: how far a command has come, and the names of metrics and events."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

PROGRESS = "qpidha/cli/progress.py"
OPERATORS: tuple[Mutant, ...] = (
    Mutant(
        name="progress-at-once",
        rules="L6",
        why="a quick command writes a line about its progress, into a log too",
        file=PROGRESS,
        old="self._next = clock() + (PATIENCE_S if self._live else LOGGED_EACH_S)",
        new="self._next = clock()",
        first="cli/test_progress",
    ),
    Mutant(
        name="progress-after-the-end",
        rules="L6",
        why="a thread that goes on writes a line among the results",
        file=PROGRESS,
        old="        if now < self._next or self._ended:\n",
        new="        if now < self._next:\n",
        first="cli/test_progress",
    ),
    Mutant(
        name="more-than-the-whole",
        rules="L6",
        why="a store that grows while it is copied is done to more than 100 %",
        file="qpidha/amounts.py",
        old="done, of_bytes = min(done, total) if total else done, unit == BYTES",
        new="done, of_bytes = done, unit == BYTES",
        first="test_amounts",
    ),
    Mutant(
        name="event-renamed",
        rules="V5",
        why="a better name for an event: scripts that wait for the old one wait for ever",
        file="qpidha/events/node.py",
        old='name: ClassVar = "trouble over"',
        new='name: ClassVar = "trouble has ended"',
        first="docs/test_names_page",
    ),
    Mutant(
        name="metric-renamed",
        rules="V5",
        why="a better name for a metric: alerts that use the old one are silent",
        file="qpidha/web/metrics.py",
        old='"qpidha_queue_messages"',
        new='"qpidha_queue_depth"',
        first="web/test_metrics",
    ),
)
