"""All interleavings of a small cluster: every state once, judged in every state.

The nodes are the real core and the real driver (`qpidha.testing.explorer.nodes`); what can happen to them
is in `qpidha.testing.explorer.cluster`, what must hold in `qpidha.testing.explorer.invariants`. A counterexample
is printed as the shortest list of actions that leads to it.
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
LOOK_EVERY = 256


@dataclass
class Found:
    """What a search came to."""

    states: int = 0
    """Distinct states reached."""
    expanded: int = 0
    """Of these, how many had all their actions tried."""
    transitions: int = 0
    interruptions: int = 0
    """Everything that takes fewer of these was reached."""
    steps: int = 0
    """Steps of the real core: distinct pairs of a node's state and an input."""
    node_states: int = 0
    seconds: float = 0.0
    complete: bool = False
    violation: str = ""
    path: list[str] = field(default_factory=list)

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
    """One search.

    With ``interruptions`` states are reached in the order of what it takes to reach them: first all runs in
    which everything that happens by itself does so, in one order, before anything else happens; then those in which
    one thing comes between or out of order; then two; and so on. Without, in the order of the number of actions.
    Either way it ends when everything was reached.
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
        """States to go on from."""
        self._later: dict[bytes, tuple[int, int, bytes]] = {}
        """States reached by one interruption more than those, with the way to them."""

    def run(self, *, seconds: float = float("inf"), states: int = sys.maxsize) -> Found:
        """Search until everything was seen, something must not be, or a limit is reached."""
        found = Found()
        began = self._clock()
        try:
            self._search(found, began + seconds, states)
        except (Violation, InvariantError, AssertionError) as error:
            found.violation = f"{type(error).__name__}: {error}"
        found.states = len(self._seen) + sum(key not in self._seen for key in self._later)
        found.seconds = self._clock() - began
        found.steps = len(self.cluster.tables.nodes.steps)
        found.node_states = len(self.cluster.tables.nodes.looks)
        return found

    def _search(self, found: Found, until: float, states: int) -> None:
        packed = marshal.dumps(self.cluster.beginning(), STABLE)
        self._add(digest(packed), packed, ROOT, 0)
        while True:
            while self._now:
                if len(self._seen) + len(self._later) >= states:
                    return
                if found.expanded % LOOK_EVERY == 0 and self._clock() >= until:
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

    def _expand(self, ordinal: int, state: State, found: Found) -> int:
        """Let everything happen that can, what happens by itself first."""
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
            goes_on = goes_on or self.cluster.is_quiet(action)
        return count

    def _add(self, key: bytes, packed: bytes, parent: int, action: int) -> None:
        self._seen.add(key)
        self._now.append((len(self._parents), packed))
        self._parents.append(parent)
        self._by.append(action)

    def path(self, ordinal: int) -> list[Action]:
        """The way on which a state was first reached."""
        actions: list[Action] = []
        while ordinal != ROOT:
            actions.append(self._actions.values[self._by[ordinal]])
            ordinal = self._parents[ordinal]
        return actions[::-1]
