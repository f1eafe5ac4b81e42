"""The steps of a run: each does one thing to the cluster, and records the events of the model that correspond to it.

Whatever needs a choice takes it from the run's own source of randomness.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from abstraction import CodeFacts
from manager import HeldManager
from tracker import Label, Tracker

from qpidha.core.ready import CompareAndSet
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.world import World
from qpidha.wire.events import Frame

WEIGHTS = {
    "deliver": 40, "disk": 20, "manager": 10, "answer": 10, "publish": 8, "accept": 5, "move": 1.5, "burst": 1,
    "connect": 8, "stray": 1, "crash": 1.2, "restart": 4, "promote": 1.5, "demote": 0.3, "watch": 4,
    "wait": 2, "no_answer": 1, "wipe": 0.3, "reset": 1,
}  # fmt: skip
"""How often each step is drawn, before a run draws its own factors."""


class Steps:
    """The steps of a run. Each method yields a label of what it did, or nothing if it could do nothing."""

    random: random.Random
    world: World
    manager: HeldManager
    facts: CodeFacts
    tracker: Tracker
    events: list[Label]
    """The model's events of this step."""

    def _observe(self, node: SimNode) -> None:
        raise NotImplementedError

    # --- choices -------------------------------------------------------------------------------------

    def _n(self, node: SimNode) -> int:
        return self.facts.node(node.name)

    def _some(self, condition: Callable[[SimNode], Any]) -> SimNode | None:
        nodes = [n for n in self.world.nodes.values() if condition(n)]
        return self.random.choice(nodes) if nodes else None

    @staticmethod
    def _ready(node: SimNode) -> bool:
        """Whether a node may read now: not while a commit is under way, because the model's fsync covers everything."""
        return node.up and node.driver.idle

    def _serving(self) -> SimNode | None:
        """A primary that takes operations (J4)."""
        return self._some(
            lambda n: self._ready(n) and n.replica.primary and not n.replica.primary.minimum.short
        )

    # --- steps -----------------------------------------------------------------------------------------

    def _deliver(self) -> Iterator[str]:
        ends = [
            e for e in self.world.network.ends.values() if e.inbound and e.open and self._ready(e.node)
        ]  # fmt: skip
        if ends:
            end = self.random.choice(ends)
            source, target = end.other.node.name, end.node.name
            item = end.inbound[0][1]
            what = type(item.event).__name__ if isinstance(item, Frame) else type(item).__name__
            if self.world.network.let_pass(source, target, 1):
                yield f"{source} -> {target} {what}"

    def _disk(self) -> Iterator[str]:
        node = self._some(lambda n: n.up and not n.driver.idle)
        if node:
            event = ("sync", self._n(node))
            self.events += [e for e in [event] if self.tracker.allows(e)]
            node._finish(node.boots)
            yield node.name

    def _manager(self) -> Iterator[str]:
        if not self.manager.asked:
            return
        asked = self.random.choice(self.manager.asked)
        if isinstance(asked.request, CompareAndSet):
            kind, expected = self._named(asked.node, asked.request)
            event = ("mgr", self._n(asked.node), kind, expected)
            self.events += [e for e in [event] if self.tracker.allows(e)]
        applied = self.manager.arrive(asked)
        yield f"{asked.node.name} {type(asked.request).__name__} {'applied' if applied else 'answered'}"

    def _named(self, node: SimNode, cas: CompareAndSet) -> tuple[str, int]:
        """The model's label of the request with this content, also if there is no such request."""
        for state in self.tracker.states:
            for request in state[1]:
                if (request.expected, request.node) == (self.facts.version(cas.expected), self._n(node)):
                    if tuple(request.new)[1:] == self.facts.content(cas.new):
                        return request.kind, request.expected
        return self.facts.named(node, cas)

    def _answer(self) -> Iterator[str]:
        due = [i for i, (asked, _) in enumerate(self.manager.answers) if self._ready(asked.node)]
        if due:
            index = self.random.choice(due)
            asked, answer = self.manager.answers[index]
            self.manager.answer(index)
            yield f"{asked.node.name} {type(answer).__name__}"

    def _no_answer(self) -> Iterator[str]:
        node = self._some(lambda n: self._ready(n) and self.manager.waiting(n))
        if node:
            request = self.manager.waiting(node)
            assert request is not None
            event = ("casto", self._n(node))
            self.events += [e for e in [event] if self.tracker.allows(e)]
            self.manager.give_up(node, request, self.random)
            yield node.name

    def _publish(self, *, run: bool = True) -> Iterator[str]:
        node = self._serving()
        if node:
            (value,) = self.world.clients.fresh(1)
            self.events.append(("pub", self._n(node)))
            self.world.clients.publish(node, self.facts.queues[0], [value], run=run)
            yield f"{node.name} {value}"

    def _accept(self) -> Iterator[str]:
        node = self._serving()
        if node:
            yield from self._accept_at(node, run=True)

    def _accept_at(self, node: SimNode, *, run: bool) -> Iterator[str]:
        q = self.random.randrange(len(self.facts.queues))
        queue = node.replica.queues.get(self.facts.queues[q])
        if queue is not None and queue.held:
            k = self.random.randrange(min(len(queue.held), 3))
            id = list(queue.held)[k]
            self.events.append(("acc", self._n(node), q, k))
            self.world.clients.accept(node, queue.queue, [id], run=run)
            yield f"{node.name} {id} of queue {q}"

    def _burst(self) -> Iterator[str]:
        """Send several operations in one frame, and commit them together."""
        node = self._serving()
        if node is None:
            return
        for _ in range(self.random.choice([2, 3, 4])):
            if self.random.random() < 0.6:
                (value,) = self.world.clients.fresh(1)
                self.events.append(("pub", self._n(node)))
                self.world.clients.publish(node, self.facts.queues[0], [value], run=False)
            else:
                list(self._accept_at(node, run=False))
        node.run()
        yield node.name

    def _move(self) -> Iterator[str]:
        """Move a message to the next queue; more often from the last queue that has one, so that messages move twice."""
        node = self._serving()
        known = node.replica.queues if node else {}
        full = [q for q, queue in enumerate(self.facts.queues[:-1]) if queue in known and known[queue].held]
        if node and full:
            q = self.random.choice([*full, full[-1]])
            source, target = self.facts.queues[q : q + 2]
            self.events.append(("move", self._n(node), q))
            self.world.clients.move(node, source, [known[source].held.first], target)
            yield f"{node.name} from queue {q}"

    def _connect(self) -> Iterator[str]:
        node = self._some(
            lambda n: self._ready(n) and not n.replica.primary and n.replica.follower.link is None
        )
        record = node.replica.record if node else None
        if node and record and record.primary and self._ready(self.world.nodes[record.primary[0]]):
            node.connect()
            yield f"{node.name} to {record.primary[0]}"

    def _stray(self) -> Iterator[str]:
        """A backup subscribes to any other node, even if it has a session that works."""
        a, b = self.random.sample(list(self.world.nodes.values()), 2)
        if self._ready(a) and self._ready(b) and not a.replica.primary:
            self.world.network.connect(a, b)
            yield f"{a.name} to {b.name}"

    def _reset(self) -> Iterator[str]:
        a, b = self.random.sample(list(self.world.nodes), 2)
        self.world.network.reset(a, b)
        yield f"{a} {b}"

    def _crash(self, *, wipe: bool = False) -> Iterator[str]:
        node = self._some(lambda n: n.up)
        if node is None:
            return
        keep = not wipe and self.random.random() < 0.5
        kept = ("crashp", self._n(node))
        crash = ("wipe" if wipe else "crash", self._n(node))
        self.events.append(kept if keep and not node.driver.idle and self.tracker.allows(kept) else crash)
        node.crash(keep=keep)
        if wipe:
            node.disk.wipe()
        yield f"{node.name} {'with' if keep else 'without'} what was under way to its disk"

    def _wipe(self) -> Iterator[str]:
        return self._crash(wipe=True)

    def _restart(self) -> Iterator[str]:
        node = self._some(lambda n: not n.up)
        if node:
            node.start()
            if node.up:
                self.events.append(("restart", self._n(node)))
                self._observe(node)
                yield node.name

    def _promote(self) -> Iterator[str]:
        """Try a promotion with the current record: an older one would be refused, which is no event of the model."""
        node = self._some(lambda n: self._ready(n) and not n.replica.primary)
        if node:
            self.manager.show(node)
            if self._ready(node) and not node.replica.primary:
                refused = node.promote()
                yield f"{node.name} {refused}"
            else:
                yield f"{node.name}, which is primary already"

    def _demote(self) -> Iterator[str]:
        node = self._some(lambda n: self._ready(n) and n.replica.primary)
        if node:
            node.demote()
            yield node.name

    def _watch(self) -> Iterator[str]:
        node = self._some(self._ready)
        if node:
            self.manager.show(node)
            yield node.name

    def _wait(self) -> Iterator[str]:
        for _ in range(self.random.randrange(1, 13)):
            self.world.scheduler.run_for(0.1)
            yield "0.1 s"
