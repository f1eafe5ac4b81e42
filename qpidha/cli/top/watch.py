"""Asks each node again and again, in a thread for each: a disk that hangs holds up nothing but its own row."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qpidha.cli.top.places import Place


@dataclass(frozen=True, slots=True)
class Report:
    """What came of asking one node once."""

    place: Place
    at: float
    """When the answer or the error came, by `time.monotonic`."""
    answer: dict[str, Any] | BaseException


class Watch:
    """The threads. They are daemons: one that waits for a disk does not prevent the program from ending."""

    def __init__(self, places: Sequence[Place], *, interval_s: float, timeout_s: float, queues: int) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._queues = queues
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._closed = False
        self._pokes = {place: threading.Event() for place in places}

    def start(self) -> None:
        """Begin to ask."""
        for place, poke in self._pokes.items():
            threading.Thread(target=self._run, args=(place, poke), daemon=True, name="qpidha-top").start()

    def ask_now(self) -> None:
        """Ask at once instead of at the next time."""
        for poke in self._pokes.values():
            poke.set()

    def stop(self) -> None:
        """Ask no more. Does not wait for what is under way."""
        self._closed = True
        self.ask_now()

    def reports(self, wait_s: float = 0.0) -> Iterator[Report]:
        """What has come since the last call. Waits for a first one, but no longer than this."""
        try:
            yield self._reports.get(timeout=wait_s) if wait_s > 0 else self._reports.get_nowait()
            while True:
                yield self._reports.get_nowait()
        except queue.Empty:
            return

    def _run(self, place: Place, poke: threading.Event) -> None:
        while not self._closed:
            poke.clear()
            begun = time.monotonic()
            try:
                answer: dict[str, Any] | BaseException = place.ask(self._timeout_s, self._queues)
            except Exception as error:  # noqa: BLE001 - it is shown in the row of the node
                answer = error
            ended = time.monotonic()
            self._reports.put(Report(place, ended, answer))
            poke.wait(max(0.0, self._interval_s - (ended - begun)))
