"""What producers do in a walk: publish with sequences, repeat, leave gaps, give up, register again; and are forgotten.

Drawn in some of the runs of a profile that has `changes`, by the seed, besides their other steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.producing import KNOWN, SENDS, ProducerClient, Producing
from qpidha.testing.walks.changes import ChangingWalk
from qpidha.types import QueueId

PRODUCERS: Final = 3
WEIGHTS: Final[Mapping[str, float]] = {"produce": 30, "repeat": 24, "give_up": 3, "gap": 2, "forget": 1}
"""How often each is drawn, before a run draws its own factors."""
RUNS: Final = 0.4
"""So many of the runs draw them."""
COUNTED: Final = (*(f"step {name}" for name in WEIGHTS), f"client {SENDS}", KNOWN)
"""The counters that some hundred walks must reach."""


def mixed_in(plan: list[str], seed: int) -> list[str]:
    """The steps of a run, and between them those of producers if the run has any: a third of all then."""
    draw = Random(f"{seed}/producers")
    if draw.random() > RUNS:
        return plan
    factors = [weight * draw.choice([0.5, 1, 1, 2]) for weight in WEIGHTS.values()]
    mixed = list[str]()
    for step in plan:
        mixed.append(step)
        if draw.random() < 0.5:
            mixed += draw.choices(list(WEIGHTS), factors)
    return mixed


class ProducerSteps:
    """The steps of `WEIGHTS`, for one walk."""

    def __init__(self, walk: ChangingWalk) -> None:
        self._walk = walk
        self._producing = Producing(walk.world.clients)
        self.clients = [ProducerClient(f"producer {n}") for n in range(PRODUCERS)]

    def actions(self) -> dict[str, Callable[[], None]]:
        """The steps by name."""
        return {name: getattr(self, name) for name in WEIGHTS}

    def produce(self) -> None:
        """A producer publishes new messages. It registers first if it has to."""
        if drawn := self._drawn():
            node, client, queue = drawn
            for _ in range(self._walk.random.randint(1, 3)):
                if self._is_primary(node) and client.epoch is not None:
                    values = self._walk.world.clients.fresh(self._walk.random.randint(1, 4))
                    self._producing.publish(node, client, queue, values)

    def repeat(self) -> None:
        """A producer repeats what it was not told, at whatever node is primary now, in batches of another size."""
        if drawn := self._drawn():
            node, client, queue = drawn
            self._producing.repeat(node, client, queue, self._walk.random.randint(1, 5))

    def give_up(self) -> None:
        """A producer does not want the first message that it was not told any more."""
        if drawn := self._drawn():
            node, client, _ = drawn
            self._producing.give_up_one(node, client)

    def gap(self) -> None:
        """A producer that left one out: nothing of it may be stored."""
        if drawn := self._drawn():
            node, client, queue = drawn
            if client.epoch is not None:
                self._producing.gap(node, client, queue)

    def forget(self) -> None:
        """The primary forgets a producer; or a client registers again."""
        if drawn := self._drawn():
            node, client, _ = drawn
            again = self._walk.random.random() < 0.4
            (self._producing.register if again else self._producing.forget)(node, client)

    def _drawn(self) -> tuple[SimNode, ProducerClient, QueueId] | None:
        """A primary, a producer that is registered if the primary takes it, and a queue."""
        node, random = self._walk.acting(), self._walk.random
        if node is None or not (queues := node.replica.message_queues):
            return None
        client, queue = random.choice(self.clients), random.choice(queues).queue
        if client.epoch is None:
            self._producing.register(node, client)
        return (node, client, queue) if self._is_primary(node) and queue in node.replica.queues else None

    @staticmethod
    def _is_primary(node: SimNode) -> bool:
        return node.up and node.replica.primary is not None
