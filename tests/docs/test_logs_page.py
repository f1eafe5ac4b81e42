"""The page of logs has the names that a line has, and its example is one."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

from qpidha.events import RecordUnwatched, RoleEntered
from qpidha.logs import JsonFormatter, RateLimit
from qpidha.types import Role

PAGE = (Path(__file__).parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")
CREATED = 1_700_000_000.000001


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("qpidha", logging.INFO, "", 0, message, (), extra.pop("exc_info", None))  # type: ignore[arg-type]
    made.created = CREATED
    vars(made).update(extra)
    return made


def test_the_example_is_a_line() -> None:
    (example,) = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)
    event = RoleEntered(Role.ACTIVE, 3)
    assert JsonFormatter().format(record(f"node a: {event.line}", node="a", event=event)) == example


def test_the_blocks_run() -> None:
    """They set up a handler each; what was there before is there again."""
    loggers = logging.getLogger(), logging.getLogger("qpidha")
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    names: dict[str, object] = {}
    try:
        for logger in loggers:
            logger.handlers = []
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(block, "docs/logs.md", "exec"), names)
        for logger in loggers:
            (handler,) = logger.handlers
            assert isinstance(handler.formatter, JsonFormatter) and isinstance(handler.filters[0], RateLimit)
    finally:
        for logger, (handlers, level) in zip(loggers, before, strict=True):
            logger.handlers = handlers
            logger.setLevel(level)


def test_the_table_has_every_name() -> None:
    error = ValueError("boom")
    whole = record("x", node="a", event=RecordUnwatched("gone"), exc_info=(ValueError, error, None))
    names = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert names == list(json.loads(JsonFormatter().format(whole)))
