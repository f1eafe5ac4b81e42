"""All nodes together, as their answers have it: which of them to believe, and who is not here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qpidha.cli.nodes import stopped_of
from qpidha.cli.text import View, number
from qpidha.cli.top.places import Elsewhere, Place
from qpidha.cli.top.samples import Samples
from qpidha.cli.top.watch import Report
from qpidha.cli.work import LeftOut, TimeUp

PRIMARY = ("active", "recovering")
"""Roles of a primary."""


class Seen:
    """One place, and what has come from it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.samples = Samples()
        self.id = place.id
        """The node's id; None: no answer has said it yet."""
        self.status: dict[str, Any] | None = None
        """The newest answer; None after a failure."""
        self.error: BaseException | None = None
        self.heard_at: float | None = None
        """When there was an answer or an error last."""
        self.reports = 0

    def take(self, report: Report) -> None:
        """Something came."""
        self.heard_at = report.at
        self.reports += 1
        if isinstance(report.answer, BaseException):
            self.status, self.error = None, report.answer
            return
        self.status, self.error = report.answer, None
        self.samples.add(report.at, report.answer)
        id = report.answer.get("node")
        self.id = id if isinstance(id, str) else self.id

    @property
    def view(self) -> View:
        """The newest answer; of a node that does not answer, an empty one."""
        return View(self.status)

    @property
    def runs(self) -> bool:
        """It answers, and has not stopped."""
        return self.status is not None and stopped_of(self.status) is None

    @property
    def is_primary(self) -> bool:
        """It says that it is primary."""
        return self.runs and self.view.raw("role") in PRIMARY


class Cluster:
    """The places, in the order of the command line or the cluster file."""

    def __init__(self, places: Sequence[Place], now: float, *, silence_max_s: float) -> None:
        """No report for ``silence_max_s`` means that a disk hangs: a question has a time-out."""
        self._seen = {place: Seen(place) for place in places}
        self._began = now
        self._silence_max_s = silence_max_s

    def take(self, report: Report) -> None:
        """Something came from a place."""
        self._seen[report.place].take(report)

    def check(self, now: float) -> None:
        """Time has passed: what was silent for too long counts as failed."""
        for seen in self._seen.values():
            silent_s = now - (self._began if seen.heard_at is None else seen.heard_at)
            if silent_s > self._silence_max_s:
                silent = f"no answer for {silent_s:.0f} s: its disk or file system does not answer"
                seen.status, seen.error = None, TimeUp(silent)

    @property
    def rows(self) -> list[Seen]:
        """All places but those that are no nodes, and nodes that are elsewhere and answer at their URL."""
        answering = {seen.id for seen in self._seen.values() if seen.status is not None}
        return [
            seen
            for seen in self._seen.values()
            if not isinstance(seen.error, LeftOut)
            and not (isinstance(seen.error, Elsewhere) and seen.id in answering)
        ]

    @property
    def best(self) -> Seen | None:
        """The node to believe about the cluster: of the newest generation, its primary if that answers."""
        running = [seen for seen in self._seen.values() if seen.runs]
        return max(running, default=None, key=lambda s: (number(s.view.raw("generation")) or 0, s.is_primary))

    @property
    def primary(self) -> Seen | None:
        """The primary of the newest generation; None: it does not answer here, or there is none."""
        best = self.best
        return best if best is not None and best.is_primary else None

    def unasked(self) -> list[str]:
        """Nodes of which the best one knows, and that have no row."""
        known: list[object] = []
        best = self.best
        if best is not None:
            known += [*best.view.items("members"), *best.view.items("live"), best.view.raw("primary")]
            known += [session.raw("node") for session in best.view.views("sessions")]
        rows = {seen.id for seen in self.rows}
        return sorted({id for id in known if isinstance(id, str)} - rows)

    @property
    def complete(self) -> bool:
        """Every place has answered twice, so that there are rates, or has failed."""
        return all(seen.error is not None or seen.reports >= 2 for seen in self._seen.values())

    def answers(self) -> tuple[int, int]:
        """How many places answer, of how many that should: those elsewhere should not."""
        asked = [seen for seen in self.rows if not isinstance(seen.error, Elsewhere)]
        return sum(seen.status is not None for seen in asked), len(asked)
