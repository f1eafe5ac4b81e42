"""Which walks are drawn: the ordinary ones, those that do little else than fail over, or those that change everything.

An ordinary walk spends most of its time on faults that are no failover, and on waiting for what they do. To test
many failovers, a profile draws relays (`qpidha.testing.walks.relay`) between the other steps. All faults and all
checks of the ordinary walks are there. A third profile draws commits, updates, objects, and queues that are deleted and
declared again; so do half of the walks that fail over, as their seeds say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """The parameters from which each walk draws."""

    name: str
    steps: int
    pause_s: float
    """Mean virtual time between two steps."""
    nodes: tuple[int, ...]
    """Numbers of nodes to draw from; each entry is equally likely."""
    queues: tuple[int, ...]
    relays: float = 0.0
    """Weight of relays, relative to all other steps together."""
    changes: float = 0.0
    """Factor of the weights of what changes more than messages (`qpidha.testing.walks.changes`)."""
    changing: float = 1.0
    """Share of the walks that have such changes, if ``changes`` is not zero; the others are plain."""

    def changes_of(self, seed: int) -> float:
        """The factor for the walk of this seed: ``changes``, or zero."""
        return self.changes if Random(f"{seed}/changing").random() < self.changing else 0.0


ORDINARY: Final = Profile("ordinary", 140, 0.06, (2, 3, 3, 3, 3, 4, 5), (1, 2, 2, 2, 3, 5, 8))
FAILOVERS: Final = Profile(
    "failovers", 80, 0.004, (2, 2, 3, 3, 3, 4), (1, 1, 1, 2, 2, 3), relays=3.0, changes=1.0, changing=0.5
)
CHANGES: Final = Profile("changes", 140, 0.05, (2, 3, 3, 3, 4), (1, 2, 3, 3), relays=0.05, changes=1.0)
PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({p.name: p for p in (ORDINARY, FAILOVERS, CHANGES)})
