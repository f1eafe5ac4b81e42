"""Nodes are asked side by side, again and again; one that hangs holds up nobody."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpidha.cli.top.places import Place
from qpidha.cli.top.watch import Report, Watch

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Fake(Place):
    """A node that answers with a number, or hangs until it is released."""

    asked: list[int] = field(default_factory=list, hash=False)
    released: threading.Event | None = field(default=None, hash=False)
    error: Exception | None = field(default=None, hash=False)

    def ask(self, timeout_s: float, queues: int) -> dict[str, Any]:
        self.asked.append(queues)
        if self.released is not None:
            self.released.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        return {"number": len(self.asked)}


def fake(name: str, **options: Any) -> Fake:
    return Fake(Path(name), Path(name) / "control.sock", name, **options)


def gathered(watch: Watch, count: int) -> list[Report]:
    found: list[Report] = []
    while len(found) < count:
        found += watch.reports(wait_s=WAIT_S)
    return found


def test_a_node_that_hangs_holds_up_nobody() -> None:
    released = threading.Event()
    hung, fine = fake("hung", released=released), fake("fine")
    watch = Watch([hung, fine], interval_s=0.001, timeout_s=1.0, queues=7)
    watch.start()
    try:
        reports = gathered(watch, 5)
        assert {report.place for report in reports} == {fine}
        numbers = [report.answer["number"] for report in reports if isinstance(report.answer, dict)]
        assert numbers == list(range(1, len(reports) + 1))
        assert [report.at for report in reports] == sorted(report.at for report in reports)
        assert hung.asked == [7]
    finally:
        watch.stop()
        released.set()


def test_an_error_is_a_report() -> None:
    broken = fake("broken", error=RuntimeError("boom"))
    watch = Watch([broken], interval_s=0.001, timeout_s=1.0, queues=7)
    watch.start()
    try:
        assert all(report.answer is broken.error for report in gathered(watch, 3))
    finally:
        watch.stop()


def test_a_node_can_be_asked_before_its_time() -> None:
    fine = fake("fine")
    watch = Watch([fine], interval_s=1000.0, timeout_s=1.0, queues=7)
    watch.start()
    try:
        gathered(watch, 1)
        assert list(watch.reports()) == []
        watch.ask_now()
        gathered(watch, 1)
    finally:
        watch.stop()
