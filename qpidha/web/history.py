"""The last minutes of a node, in memory: samples of its status, changes of the record, events."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from qpidha.checks import integer
from qpidha.events import NodeEvent
from qpidha.node import NodeStatus

SAMPLES_MAX = 600
"""One a second: ten minutes."""
CHANGES_MAX = 200
EVENTS_MAX = 500


class EventLog:
    """The newest events of a node. Give it to the node: ``Node("a", ..., on_event=events)``."""

    def __init__(self, events_max: int = EVENTS_MAX) -> None:
        """Raises `ArgumentError` for a wrong number of events to keep."""
        integer(1, 1_000_000)("events_max", events_max)
        self._kept: deque[dict[str, Any]] = deque(maxlen=events_max)

    def __call__(self, event: NodeEvent) -> None:
        """Keep it. O(1)."""
        self._kept.append(
            {"time": time.time(), "name": event.name, "level": int(event.level), "line": event.line}
        )

    def __len__(self) -> int:
        return len(self._kept)

    def entries(self) -> list[dict[str, Any]]:
        """As JSON, oldest first: time (seconds since 1970), name, level (as in ``logging``), line."""
        return list(self._kept)


class History:
    """What the page draws."""

    def __init__(self, events: EventLog | None) -> None:
        self._events = events
        self._samples: deque[dict[str, Any]] = deque(maxlen=SAMPLES_MAX)
        self._changes: deque[dict[str, Any]] = deque(maxlen=CHANGES_MAX)
        self._record: dict[str, Any] | None = None

    def sample(self, status: NodeStatus) -> None:
        """Take note of a status."""
        now = time.time()
        self._samples.append(
            {
                "time": now,
                "role": status.role,
                "position": status.position,
                "safe": status.safe,
                "depth": sum(queue.depth for queue in status.queues),
                "pending": sum(queue.pending for queue in status.queues),
                "behind": {session.node: session.behind for session in status.sessions},
                "members": len(status.members),
                "stall_s": status.loop_stall_recent_s,
                "held": sorted({hold.kind for hold in status.held_by}),
            }
        )
        record = {
            "generation": status.generation,
            "primary": status.primary,
            "members": status.members,
            "epoch": status.epoch,
        }
        if record != self._record:
            self._record = record
            self._changes.append({"time": now, **record})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "samples": list(self._samples),
            "record": list(self._changes),
            "events": [] if self._events is None else self._events.entries(),
        }
