"""Numbers for values: the explorer compares and keeps numbers instead of values."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Table(Generic[T]):
    """Values by number, and numbers by value. It only grows."""

    def __init__(self, first: T) -> None:
        self.values = [first]
        self._numbers = {first: 0}

    def number(self, value: T) -> int:
        """Return the number of this value, a new one if it has none. O(1)."""
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found
