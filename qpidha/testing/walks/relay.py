"""A relay: one failover, from the end of a primary to the first publish that its successor answers.

The primary dies, hands over or is superseded while publishes are under way; a member takes over.
"""

from __future__ import annotations

from random import Random
from typing import Final, Protocol

from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.world import World
from qpidha.testing.walks.chaos import Chaos

TRIES: Final = 3
"""A promotion is lost if the record changed meanwhile; the next one knows of that."""
TAKES_OVER_S: Final = 0.5
"""By then a promotion is won, or a fault prevents it and the walk goes on."""
TAKEN_AT_ONCE: Final = 6
"""Maximum of messages that a consumer takes of each queue; most are accepted."""
REPAIRED_S: Final = 1.2
"""By then a member that was removed is one again, mostly."""
ANSWERS_S: Final = 0.8
"""By then the successor has answered a publish, unless a member is away."""


class FailingWalk(Protocol):
    """The walk that a relay is a step of."""

    world: World
    random: Random
    chaos: Chaos

    def publish_at(self, node: SimNode) -> None:
        """Publish a drawn batch at a node."""

    def back(self, node: SimNode) -> None:
        """Start a node again if it is down."""


def relay(walk: FailingWalk) -> None:
    """One failover, from the end of a primary to the first publish that its successor answers."""
    world, random = walk.world, walk.random
    if not _next(walk):
        _repair(walk)
    old, others = world.primary, _next(walk)
    if old is None or not others:
        return
    new = random.choice(others)
    walk.publish_at(old)
    how = random.random()
    if how < 0.6:
        old.crash(keep=random.random() < 0.5, silent=random.random() < 0.2, lose=random.random() < 0.5)
        world.scheduler.after(random.uniform(0.005, 0.06), lambda: walk.back(old))
    elif how < 0.75:
        old.demote()
        world.scheduler.run_while(lambda: _is_named(walk, old), limit_s=TAKES_OVER_S)
    for _ in range(TRIES):
        new.promote()
        world.scheduler.run_while(lambda: _asks(new), limit_s=TAKES_OVER_S)
        if _leads(new):
            break
    if _leads(new):
        walk.publish_at(new)
        world.scheduler.run_while(lambda: _owes(new), limit_s=ANSWERS_S)
    if _leads(new):
        _consume(walk, new)


def _consume(walk: FailingWalk, node: SimNode) -> None:
    """Consumers that keep up: queues that grow are another matter, and slow."""
    clients, random = walk.world.clients, walk.random
    for queue in [q.queue for q in node.replica.message_queues]:
        if random.random() < 0.2:
            continue
        for _ in range(TAKEN_AT_ONCE):
            if not clients.deliver(node, queue):
                break
        if ids := clients.unsettled(node, queue):
            clients.accept(node, queue, ids if random.random() < 0.7 else ids[: random.randint(1, len(ids))])


def _next(walk: FailingWalk) -> list[SimNode]:
    """The members that could take over from the primary; none without a primary."""
    old = walk.world.primary
    members = walk.world.checker.members if old else []
    return [n for n in members if n is not old and n.up and not n.paused and n.replica.in_sync]


def _is_named(walk: FailingWalk, node: SimNode) -> bool:
    current = walk.world.manager.current
    return (
        current is not None and current.record.primary is not None and current.record.primary[0] == node.name
    )


def _asks(node: SimNode) -> bool:
    """Whether it asked to become primary, and the cluster manager did not answer yet."""
    return node.up and node.replica.primary is None and node.replica.manager.in_flight is not None


def _leads(node: SimNode) -> bool:
    return node.up and node.replica.primary is not None


def _owes(node: SimNode) -> bool:
    """Whether it is primary and has operations that are not safe yet."""
    primary = node.replica.primary if node.up else None
    return primary is not None and primary.safe < primary.position


def _repair(walk: FailingWalk) -> None:
    """Repair the cluster as an operator does, until there is a primary and a successor."""
    world, chaos = walk.world, walk.chaos
    chaos.good_manager()
    chaos.good_speed()
    chaos.mend()
    chaos.repair_disk()
    for node in list(world.nodes.values()):
        node.resume()
        if node.disk.damage:
            node.replace_disk()
        walk.back(node)
    world.scheduler.run_while(lambda: world.primary is None, limit_s=walk.random.uniform(0.05, 0.2))
    for _ in range(TRIES):
        if world.primary is None:
            chaos.promote()
            world.scheduler.run_while(lambda: any(map(_asks, world.nodes.values())), limit_s=TAKES_OVER_S)
    world.scheduler.run_while(lambda: not _next(walk), limit_s=REPAIRED_S)
