"""The search: all interleavings of a small cluster, each state expanded once and checked.

The nodes are the real core and the real driver (`qpidha.testing.explorer.nodes`); the actions are in
`qpidha.testing.explorer.cluster`, the invariants in `qpidha.testing.explorer.invariants`. A counterexample is
the path of actions on which its state was reached first.
"""

from __future__ import annotations

import marshal
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from qpidha.errors import InvariantError
from qpidha.testing.explorer.cluster import Cluster
from qpidha.testing.explorer.scope import Action, Scope, State
from qpidha.testing.explorer.tables import Table
from qpidha.testing.explorer.trace import trace
from qpidha.testing.invariants.violation import Violation

ROOT = 0
STABLE = 2
"""The version of marshal whose bytes depend on values only, not on which of them are the same object."""
CLOCK_EVERY = 256
"""States between two readings of the clock."""


@dataclass
class SearchResult:
    """The result of a search."""

    states: int = 0
    """Distinct states reached."""
    expanded: int = 0
    """States whose actions were all tried."""
    transitions: int = 0
    """Actions that led to a state, known or new."""
    interruptions: int = 0
    """All states that need fewer interruptions than this were reached."""
    steps: int = 0
    """Steps of the real core: distinct pairs of a node's state and an input."""
    node_states: int = 0
    """Distinct states of single nodes."""
    seconds: float = 0.0
    complete: bool = False
    """Whether all states of the scope were expanded."""
    violation: str = ""
    """What does not hold; empty if nothing was found."""
    path: list[str] = field(default_factory=list)
    """The actions that lead to it, for reading."""

    def __str__(self) -> str:
        end = "complete" if self.complete else f"not complete, at {self.interruptions} interruptions"
        lines = [
            f"{self.states:,} distinct states by {self.transitions:,} transitions; {end}",
            f"{self.steps:,} steps of the core between {self.node_states:,} states of a node",
            f"{self.seconds:.1f} s, {self.states / max(self.seconds, 1e-9):,.0f} states/s",
        ]
        if self.violation:
            lines += [f"violation after {len(self.path)} actions:", *self.path, self.violation]
        return "\n".join(lines)


def digest(packed: bytes) -> bytes:
    """Return a hash of 16 bytes."""
    return blake2b(packed, digest_size=16).digest()


class Explorer:
    """One search. Takes about 0.6 kB of memory for each state.

    With ``interruptions`` states are reached in the order of interruptions: first all runs in which automatic
    actions happen in one order, before any other action; then those in which one action comes in between or out of
    order; then two; and so on. Without, in the order of the number of actions. Either order reaches all states.
    """

    def __init__(
        self, scope: Scope, *, interruptions: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.cluster = Cluster(scope)
        self._interruptions = interruptions
        self._clock = clock
        self._actions = Table[Action](())
        self._seen: set[bytes] = set()
        self._parents = array("Q")
        """Of each state, in the order of discovery: the state it was reached from …"""
        self._by = array("L")
        """… and by which action."""
        self._now: deque[tuple[int, bytes]] = deque()
        """States to expand."""
        self._later: dict[bytes, tuple[int, int, bytes]] = {}
        """States that need one interruption more, with parent and action."""

    def run(self, *, seconds: float = float("inf"), states: int = sys.maxsize) -> SearchResult:
        """Search until all states were expanded, an invariant does not hold, or a limit is reached.

        Args:
            seconds: Limit of the time, by the ``clock`` of the explorer.
            states: Limit of the number of states.
        """
        found = SearchResult()
        began = self._clock()
        try:
            self._search(found, began + seconds, states)
        except (Violation, InvariantError, AssertionError) as error:
            found.violation = f"{type(error).__name__}: {error}"
        found.states = len(self._seen) + sum(key not in self._seen for key in self._later)
        found.seconds = self._clock() - began
        found.steps = len(self.cluster.tables.nodes.steps)
        found.node_states = len(self.cluster.tables.nodes.views)
        return found

    def _search(self, found: SearchResult, until: float, states: int) -> None:
        packed = marshal.dumps(self.cluster.initial(), STABLE)
        self._add(digest(packed), packed, ROOT, 0)
        while True:
            while self._now:
                if len(self._seen) + len(self._later) >= states:
                    return
                if found.expanded % CLOCK_EVERY == 0 and self._clock() >= until:
                    return
                ordinal, packed = self._now.popleft()
                found.transitions += self._expand(ordinal, marshal.loads(packed), found)  # noqa: S302
                found.expanded += 1
            if not self._later:
                found.complete = True
                return
            found.interruptions += 1
            later, self._later = self._later, {}
            for key, (parent, action, packed) in later.items():
                if key not in self._seen:
                    self._add(key, packed, parent, action)

    def _expand(self, ordinal: int, state: State, found: SearchResult) -> int:
        """Try all actions of a state, automatic ones first, and return how many led to a state."""
        count, goes_on = 0, False
        for action in self.cluster.actions(state):
            try:
                after = self.cluster.act(state, action)
            except (Violation, InvariantError, AssertionError):
                found.path = trace(self.cluster, [*self.path(ordinal), action])
                raise
            if after is None:
                continue
            count += 1
            packed = marshal.dumps(after, STABLE)
            key = digest(packed)
            if key not in self._seen:
                number = self._actions.number(action)
                if goes_on and self._interruptions:
                    self._later.setdefault(key, (ordinal, number, packed))
                else:
                    self._add(key, packed, ordinal, number)
            goes_on = goes_on or self.cluster.is_automatic(action)
        return count

    def _add(self, key: bytes, packed: bytes, parent: int, action: int) -> None:
        self._seen.add(key)
        self._now.append((len(self._parents), packed))
        self._parents.append(parent)
        self._by.append(action)

    def path(self, ordinal: int) -> list[Action]:
        """Return the actions by which a state was first reached; ``ordinal``: its number by discovery."""
        actions: list[Action] = []
        while ordinal != ROOT:
            actions.append(self._actions.values[self._by[ordinal]])
            ordinal = self._parents[ordinal]
        return actions[::-1]
