"""Which walks are drawn: the ordinary ones, or those that do little else than fail over.

An ordinary walk spends most of its time on faults that are no failover, and on waiting for what they do. To test
many failovers, a profile draws relays (`qpidha.testing.walks.relay`) between the other steps. All faults and all
checks of the ordinary walks are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """What walks are like before each draws its own."""

    name: str
    steps: int
    pause_s: float
    """Between two steps, on average."""
    nodes: tuple[int, ...]
    """How many; each equally likely."""
    queues: tuple[int, ...]
    relays: float = 0.0
    """How often a relay is drawn, for one of all other steps together."""


ORDINARY: Final = Profile("ordinary", 140, 0.06, (2, 3, 3, 3, 3, 4, 5), (1, 2, 2, 2, 3, 5, 8))
FAILOVERS: Final = Profile("failovers", 80, 0.004, (2, 2, 3, 3, 3, 4), (1, 1, 1, 2, 2, 3), relays=3.0)
PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({p.name: p for p in (ORDINARY, FAILOVERS)})
