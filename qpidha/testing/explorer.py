"""All interleavings of a small cluster: breadth first, every state once, judged in every state.

    python -m qpidha.testing.explorer --seconds 120 --publish 3 --fault 3

The nodes are the real core and the real driver (`qpidha.testing.explorer_nodes`); what can happen to them
is in `qpidha.testing.explorer_cluster`, what must hold in `qpidha.testing.invariants`. A counterexample
is printed as the shortest list of actions that leads to it.
"""

from __future__ import annotations

import argparse
import marshal
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from hashlib import blake2b

from qpidha.errors import InvariantError
from qpidha.testing.checkers import Violation
from qpidha.testing.explorer_cluster import Cluster
from qpidha.testing.explorer_scope import LIMITED, Action, Scope, State, Table

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
    depth: int = 0
    """The longest of the shortest ways to a state."""
    whole_depth: int = 0
    """Every state that needs at most this many actions was reached."""
    steps: int = 0
    """Steps of the real core: distinct pairs of a node's state and an input."""
    node_states: int = 0
    seconds: float = 0.0
    complete: bool = False
    violation: str = ""
    path: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.states:,} distinct states by {self.transitions:,} transitions, depth {self.depth}, "
            f"{'complete' if self.complete else f'complete to depth {self.whole_depth}'}",
            f"{self.steps:,} steps of the core between {self.node_states:,} states of a node",
            f"{self.seconds:.1f} s, {self.states / max(self.seconds, 1e-9):,.0f} states/s",
        ]
        if self.violation:
            lines += [f"violation after {len(self.path)} actions:", *self.path, self.violation]
        return "\n".join(lines)


class Explorer:
    """One search."""

    def __init__(self, scope: Scope, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.cluster = Cluster(scope)
        self._clock = clock
        self._actions = Table[Action](())
        self._seen: set[bytes] = set()
        self._parents = array("Q")
        """Of each state, in the order of discovery: the state it was reached from …"""
        self._by = array("L")
        """… and by which action."""
        self._waiting: deque[tuple[int, bytes]] = deque()

    def run(self, *, seconds: float = float("inf"), states: int = sys.maxsize) -> Found:
        """Search until everything was seen, something must not be, or a limit is reached."""
        found = Found()
        began = self._clock()
        try:
            self._search(found, began + seconds, states)
        except (Violation, InvariantError, AssertionError) as error:
            found.violation = f"{type(error).__name__}: {error}"
        found.states = len(self._seen)
        found.seconds = self._clock() - began
        found.steps = len(self.cluster.tables.nodes.steps)
        found.node_states = len(self.cluster.tables.nodes.looks)
        return found

    def _search(self, found: Found, until: float, states: int) -> None:
        self._add(self.cluster.beginning(), ROOT, 0)
        level_ends = 1
        while self._waiting:
            if len(self._seen) >= states or (
                found.expanded % LOOK_EVERY == 0 and self._clock() >= until
            ):
                return
            ordinal, packed = self._waiting.popleft()
            if ordinal == level_ends:
                found.whole_depth = found.depth
                found.depth += 1
                level_ends = len(self._parents)
            found.transitions += self._expand(ordinal, marshal.loads(packed), found)  # noqa: S302
            found.expanded += 1
        found.complete = True
        found.whole_depth = found.depth

    def _expand(self, ordinal: int, state: State, found: Found) -> int:
        count = 0
        for action in self.cluster.actions(state):
            try:
                after = self.cluster.act(state, action)
            except (Violation, InvariantError, AssertionError):
                found.path = [*self.path(ordinal), describe(self.cluster, state, action)]
                raise
            if after is not None:
                count += 1
                self._add(after, ordinal, self._actions.number(action))
        return count

    def _add(self, state: State, parent: int, action: int) -> None:
        packed = marshal.dumps(state, STABLE)
        key = blake2b(packed, digest_size=16).digest()
        if key not in self._seen:
            self._seen.add(key)
            self._waiting.append((len(self._parents), packed))
            self._parents.append(parent)
            self._by.append(action)

    def path(self, ordinal: int) -> list[str]:
        """The shortest way to a state, in words: found by playing it again."""
        actions: list[Action] = []
        while ordinal != ROOT:
            actions.append(self._actions.values[self._by[ordinal]])
            ordinal = self._parents[ordinal]
        state, lines = self.cluster.beginning(), list[str]()
        for action in reversed(actions):
            lines.append(describe(self.cluster, state, action))
            state = self.cluster.done(state, action)
        return lines


def describe(cluster: Cluster, state: State, action: Action) -> str:
    return repr(action)


def main(arguments: list[str]) -> int:
    """Exit status 1: something was found."""
    parser = argparse.ArgumentParser(prog="python -m qpidha.testing.explorer", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="stop after this long")
    parser.add_argument("--states", type=int, default=sys.maxsize, help="stop after this many states")
    defaults = {f.name: f.default for f in fields(Scope)}
    for name in ("queues", *LIMITED):
        parser.add_argument(f"--{name}", type=int, default=defaults[name], metavar="N")
    options = vars(parser.parse_args(arguments))
    limits = {name: options.pop(name) for name in ("seconds", "states")}
    found = Explorer(Scope(**options)).run(**limits)
    sys.stdout.write(f"{found}\n")
    return 1 if found.violation else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
