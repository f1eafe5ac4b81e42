"""How a run ends that broke a promise, or left what the protocol promises to survive."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant does not hold. Starts with its name."""


class OutsideTheModel(Exception):
    """What happened is no fault that the protocol promises to survive. The run ends, and is counted apart."""
