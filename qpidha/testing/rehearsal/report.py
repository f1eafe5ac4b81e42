"""What a rehearsal came to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """What a rehearsal came to."""

    seed: int
    confirmed: int = 0
    duplicates: int = 0
    lives: int = 0
    virtual_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    """What was done to the cluster, and when."""
    raised: list[str] = field(default_factory=list)
    """What the broker's callbacks raised, and how its lives ended that nobody had killed."""
