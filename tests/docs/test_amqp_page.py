"""docs/amqp.md: what its table claims of our broker is shown by a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = re.compile(r"^\| of AMQP 1\.0 \|.*\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)


def rows() -> list[list[str]]:
    (table,) = TABLE.findall((ROOT / "docs" / "amqp.md").read_text())
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def names_of_tests() -> set[str]:
    text = "\n".join(path.read_text() for path in (ROOT / "tests" / "amqp").glob("test_*.py"))
    return set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))


def test_every_row_has_a_cell_for_each_broker() -> None:
    assert len(rows()) > 20
    assert {len(row) for row in rows()} == {5}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_what_ours_can_do_names_a_test(row: list[str]) -> None:
    ours, named = row[1], re.findall(r"`(test_\w+)`", row[1])
    assert bool(named) == (ours != "no")
    assert set(named) <= names_of_tests()
