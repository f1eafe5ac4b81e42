"""Findings: the typed reasons that the validator and the ranking give for their decisions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How much a finding weighs."""

    INFO = "info"
    """Explains a decision."""
    WARNING = "warning"
    """Worth an operator's look; nothing is refused because of it."""
    ERROR = "error"
    """The reason of a refusal."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, for people and for programs."""

    severity: Severity
    code: str
    """Stable, for programs: never reworded, never reused."""
    text: str

    def __str__(self) -> str:
        return f"{self.severity.value}: {self.text} [{self.code}]"
