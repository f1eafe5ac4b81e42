"""The page of events is made from the classes: name, level, fields and meaning of each."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

from qpidha import events
from qpidha.events import NodeEvent, Trouble

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
BASES = (NodeEvent, Trouble)


def kinds() -> list[type[NodeEvent]]:
    """All public kinds of event, by name."""
    found = [getattr(events, name) for name in events.__all__]
    return sorted(
        (kind for kind in found if issubclass(kind, NodeEvent) and kind not in BASES),
        key=lambda kind: kind.name,
    )


def row(kind: type[NodeEvent]) -> str:
    """One line of the table."""
    fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind))
    meaning = " ".join((inspect.getdoc(kind) or "").split())
    level = kind.level.name.lower()
    return f"| `{kind.name}` | `{kind.__name__}` | {level} | {fields} | {meaning} |"


def table(troubles: bool) -> str:
    rows = [row(kind) for kind in kinds() if issubclass(kind, Trouble) == troubles]
    return "\n".join(["| name | class | level | fields | meaning |", "|---|---|---|---|---|", *rows])


def test_the_page_has_every_event_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for part in (table(troubles=False), table(troubles=True)):
        assert part in page, f"docs/events.md should have:\n{part}"


def test_names_are_unique_and_stable_text() -> None:
    names = [kind.name for kind in kinds()]
    assert len(names) == len(set(names)) > 20
    assert all(name == name.strip() and name.isprintable() for name in names)


def test_every_event_has_a_line_that_begins_with_what_it_is() -> None:
    for kind in kinds():
        assert (inspect.getdoc(kind) or "").endswith("."), kind
        assert isinstance(inspect.getattr_static(kind, "detail"), property), kind
