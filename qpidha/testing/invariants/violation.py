"""The two ways in which a run ends early: a broken invariant, or a fault that no protocol survives."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant does not hold. The text is ``RULE: what was found``, for example ``S1: …``."""


class OutsideTheModel(Exception):
    """The fault is none that the protocol promises to survive. The run ends, and is counted separately."""
