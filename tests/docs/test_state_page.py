"""docs/state-protocol.md quotes each search of the model of a broker's whole state with its numbers."""

from __future__ import annotations

import re
from pathlib import Path

from tests.model.state.counterexamples import COUNTEREXAMPLES, parsed
from tests.model.state.rules import RULES
from tests.model.state.table import CLEAN

PAGE = (Path(__file__).resolve().parents[2] / "docs/state-protocol.md").read_text(encoding="utf-8")


def test_the_page_has_the_numbers_of_each_search() -> None:
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([0-9,]+) \| [^|]+ M \| ([0-9]+) \|$", PAGE, re.MULTILINE)
    assert rows == [(clean.name, f"{clean.states:,}", str(clean.depth)) for clean in CLEAN]


def test_each_rule_names_its_switches() -> None:
    named = dict(re.findall(r"^- \*\*([A-Z0-9]+)\*\* \[([^\]]+)\]", PAGE, re.MULTILINE))
    for switch, (code, _) in RULES.items():
        if code[0] in "JP":
            continue  # Its text is in docs/protocol.md.
        assert f"`{switch}`" in named[code], switch


def test_the_lengths_of_the_page_are_those_of_the_counterexamples() -> None:
    """The numbers behind "Removed:" of each rule, in any order."""
    texts = dict(
        re.findall(r"^- \*\*([A-Z]+[0-9])\*\* (.*?)(?=^- \*\*|^$|^#)", PAGE, re.MULTILINE | re.DOTALL)
    )
    for counterexample in COUNTEREXAMPLES:
        if RULES[counterexample.rule][0][0] in "JP":
            continue
        removed = texts[RULES[counterexample.rule][0]].partition("*Removed")[2]
        lengths = re.findall(r"\b([0-9]+)\b(?=[);])|: ([0-9]+)\.", removed)
        assert str(len(parsed(counterexample.events))) in {a or b for a, b in lengths}, counterexample.rule
