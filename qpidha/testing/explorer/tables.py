"""Numbers for values: what the explorer compares and keeps instead of the values themselves."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Table(Generic[T]):
    """Values by number, and back."""

    def __init__(self, first: T) -> None:
        self.values = [first]
        self._numbers = {first: 0}

    def number(self, value: T) -> int:
        """Of this value; a new one if it has none."""
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found
