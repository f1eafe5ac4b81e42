"""Clusters with nodes of releases that speak wire version 3 or 4, and of this one, which speaks version 5.

Version 3 enters a generation at the activation (P3); versions 3 and 4 compare no groups (C8).

Method: nodes that are drawn from the seed do what their release does. They announce its version as backups, and agree
on no later one as primaries. Those of version 3 enter no generation with an operation as backups; as primaries they enter
theirs in every queue in the transaction of the activation. All that walks check of other clusters must hold of these.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from qpidha.core.backup import applying
from qpidha.core.backup.follower import Follower
from qpidha.core.entering import enter, enter_for
from qpidha.core.primary.activation import Activation
from qpidha.core.primary.session import BackupSession
from qpidha.core.primary.sessions import Sessions
from qpidha.core.state import NodeState
from qpidha.testing import Violation, Walk
from qpidha.testing.sim.node import SimNode
from qpidha.wire.events import Frame, Hello
from qpidha.wire.groups import SubscribeGroups
from qpidha.wire.version import DELETION_SINCE, DIGESTS_SINCE, ENTRIES_SINCE, PROTOCOL_MAX, PROTOCOL_MIN

BEFORE = (ENTRIES_SINCE - 1, DIGESTS_SINCE - 1)
"""The versions of the older releases."""
RUNS = 40


class Mixed:
    """Which nodes are of the older release, and what they do differently."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.versions: dict[str, int] = {}
        """Of the nodes of older releases."""
        self.activations = 0
        self.compared = 0
        """How often a backup sent digests."""
        self._applies_older = False
        patch.setattr(SimNode, "_send", self._announcing(SimNode._send))
        patch.setattr(Activation, "begin", self._entering(Activation.begin))
        patch.setattr(applying, "enter_for", self._unless_older)
        patch.setattr(Sessions, "_check_hello", self._agreeing(Sessions._check_hello))
        for name in ("frame_from_primary", "advance"):
            patch.setattr(Follower, name, self._as_older(getattr(Follower, name)))

    def run(self, seed: int) -> Walk:
        """One walk; one to all nodes but one are of older releases."""
        walk = Walk(seed)
        names = sorted(walk.world.nodes)
        draw = random.Random(f"{seed}/versions")
        older = draw.sample(names, draw.randint(1, max(1, len(names) - 1)))
        self.versions = {name: draw.choice(BEFORE) for name in older}
        walk.run()
        return walk

    def _announcing(self, send: Callable[[SimNode, int, Frame], None]) -> Callable[..., None]:
        def announcing(node: SimNode, link: int, frame: Frame) -> None:
            if node.name in self.versions and node.versions[0] == PROTOCOL_MIN:
                node.versions = (
                    PROTOCOL_MIN,
                    self.versions[node.name],
                )  # Also where the walk said a later one.
            if isinstance(frame.event, SubscribeGroups):
                self.compared += 1
                assert node.name not in self.versions
            send(node, link, frame)

        return announcing

    def _version(self, name: str) -> int:
        return self.versions.get(name, PROTOCOL_MAX)

    def _enters_first(self, name: str) -> bool:
        return self._version(name) < ENTRIES_SINCE

    def _agreeing(self, check: Callable[..., int]) -> Callable[..., int]:
        def agreeing(sessions: Sessions, link: int, hello: Hello) -> int:
            return min(check(sessions, link, hello), self._version(sessions._state.node))

        return agreeing

    def _entering(self, begin: Callable[[Activation, NodeState], Any]) -> Callable[..., Any]:
        def entering(activation: Activation, state: NodeState) -> Any:
            begun = begin(activation, state)
            if self._enters_first(state.node):
                self.activations += 1
                for queue in (*state.queues.values(), *state.local):
                    if (entry := enter(queue, state.generation)) is not None:
                        state.outbox.persist(entry)
            return begun

        return entering

    def _as_older(self, method: Callable[..., None]) -> Callable[..., None]:
        def as_older(follower: Follower, *args: Any) -> None:
            before, self._applies_older = self._applies_older, self._enters_first(follower._state.node)
            try:
                method(follower, *args)
            finally:
                self._applies_older = before

        return as_older

    def _unless_older(self, *args: Any) -> Any:
        return None if self._applies_older else enter_for(*args)


@pytest.mark.parametrize("first", [0, 1000])
def test_walks_of_all_releases_keep_all_invariants(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    mixed = Mixed(monkeypatch)
    acknowledged = 0
    for seed in range(first, first + RUNS):
        acknowledged += len(mixed.run(seed).world.checker.acked)
    assert acknowledged > 10 * RUNS and mixed.activations > RUNS // 2 and mixed.compared > RUNS


def test_a_plan_that_does_not_enter_the_generation_for_them_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The walks can fail: a new primary must enter its generation in the plan of an older backup (wire.md)."""
    assert min(BEFORE) >= DELETION_SINCE, "all that walks do is in all versions"
    mixed = Mixed(monkeypatch)
    plans = BackupSession.__init__

    def plain(self: BackupSession, *args: Any) -> None:
        plans(self, *args)
        self._entered = 0

    monkeypatch.setattr(BackupSession, "__init__", plain)
    with pytest.raises(Violation):
        for seed in range(RUNS):
            mixed.run(seed)
