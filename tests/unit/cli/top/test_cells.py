"""Columns are exactly as wide as they are said to be, for any name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qpidha.cli.text import name
from qpidha.cli.top.cells import fitted, width_of, wrapped


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
