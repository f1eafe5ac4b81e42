"""The table of docs/protocol.md that says which event is legal when, made from `qpidha.core.legality`.

``python -m tests.support.legality_page`` writes it into the page.
"""

from __future__ import annotations

from pathlib import Path

from qpidha.core.legality import (
    EVENTS,
    RULES,
    TABLE,
    FollowerState,
    LinkState,
    Outcome,
    Rule,
    SessionState,
    State,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
BEGIN, END = "<!-- legality: begin -->\n", "<!-- legality: end -->\n"
SIGNS = {Outcome.IGNORED: "ignored", Outcome.REFUSED: "NOT_PRIMARY", Outcome.ERROR: "·"}


def render() -> str:
    """One table for links that peers opened, one for the link that this node opened."""
    return "\n".join(
        [
            "On a link that a peer opened:",
            "",
            *_table([*LinkState, *SessionState]),
            "",
            "On the link that a backup opened to its primary:",
            "",
            *_table([*FollowerState]),
            "",
        ]
    )


def _table(states: list[State]) -> list[str]:
    lines = [
        "| event | " + " | ".join(state.name for state in states) + " |",
        "|---" * (len(states) + 1) + "|",
    ]
    for event in EVENTS:
        rules = [RULES[state, event] for state in states]
        if any(rule is not TABLE[state][0] for state, rule in zip(states, rules, strict=True)):
            lines.append(f"| `{event.__name__}` | " + " | ".join(map(_cell, rules)) + " |")
    others = [_cell(TABLE[state][0]) for state in states]
    return [*lines, "| any other | " + " | ".join(others) + " |"]


def _cell(rule: Rule) -> str:
    return rule.handler.lstrip("_").replace("_", " ") or SIGNS[rule.outcome]


def section(text: str) -> str:
    """Return the generated part of the page."""
    return text.split(BEGIN)[1].split(END, maxsplit=1)[0]


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.replace(BEGIN + section(text) + END, BEGIN + render() + END), encoding="utf-8")


if __name__ == "__main__":
    main()
