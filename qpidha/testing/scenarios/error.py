"""The error that a scenario ends with."""

from __future__ import annotations


class ScenarioError(Exception):
    """The scenario is not written correctly, or one of its expectations does not hold.

    The text is the scenario with all outputs until then; the last line says which line failed and why.
    """
