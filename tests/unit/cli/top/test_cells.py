"""Columns are exactly as wide as they are said to be, for any name and any number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpidha.cli.text import name
from qpidha.cli.top.cells import amount, duration, fitted, size, width_of, wrapped

NUMBERS = st.one_of(st.none(), st.floats(min_value=0), st.integers(0, 10**30).map(float))


@given(st.text(), st.integers(1, 60), st.booleans())
def test_a_name_fits_its_column(text: str, width: int, right: bool) -> None:
    shown = name(text)
    cell = fitted(shown, width, right=right)
    assert width_of(cell) == width
    if width_of(shown) <= width:
        assert cell.strip() == shown.strip()
    else:
        assert "…" in cell


def test_wide_characters_take_two_columns() -> None:
    assert width_of("日本") == 4 and width_of("e\u0301") == 1
    assert fitted("日本語", 4) == "日… "
    assert fitted("ab", 4, right=True) == "  ab"


@given(st.lists(st.text("ab日", min_size=1, max_size=30)), st.integers(10, 40))
def test_wrapped_lines_fit_and_lose_nothing(words: list[str], width: int) -> None:
    lines = wrapped(" ".join(words), width, "  ")
    assert all(width_of(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(words)


def test_wrapped_lines_are_broken_between_words() -> None:
    assert wrapped("one two three", 8, "  ") == ["one two", "  three"]
    assert wrapped("", 8) == [""]


@given(NUMBERS)
def test_numbers_fit_their_columns(value: float | None) -> None:
    assert len(amount(value)) <= 6
    assert len(size(value)) <= 7
    assert len(duration(value)) <= 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.4, "0.4"), (9.96, "10.0"), (17, "17"), (1234, "1,234"), (9999.7, "10,000"), (12345, "12.3k"),
     (123456, "123k"), (4.5e6, "4.5M"), (1e30, ">999P"), (None, "-"), (math.nan, "-")],
)  # fmt: skip
def test_amounts(value: float | None, shown: str) -> None:
    assert amount(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (512, "512 B"), (999, "999 B"), (1200, "1.2 kB"), (123_456, "123 kB"), (34.5e6, "34.5 MB"),
     (1e30, ">999 PB"), (None, "-")],
)  # fmt: skip
def test_sizes(value: float | None, shown: str) -> None:
    assert size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0.0ms"), (0.0003, "0.3ms"), (0.012, "12ms"), (0.9999, "1.0s"), (1.24, "1.2s"), (34, "34s"), (99, "99s"),
     (120, "2m"), (7200, "2h"), (5 * 86_400, "5d"), (-1, "0.0ms"), (None, "-"), (math.inf, "-")],
)  # fmt: skip
def test_durations(value: float | None, shown: str) -> None:
    assert duration(value) == shown
