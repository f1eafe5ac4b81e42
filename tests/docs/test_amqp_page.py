"""docs/amqp.md: what its table claims of our broker is shown by a test, and what it says of others has a source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "amqp.md").read_text()
TABLE = re.compile(r"^\| of AMQP 1\.0 \|(.*)\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)
SOURCES = re.compile(r"^\| row \|(.*)\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)
SAYS_NOTHING = "–"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(pattern: re.Pattern[str]) -> tuple[list[str], list[list[str]]]:
    """The heads of its columns but the first, and its rows."""
    ((heads, body),) = pattern.findall(PAGE)
    return cells(heads), [cells(line) for line in body.splitlines()]


def rows() -> list[list[str]]:
    return table(TABLE)[1]


def collected() -> set[str]:
    """The tests of the broker that pytest collects: the last function of each name, in a file of tests, not left out."""
    found = set[str]()
    for path in (ROOT / "tests" / "amqp").glob("test_*.py"):
        module = ast.parse(path.read_text())
        functions = {each.name: each for each in module.body if isinstance(each, ast.FunctionDef)}
        marks = [ast.unparse(mark) for each in functions.values() for mark in each.decorator_list]
        assert not [mark for mark in marks if "skip" in mark or "xfail" in mark], path
        found |= {name for name in functions if name.startswith("test_")}
    return found


def test_every_row_has_a_cell_for_each_broker() -> None:
    assert len(rows()) > 20
    assert {len(row) for row in rows()} == {5}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_what_ours_can_do_names_a_test(row: list[str]) -> None:
    ours, named = row[1], re.findall(r"`(test_\w+)`", row[1])
    assert bool(named) == (ours != "no")
    assert set(named) <= collected()


def test_the_two_tables_are_of_the_same_brokers_and_rows() -> None:
    (ours, *others), sources = table(TABLE)[0], table(SOURCES)
    assert ours == "this example"
    assert [re.sub(r" \d+$", "", other) for other in others] == sources[0]
    assert [row[0] for row in rows()] == [row[0] for row in sources[1]]
    assert {len(row) for row in sources[1]} == {4}


@pytest.mark.parametrize("number", range(len(rows())), ids=lambda number: rows()[number][0])
def test_what_is_said_of_another_broker_has_a_source(number: int) -> None:
    """A dash says that there is nothing to say."""
    row, sources = rows()[number], table(SOURCES)[1][number]
    for said, source in zip(row[2:], sources[1:], strict=True):
        assert said, "an empty cell says neither that nor why"
        assert (said == SAYS_NOTHING) == (source == SAYS_NOTHING), (said, source)
        assert bool(re.search(r"\w", source)) == (source != SAYS_NOTHING), source


def test_the_sources_are_in_the_list_above_their_table() -> None:
    """Each letter there has a link; each page is named by words, each file of sources by its name."""
    above = PAGE[PAGE.index("### Where this was found") : PAGE.index("| row |")]
    heads, body = table(SOURCES)
    for head in heads:
        (entry,) = re.findall(rf"^- \*\*{re.escape(head)}\*\*: ((?:.|\n )*)", above, re.MULTILINE)
        assert "](https://" in entry, head
        letters = {
            letter for row in body for letter in re.findall(r"\b([A-Z])\b", row[heads.index(head) + 1])
        }
        assert letters <= set(re.findall(r"\b([A-Z])\b", entry)), (head, letters)
