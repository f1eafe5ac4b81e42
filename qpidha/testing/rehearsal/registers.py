"""What clients may read: one register for each name, written by one client, read by all (Q7, S1).

A register keeps the values that its writer has written, in order. The reads of all clients must agree with one order of
all reads and writes, in which each takes place between its question and its answer (a linearizable register). With one
writer that is two comparisons: a read is not older than what was known to be there when it began, and not newer than
what was written when it was answered. What one read has shown is known to be there.
"""

from __future__ import annotations

from typing import TypeAlias

Value: TypeAlias = "bytes | None"
"""None: it is not there."""


class Register:
    """One name, and the values that it had or may have."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        """The title of its `Kind`."""
        self.name = name
        self.known = 0
        """The number of the newest value that is known to be there: confirmed, or read."""
        self.values: list[Value] = [None]
        """By number. Those after `known` were written, and no answer has come yet, or none will come."""

    @property
    def title(self) -> str:
        """How it is called in messages."""
        return f"{self.kind} {self.name}"

    @property
    def certain(self) -> bool:
        """Whether its value is known, so that it may be changed."""
        return self.known == len(self.values) - 1

    def write(self, value: Value) -> None:
        """Its writer asks for this change."""
        self.values.append(value)

    def done(self) -> None:
        """The writer was told that its last change is made."""
        self.known = len(self.values) - 1

    def refused(self) -> str | None:
        """The writer was told that its last change is not made. Returns what is wrong, or None."""
        value = self.values.pop()
        if self.known < len(self.values):
            return None
        return f"S2: the change of {self.title} to {value!r} was refused, and it was read"

    def read(self, known: int, value: Value) -> str | None:
        """A read that began when `known` had this value shows this value. Returns what is wrong, or None."""
        for number in range(known, len(self.values)):
            if self.values[number] == value:
                self.known = max(self.known, number)  # A newer one of equal value is not sure to be there.
                return None
        return f"{self.title} should be {' or '.join(map(repr, self.values[known:]))}, and is {value!r}"
