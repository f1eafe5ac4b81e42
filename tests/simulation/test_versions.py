"""Clusters with nodes of a release that speaks wire version 3: it enters a generation at the activation (P3).

Method: nodes that are drawn from the seed do what that release does. As backups they announce version 3 and enter no
generation with an operation; as primaries they enter theirs in every queue in the transaction of the activation. All
that walks check of other clusters must hold of these.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qpidha.core.backup import session as backup_session
from qpidha.core.backup.follower import Follower
from qpidha.core.entering import enter, enter_for
from qpidha.core.primary.activation import Activation
from qpidha.core.primary.session import BackupSession
from qpidha.core.state import NodeState
from qpidha.testing import Violation, Walk
from qpidha.testing.sim.node import SimNode
from qpidha.wire.events import Frame, Hello
from qpidha.wire.version import DELETION_SINCE, ENTRIES_SINCE

BEFORE = ENTRIES_SINCE - 1
RUNS = 40


class Mixed:
    """Which nodes are of the older release, and what they do differently."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.older = frozenset[str]()
        self.activations = 0
        self._applies_older = False
        patch.setattr(SimNode, "_send", self._announcing(SimNode._send))
        patch.setattr(Activation, "begin", self._entering(Activation.begin))
        patch.setattr(backup_session, "enter_for", self._unless_older)
        for name in ("frame_from_primary", "advance"):
            patch.setattr(Follower, name, self._as_older(getattr(Follower, name)))

    def run(self, seed: int) -> Walk:
        """One walk; one to all nodes but one are of the older release."""
        walk = Walk(seed)
        names = sorted(walk.world.nodes)
        draw = random.Random(f"{seed}/versions")
        self.older = frozenset(draw.sample(names, draw.randint(1, max(1, len(names) - 1))))
        walk.run()
        return walk

    def _announcing(self, send: Callable[[SimNode, int, Frame], None]) -> Callable[..., None]:
        def announcing(node: SimNode, link: int, frame: Frame) -> None:
            if isinstance(frame.event, Hello) and node.name in self.older:
                frame = replace(frame, event=replace(frame.event, version_max=BEFORE))
            send(node, link, frame)

        return announcing

    def _entering(self, begin: Callable[[Activation, NodeState], Any]) -> Callable[..., Any]:
        def entering(activation: Activation, state: NodeState) -> Any:
            begun = begin(activation, state)
            if state.node in self.older:
                self.activations += 1
                for queue in (*state.queues.values(), *state.local):
                    if (entry := enter(queue, state.generation)) is not None:
                        state.outbox.persist(entry)
            return begun

        return entering

    def _as_older(self, method: Callable[..., None]) -> Callable[..., None]:
        def as_older(follower: Follower, *args: Any) -> None:
            before, self._applies_older = self._applies_older, follower._state.node in self.older
            try:
                method(follower, *args)
            finally:
                self._applies_older = before

        return as_older

    def _unless_older(self, *args: Any) -> Any:
        return None if self._applies_older else enter_for(*args)


@pytest.mark.parametrize("first", [0, 1000])
def test_walks_of_both_releases_keep_all_invariants(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    mixed = Mixed(monkeypatch)
    acknowledged = 0
    for seed in range(first, first + RUNS):
        acknowledged += len(mixed.run(seed).world.checker.acked)
    assert acknowledged > 10 * RUNS and mixed.activations > RUNS


def test_a_plan_that_does_not_enter_the_generation_for_them_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The walks can fail: a new primary must enter its generation in the plan of an older backup (wire.md)."""
    assert DELETION_SINCE <= BEFORE, "all that walks do is in both versions"
    mixed = Mixed(monkeypatch)
    plans = BackupSession.__init__

    def plain(self: BackupSession, *args: Any) -> None:
        plans(self, *args)
        self._entered = 0

    monkeypatch.setattr(BackupSession, "__init__", plain)
    with pytest.raises(Violation):
        for seed in range(RUNS):
            mixed.run(seed)
