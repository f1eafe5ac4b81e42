"""Random walks: everything that may happen to a cluster, in an order drawn from a seed; then no more faults.

Each run draws its own weights for the actions, and leaves many faults out altogether ("swarm"), so that some
runs crash all the time and others never do: rare combinations become common in some of them.

What is drawn first is the *plan*: the names of the steps. Each draws from a seed of its own, so that what it
chooses depends on the state it finds only, and a plan with some steps left out does much the same with the
rest: `qpidha.testing.walks.shrink` lives on that. A run that fails is repeated exactly by its seed
(``python -m qpidha.testing``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from qpidha.testing.invariants.violation import OutsideTheModel
from qpidha.testing.sim.manager import Fault
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.world import SMALL, World
from qpidha.testing.walks import ownentries, producers, readfaults
from qpidha.testing.walks.changes import WEIGHTS as CHANGES
from qpidha.testing.walks.changes import Changes
from qpidha.testing.walks.chaos import REPAIRS, Chaos
from qpidha.testing.walks.faults import FAULTS
from qpidha.testing.walks.levels import WEIGHT as LOCAL
from qpidha.testing.walks.levels import Levels
from qpidha.testing.walks.profile import ORDINARY, Profile
from qpidha.testing.walks.relay import relay
from qpidha.types import Settle

QUEUES_MAX: Final = 8
LEAST: Final = (1, 1, 1, 1, 2, 2, 3)
"""Least number of members; each equally likely, as far as there are nodes."""
LATEST_S: Final = 4.0
"""Virtual time after which every late request has arrived."""

CLIENTS: Final[Mapping[str, float]] = {
    "publish": 14,
    "burst": 3,
    "deliver": 8,
    "accept": 10,
    "move": 4,
    "wait": 4,
    "stall": 1,
    "failover": 2,
}
"""Actions of clients by weight; no run leaves one out."""

OTHERS: Final[Mapping[str, float]] = {
    "skip": 0.7,
    "declare": 0.7,
    "deaf": 0.3,
    "stray": 2,
    "zombie": 1,
    "demote": 0.4,
    "slow_disk": 1,
}

WEIGHTS: Final[Mapping[str, float]] = {
    **CLIENTS,
    **REPAIRS,
    **OTHERS,
    **{kind.name: kind.weight for kind in FAULTS},
}
"""How often each action is drawn, before a run draws its own factors."""


class Walk:
    """One random walk: a plan of steps, and the world in which they happen."""

    def __init__(
        self,
        seed: int,
        *,
        steps: int | None = None,
        wire: bool = True,
        only: Sequence[int] | None = None,
        profile: Profile = ORDINARY,
    ) -> None:
        """``steps``: another number than the profile has; ``only``: leave out every other step (see `shrink`)."""
        self.seed = seed
        self.profile = profile
        self.steps = steps = steps or profile.steps
        self.only = only
        draw = random.Random(seed)
        count = draw.choice(profile.nodes)
        self.settle = draw.choice([Settle.REPLICATED, Settle.IMMEDIATE])
        self.queues = draw.choice(profile.queues)
        window = draw.choice([2, 6, 1000])
        deaths = draw.choice([0.5, 3, 10, 25])
        changes = profile.changes_of(seed)
        self.weights = {
            name: weight * (1.0 if name in CLIENTS or name in REPAIRS else draw.choice([0, 0, 0.5, 1, 2.5]))
            for name, weight in WEIGHTS.items()
            if weight
        }
        self.weights["failover"] *= deaths
        if changes:
            self.weights["declare"] = 0.0  # `redeclare` takes its place: names come back.
            for name, weight in CHANGES.items():
                self.weights[name] = weight * changes * draw.choice([0, 0.5, 1, 1, 2])
            self.weights["local"] = LOCAL * changes * random.Random(f"{seed}/levels").choice([0, 1, 1, 2])
        if profile.relays:
            self.weights["relay"] = profile.relays * sum(self.weights.values())
        self.plan = draw.choices(list(self.weights), list(self.weights.values()), k=steps)
        if changes:
            self.plan = ownentries.mixed_in(producers.mixed_in(self.plan, seed), seed)
        self.apart = ""
        """Why this run ended early and counts neither as success nor as failure; "" if it did not."""
        self.world = World(seed=seed, nodes=("P", "B1", "B2", "B3", "B4")[:count], wire=wire)
        self.world.settings = replace(
            SMALL,
            window_operations_max=window,
            queues_per_slice=draw.choice([1, 2, 5, 500]),
            queues_per_digest=random.Random(f"{seed}/digests").choice([1, 1, 2, 32]),
            catch_up_time_max_s=random.Random(f"{seed}/pace").choice([None, 0.5]),
            memory_bytes_max=random.Random(f"{seed}/memory").choice([None, None, 1, 300, 2000]),
            min_in_sync=min(count, random.Random(f"{seed}/members").choice(LEAST)),
        )
        self.world.manager.hints = random.Random(f"{seed}/gone").choice(["none", "none", "right", "wrong"])
        if self.world.settings.memory_bytes_max is not None:
            self.plan = readfaults.mixed_in(self.plan, seed)
        self.random = self.world.random
        self.chaos = Chaos(self.world)
        self.actions: dict[str, Callable[[], None]] = {
            name: getattr(self, f"_{name}", None) or getattr(self.chaos, name)
            for name in (*self.weights, readfaults.STEP)
            if name not in CHANGES and name != "local"
        }
        if changes:
            self.actions |= Changes(self).actions() | producers.ProducerSteps(self).actions()
            self.actions["local"] = Levels(self).local
            self.actions |= ownentries.OwnEntries(self).actions()

    def run(self) -> World:
        """Run the whole walk and return its world.

        Raises:
            Violation: An invariant is broken; other exceptions are bugs of the core.
        """
        try:
            self._run()
        except OutsideTheModel as end:
            self._end(str(end))
        return self.world

    def _run(self) -> None:
        world = self.world
        world.start()
        first = next(iter(world.nodes.values()))
        first.promote()
        world.scheduler.run_while(lambda: world.primary is None, limit_s=10.0)
        for name in ("q", "dlq", *(f"q{n}" for n in range(2, QUEUES_MAX)))[: self.queues]:
            world.declare(first, name, self.settle)
        for number in range(self.steps) if self.only is None else self.only:
            self.random.seed(f"{self.seed}/{number}")  # A step means the same whatever is left out before it.
            world.say(f"* {self.plan[number]}")
            self.actions[self.plan[number]]()
            world.scheduler.run_for(self.random.expovariate(1 / self.profile.pause_s))
        world.manager.draw = lambda: Fault.NONE
        world.scheduler.run_for(LATEST_S)
        if not world.checker.listed:
            self._end("what arrived late made a lost disk the only member")  # For an operator.
            return
        world.heal()
        world.drain()

    def _end(self, why: str) -> None:
        self.apart = why
        self.world.sometimes(f"apart {why}")
        self.world.say(f"ends: {why}")

    # --- clients -------------------------------------------------------------------------------------

    def acting(self) -> SimNode | None:
        """Any node that believes it is primary: clients may have found an old one."""
        primaries = self.world.primaries
        return self.random.choice(primaries) if primaries else None

    def _publish(self) -> None:
        if node := self.acting():
            self.publish_at(node)

    def publish_at(self, node: SimNode) -> None:
        """Publish a drawn batch to a drawn queue at a node."""
        queue = self.world.queue_id(self.random.choice(["q", "q", "q", *self.world.queues]))
        count = self.random.choice([1, 1, 2, 3, 5])
        size = self.random.choice([0, 0, 20, 200])
        if queue in node.replica.queues:
            self.world.clients.publish(node, queue, self.world.clients.fresh(count), size=size)

    def _burst(self) -> None:
        for _ in range(self.random.randint(3, 10)):
            self._publish()

    def _queue_of(self, node: SimNode) -> str:
        names = [name for name, id in self.world.queues.items() if id in node.replica.queues]
        return self.random.choice(names) if names else ""

    def _deliver(self) -> None:
        if (node := self.acting()) and (name := self._queue_of(node)):
            for _ in range(self.random.randint(1, 4)):
                self.world.clients.deliver(node, self.world.queue_id(name), again=self.random.random() < 0.05)

    def _accept(self) -> None:
        if node := self.acting():
            self.accept_at(node)

    def accept_at(self, node: SimNode) -> None:
        """Deliver one message of a drawn queue at a node, and accept some of what is delivered."""
        if name := self._queue_of(node):
            queue = self.world.queue_id(name)
            self.world.clients.deliver(node, queue)
            ids = self.world.clients.unsettled(node, queue)
            if ids:
                chosen = sorted(self.random.sample(ids, self.random.randint(1, len(ids))))
                self.world.clients.accept(node, queue, chosen)

    def _move(self) -> None:
        node = self.acting()
        known = [id for id in self.world.queues.values() if node and id in node.replica.queues]
        if node is None or len(known) < 2:
            return
        source, target = self.random.sample(known[:3], 2)
        if self.random.random() < 0.4:
            self.world.clients.publish(node, source, self.world.clients.fresh(2), run=False)
        held = list(node.replica.queues[source].held)
        if held:
            held = self.random.choice([held, held[-2:]])  # The last ones may not be complete yet.
            ids = sorted(self.random.sample(held, self.random.randint(1, min(3, len(held)))))
            self.world.clients.move(node, source, ids, target)

    def _skip(self) -> None:
        if (node := self.acting()) and (name := self._queue_of(node)):
            self.world.clients.skip(node, self.world.queue_id(name), self.random.randint(1, 3))

    def _declare(self) -> None:
        """A queue that the next primary may never have heard of."""
        if (node := self.acting()) and len(self.world.queues) < QUEUES_MAX:
            name = f"q{len(self.world.queues)}"
            self.world.declare(node, name, self.settle)
            self._publish()

    # --- the cluster ---------------------------------------------------------------------------------

    def _failover(self) -> None:
        """Crash the primary, promote another member, and start the old one again later."""
        old = self.world.primary
        others = [n for n in self.world.checker.members if n is not old and n.up and not n.paused]
        if old is None or not others:
            return
        old.crash(keep=self.random.random() < 0.5)
        self.random.choice(others).promote()
        self.world.scheduler.after(self.random.uniform(0.05, 0.5), lambda: self.back(old))

    def _relay(self) -> None:
        relay(self)

    def back(self, node: SimNode) -> None:
        """Start a node again if it is down and was not removed for good."""
        if not node.up and self.world.nodes.get(node.host) is node:
            node.start()

    def _demote(self) -> None:
        if node := self.acting():
            node.demote()

    def _deaf(self) -> None:
        """Toggle whether the broker of a node fails to take messages that are handed over."""
        node = self.random.choice(list(self.world.nodes.values()))
        node.takes_discarded = not node.takes_discarded

    def _stray(self) -> None:
        """A backup with an old list of addresses: it connects to a stale primary, if there is one."""
        stale = [node for node in self.world.primaries if node is not self.world.primary]
        target = self.random.choice(stale) if stale else self.acting()
        node = self.random.choice(list(self.world.nodes.values()))
        if node.up and target and node.name != target.name:
            self.world.network.connect(node, target)

    def _zombie(self) -> None:
        """A primary that is not told of its successor, and then meets one who knows."""
        old = self.world.primary
        others = [n for n in self.world.checker.members if n is not old and n.up and not n.paused]
        if old is None or not others:
            return
        self.world.manager.stale.add(old.host)
        self.random.choice(others).promote()

        def meet() -> None:
            knows = [n for n in others if n.up and n.replica.generation > old.replica.generation]
            if old in self.world.primaries and knows:
                self.world.network.connect(knows[0], old)

        self.world.scheduler.after(self.random.uniform(0.3, 1.2), meet)

    def _slow_disk(self) -> None:
        self.world.disk_slowness = self.random.choice([10, 40])

    def _wait(self) -> None:
        self.world.scheduler.run_for(self.random.uniform(0.1, 0.6))

    def _stall(self) -> None:
        """Long enough for a member to be removed and added again."""
        self.world.scheduler.run_for(self.random.uniform(1.0, 2.5))
