"""Values are compared and hashed by their fields, have slots, and can be replaced like other dataclasses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpidha.values import named_value, value


@value
class Point:
    x: int
    y: int = 0


@named_value
class Named:
    x: int


def test_equal_fields_make_equal_values() -> None:
    assert Point(1, 2) == Point(1, 2) != Point(2, 1)
    assert {Point(1, 2), Point(1, 2)} == {Point(1, 2)}
    assert Named(x=1) != Point(1)
    assert replace(Point(1, 2), y=3) == Point(1, 3)


def test_they_have_slots() -> None:
    assert not hasattr(Point(1), "__dict__")
    assert not hasattr(Named(x=1), "__dict__")


def test_a_named_value_is_made_by_name() -> None:
    with pytest.raises(TypeError):
        Named(1)  # type: ignore[misc]
