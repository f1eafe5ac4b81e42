"""Reads of a store that fail, mixed into a walk by a draw of their own: what else a seed draws stays as it was."""

from __future__ import annotations

from random import Random
from typing import Final

STEP: Final = "read_error"
"""The step of `qpidha.testing.walks.diskfaults`."""


def mixed_in(plan: list[str], seed: int) -> list[str]:
    """The steps of a run whose nodes do not have all in memory, and between them, in two of three runs, this one."""
    draw = Random(f"{seed}/reads")
    often = draw.choice([0, 0.03, 0.1])
    return [each for step in plan for each in ([step, STEP] if draw.random() < often else [step])]
