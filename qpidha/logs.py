"""The log of a broker's process: as text for people, or one JSON object a line for programs; rate limited either way.

    from qpidha import logs
    logs.configure("json", node="a")

The library only writes to the loggers `qpidha` and those below it, with an event and its fields (`qpidha.events`) on each
record; it never changes what is done with them. A broker with a configuration of its own takes `JsonFormatter` and
`RateLimit` from here. docs/logs.md lists what a line has.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from qpidha.checks import one_of
from qpidha.events import NodeEvent, Trouble
from qpidha.system.texts import json_text

__all__ = ["FORMATS", "JsonFormatter", "RateLimit", "configure"]

FORMATS = ("text", "json")
TEXT = "%(asctime)s %(name)s: %(message)s"
TEXT_CHARS_MAX = 4_000
"""Of one text among the fields: it may repeat what a peer sent. Tracebacks are not cut."""
LINES_MAX = 60
WINDOW_S = 60.0
TEMPLATES_MAX = 1_000


class JsonFormatter(logging.Formatter):
    """One JSON object for each record, in ASCII and on one line, its traceback included."""

    def __init__(self, node: str | None = None) -> None:
        """``node`` is the node of this process, for records that do not name theirs."""
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        event = getattr(record, "event", None)
        found: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "node": _plain(getattr(record, "node", self._node)),
            "message": record.getMessage(),
        }
        if isinstance(event, NodeEvent):
            found["event"] = event.name
            if isinstance(event, Trouble):
                found["cause"] = _plain(event.cause)
            found["fields"] = {
                field.name: _plain(getattr(event, field.name)) for field in dataclasses.fields(event)
            }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            found["error"] = {
                "type": type(error).__name__,
                "text": _plain(str(error)),
                "traceback": "".join(traceback.format_exception(error)),
            }
        return json_text(found)


class RateLimit(logging.Filter):
    """Of one text of the source, at most so many lines in a window of time; what is left out is counted in the next.

    For a handler. Lines with an event pass: the node limits those itself, with the events that are the same in mind.
    """

    def __init__(
        self,
        lines_max: int = LINES_MAX,
        window_s: float = WINDOW_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._lines_max = lines_max
        self._window_s = window_s
        self._now = now
        self._budgets: dict[tuple[str, int, str], list[float]] = {}
        """When the window was opened, lines in it, lines left out; by what is the same about lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written. O(1)."""
        if hasattr(record, "event"):
            return True
        now = self._now()
        if len(self._budgets) >= TEMPLATES_MAX:
            self._budgets.clear()
        key = (record.name, record.levelno, str(record.msg))
        budget = self._budgets.setdefault(key, [now, 0, 0])
        notes = []
        if now - budget[0] >= self._window_s:
            if budget[2]:
                notes.append(f"{budget[2]:.0f} such lines were left out before")
            budget[:] = [now, 0, 0]
        if budget[1] >= self._lines_max:
            budget[2] += 1
            return False
        budget[1] += 1
        if budget[1] == self._lines_max:
            notes.append(f"too often: more such lines are left out for {self._window_s:g} s")
        if notes:
            record.msg, record.args = f"{record.getMessage()} ({'; '.join(notes)})", None
        return True


class _EndedTls(logging.Filter):
    """Leaves out what uvloop reports of itself when it writes to a TLS connection that has ended in the same turn.

    Whoever uses the connection is told of its end. The TLS of asyncio does not report it either.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (
            record.name == "asyncio"
            and isinstance(error, RuntimeError)
            and str(error).endswith("; the handler is closed")
            and record.getMessage().startswith("Fatal error on SSL protocol")
        )


def configure(layout: str = "text", *, node: str | None = None, stream: TextIO | None = None) -> None:
    """Send the log of this process to its standard error, from level info on. Replaces what was set up before.

    Args:
        layout: "text" or "json".
        node: The node of this process: for lines that no node wrote.
        stream: Where to, if not there.

    Raises:
        ArgumentError: There is no such format.
    """
    one_of(*FORMATS)("layout", layout)
    handler = logging.StreamHandler(stream)
    handler.addFilter(RateLimit())
    handler.addFilter(_EndedTls())
    handler.setFormatter(JsonFormatter(node) if layout == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _time(seconds: float) -> str:
    """In UTC, as RFC 3339 has it."""
    found = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds")
    return found.replace("+00:00", "Z")


def _plain(value: object) -> Any:
    """A value of an event, or of a record of any library, as JSON knows it. Each has some form: a log must not fail."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if len(value) <= TEXT_CHARS_MAX else f"{value[:TEXT_CHARS_MAX]}…"
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(each) for each in value), key=str)
    if isinstance(value, BaseException):
        return _plain(f"{type(value).__name__}: {value}")
    if isinstance(value, (UUID, Path)):
        return str(value)
    try:
        return _plain(repr(value))
    except Exception:  # noqa: BLE001 - code of whoever wrote the record
        return object.__repr__(value)
