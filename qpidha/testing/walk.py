"""Random walks: everything that may happen to a cluster, in an order drawn from a seed; then no more faults.

Each run draws its own weights for the actions ("swarm"), so that some runs crash all the time and others
never do: rare combinations become common in some of them. A run that fails is repeated exactly by its seed
(``python -m qpidha.testing``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from qpidha.testing.manager import Fault
from qpidha.testing.node import SimNode
from qpidha.testing.simulator import SMALL, World
from qpidha.types import Settle

STEPS: Final = 140
PAUSE_S: Final = 0.06
"""Between two steps, on average."""

QUEUES_MAX: Final = 6
LATEST_S: Final = 4.0
"""By then every late request has arrived."""

WEIGHTS: Final[Mapping[str, float]] = {
    "publish": 14,
    "burst": 3,
    "deliver": 8,
    "accept": 10,
    "move": 3,
    "skip": 0.7,
    "declare": 0.7,
    "deaf": 0.3,
    "crash": 2,
    "crash_primary": 1.2,
    "restart": 4,
    "pause": 1.2,
    "resume": 3,
    "cut": 2,
    "cut_one_way": 1,
    "mend": 4,
    "reset": 1.5,
    "stray": 2,
    "promote": 3,
    "demote": 0.4,
    "faulty_manager": 1,
    "good_manager": 1,
    "no_manager": 1,
    "stale_watch": 1,
    "slow_disk": 1,
    "slow_network": 1,
    "good_speed": 2,
    "fail_disk": 0.3,
    "wipe": 0.5,
    "stall": 1,
    "wait": 4,
}
"""How often each action is drawn, before a run draws its own factors."""

CLIENTS: Final = frozenset({"publish", "burst", "deliver", "accept", "wait"})
"""Never left out."""


class Walk:
    """One run."""

    def __init__(
        self,
        seed: int,
        *,
        steps: int = STEPS,
        wire: bool = True,
        only: Sequence[int] | None = None,
    ) -> None:
        """``only``: leave out every other step (see `qpidha.testing.shrink`)."""
        self.seed = seed
        self.steps = steps
        self.only = only
        count = random.Random(seed).choice((2, 3, 3, 3, 3, 4, 5))
        self.world = World(seed=seed, nodes=("P", "B1", "B2", "B3", "B4")[:count], wire=wire)
        self.random = self.world.random
        self.settle = self.random.choice([Settle.REPLICATED, Settle.IMMEDIATE])
        self.weights = {
            name: weight * (1.0 if name in CLIENTS else self.random.choice([0, 0.5, 1, 1, 2.5]))
            for name, weight in WEIGHTS.items()
        }
        self.actions: dict[str, Callable[[], None]] = {name: getattr(self, f"_{name}") for name in WEIGHTS}
        self.world.settings = replace(SMALL, window_operations_max=self.random.choice([2, 6, 1000]))

    def run(self) -> World:
        """The whole run. Raises `Violation`, or whatever the core raises when it should not."""
        world = self.world
        world.start()
        first = next(iter(world.nodes.values()))
        first.promote()
        world.scheduler.run_while(lambda: world.primary is None, limit_s=10.0)
        for name in ("q", "dlq"):
            world.clients.declare(first, world.queue_id(name), name, self.settle)
        names, weights = list(self.weights), list(self.weights.values())
        plan = self.random.choices(names, weights, k=self.steps)
        for number in range(self.steps) if self.only is None else self.only:
            self.random.seed(f"{self.seed}/{number}")  # A step means the same whatever is left out before it.
            world.say(f"* {plan[number]}")
            self.actions[plan[number]]()
            world.scheduler.run_for(self.random.expovariate(1 / PAUSE_S))
        world.manager.draw = lambda: Fault.NONE
        world.scheduler.run_for(LATEST_S)
        if not world.checker.members:
            return world  # A promotion that arrived late made a lost disk the only member: for an operator.
        world.heal()
        world.drain()
        return world

    # --- choices -------------------------------------------------------------------------------------

    def _node(self, *, up: bool = True) -> SimNode | None:
        nodes = [n for n in self.world.nodes.values() if n.up == up]
        return self.random.choice(nodes) if nodes else None

    def _acting(self) -> SimNode | None:
        """Any node that believes it is primary: clients may have found an old one."""
        primaries = self.world.primaries
        return self.random.choice(primaries) if primaries else None

    def _pair(self) -> tuple[str, str]:
        a, b = self.random.sample(list(self.world.nodes), 2)
        return a, b

    # --- clients -------------------------------------------------------------------------------------

    def _publish(self) -> None:
        if node := self._acting():
            queue = self.world.queue_id(self.random.choice(["q", "q", "dlq", *self.world.queues]))
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
        if (node := self._acting()) and (name := self._queue_of(node)):
            for _ in range(self.random.randint(1, 4)):
                self.world.clients.deliver(node, self.world.queue_id(name), again=self.random.random() < 0.05)

    def _accept(self) -> None:
        if (node := self._acting()) and (name := self._queue_of(node)):
            queue = self.world.queue_id(name)
            self.world.clients.deliver(node, queue)
            ids = self.world.clients.unsettled(node, queue)
            if ids:
                chosen = sorted(self.random.sample(ids, self.random.randint(1, len(ids))))
                self.world.clients.accept(node, queue, chosen)

    def _move(self) -> None:
        node = self._acting()
        queues = [self.world.queue_id(name) for name in ("q", "dlq")]
        if node is None or not all(q in node.replica.queues for q in queues):
            return
        self.random.shuffle(queues)
        held = list(node.replica.queues[queues[0]].held)
        if held:
            ids = sorted(self.random.sample(held, self.random.randint(1, min(3, len(held)))))
            self.world.clients.move(node, queues[0], ids, queues[1])

    def _skip(self) -> None:
        if (node := self._acting()) and (name := self._queue_of(node)):
            self.world.clients.skip(node, self.world.queue_id(name), self.random.randint(1, 3))

    def _declare(self) -> None:
        """A queue that the next primary may never have heard of."""
        if (node := self._acting()) and len(self.world.queues) < QUEUES_MAX:
            name = f"q{len(self.world.queues)}"
            self.world.clients.declare(node, self.world.queue_id(name), name, self.settle)
            self._publish()

    # --- nodes ---------------------------------------------------------------------------------------

    def _kill(self, node: SimNode | None) -> None:
        if node is not None:
            keep, silent, lose = (self.random.random() < p for p in (0.5, 0.3, 0.5))
            node.crash(keep=keep, silent=silent, lose=lose)

    def _crash(self) -> None:
        self._kill(self._node())

    def _crash_primary(self) -> None:
        self._kill(self.world.primary)

    def _restart(self) -> None:
        if node := self._node(up=False):
            node.start()

    def _pause(self) -> None:
        if node := self._node():
            node.pause()

    def _resume(self) -> None:
        for node in self.world.nodes.values():
            if self.random.random() < 0.6:
                node.resume()

    def _promote(self) -> None:
        if node := self._node():
            node.promote()

    def _demote(self) -> None:
        if node := self._acting():
            node.demote()

    def _deaf(self) -> None:
        """An embedder that fails to take what is handed over."""
        if node := self._node():
            node.takes_discarded = not node.takes_discarded

    def _wipe(self) -> None:
        """Only while another member's disk is whole: the loss of every copy is no fault to survive."""
        node = self.random.choice(list(self.world.nodes.values()))
        if any(member is not node for member in self.world.checker.members):
            node.crash()
            node.disk.wipe()

    # --- surroundings --------------------------------------------------------------------------------

    def _cut(self) -> None:
        a, b = self._pair()
        self.world.network.block(a, b)
        self.world.network.block(b, a)

    def _cut_one_way(self) -> None:
        self.world.network.block(*self._pair())

    def _mend(self) -> None:
        for pair in sorted(self.world.network.blocked):
            if self.random.random() < 0.7:
                self.world.network.unblock(*pair)

    def _reset(self) -> None:
        self.world.network.reset(*self._pair())

    def _stray(self) -> None:
        """A backup with an old list of addresses: it connects to a stale primary, if there is one."""
        stale = [node for node in self.world.primaries if node is not self.world.primary]
        target = self.random.choice(stale) if stale else self._acting()
        node = self._node()
        if node and target and node is not target:
            self.world.network.connect(node, target)

    def _faulty_manager(self) -> None:
        rate = self.random.choice([0.2, 0.6])
        faults = list(Fault)

        def draw() -> Fault:
            return self.random.choice(faults) if self.random.random() < rate else Fault.NONE

        self.world.manager.draw = draw

    def _good_manager(self) -> None:
        self.world.manager.draw = lambda: Fault.NONE
        for node in self.world.nodes.values():
            self.world.manager.reconnect(node)

    def _no_manager(self) -> None:
        if node := self._node():
            self.world.manager.unreachable.add(node.name)

    def _stale_watch(self) -> None:
        if node := self._node():
            self.world.manager.stale.add(node.name)

    def _slow_disk(self) -> None:
        self.world.disk_slowness = self.random.choice([10, 40])

    def _slow_network(self) -> None:
        self.world.network_slowness = self.random.choice([5, 15])

    def _good_speed(self) -> None:
        self.world.disk_slowness = self.world.network_slowness = 1.0

    def _fail_disk(self) -> None:
        if node := self._node():
            node.disk.failing = self.random.choice(("before", "after"))

    def _wait(self) -> None:
        self.world.scheduler.run_for(self.random.uniform(0.1, 0.6))

    def _stall(self) -> None:
        """Long enough for a member to be removed and added again."""
        self.world.scheduler.run_for(self.random.uniform(1.0, 2.5))
