#!/usr/bin/env python3
"""Replays random runs of the real core on the protocol model, step by step.

The simulator runs three real nodes over a network, disks and a cluster manager of which every step is taken by
hand, one at a time, at random. Each step has a name in the model: `Run` says what happened in the model's words, and
the `Tracker` demands that the model allows it and comes to the same durable content, memory, roles, members,
sessions, joiner, compare-and-sets, record, and answers to clients. Nothing else judges: the simulator's own
checkers are switched off.

    python tests/model/replay.py [FIRST_SEED] [RUNS] [STEPS]
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import model
from abstraction import CodeFacts, number
from manager import HeldManager
from tracker import Disagreement, Label, Tracker

from qpidha.core.replicator import State as Replicating
from qpidha.core.lineage import generation_of
from qpidha.core.ready import CompareAndSet, Ready
from qpidha.core.subscription import ReplicatingSubscription, State
from qpidha.testing.network import End
from qpidha.testing.node import SimNode
from qpidha.testing.simulator import SMALL, World
from qpidha.types import Discarded, Settle
from qpidha.wire.events import Acknowledged, Frame, Operations, PlanEnd, PlanMessages

STEPS = 250
PLENTY = 1 << 20
"""More of any event than a run can have."""

WEIGHTS = {
    "deliver": 40, "disk": 20, "manager": 10, "answer": 10, "publish": 8, "accept": 5, "move": 1.5, "burst": 1,
    "connect": 8, "stray": 1, "crash": 1.2, "restart": 4, "promote": 1.5, "demote": 0.3, "watch": 4,
    "wait": 2, "no_answer": 1, "wipe": 0.3, "reset": 1,
}  # fmt: skip


class Watcher:
    """Stands where the simulator's checker stands; judges nothing, and remembers what clients were told."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.facts: CodeFacts | None = None

    def answered_ok(self, node: SimNode, values: Sequence[str]) -> None:
        if self.facts:
            self.facts.told.update(map(number, values))

    def settled(self, node: SimNode, values: Sequence[str]) -> None:
        if self.facts:
            self.facts.settled.update(map(number, values))

    def handed_over(self, node: SimNode, messages: Sequence[Discarded]) -> None:
        assert self.facts
        for m in messages:
            value = number(m.data.rstrip(b".").decode())
            self.facts.handed_over.add((self.facts.queues.index(m.queue), m.generation, m.id, value))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


class Run:
    """One run of the code, followed in the model."""

    def __init__(self, seed: int, steps: int = STEPS) -> None:
        self.seed = seed
        self.steps = steps
        self.random = random.Random(seed)
        self.settle = self.random.choice(["imm", "rep"])
        self.sync = self.random.choice([0, 1])
        budgets = dict.fromkeys(model.BUDGETS, PLENTY)
        model.configure(NQ=2, settle=self.settle, sync=self.sync, fuzzy=1, water=1, lib=1, maxacc=PLENTY, **budgets)
        self.events: list[Label] = []
        self.counts: Counter[str] = Counter()
        self._subscribed: set[tuple[str, int, int, int]] = set()
        self.world = self._cluster()
        self.facts = CodeFacts(self.world, self.settle)
        self.watcher.facts = self.facts
        self.tracker = Tracker(model.initial())
        self._look(0, "the beginning")
        self._weights = {n: w * self.random.choice([0.3, 1, 1, 3]) for n, w in WEIGHTS.items()}

    def _cluster(self) -> World:
        """P is primary, B1 and B2 are members, the queues are empty; from here on everything waits."""
        settings = replace(
            SMALL, plan_chunk_bytes=1, window_bytes_max=1 << 20,
            window_operations_max=self.random.choice([2, 6, 1000]), operations_bytes=self.random.choice([1, 300]),
        )  # fmt: skip
        world = World(seed=self.seed, instant=True, wire=False, settings=settings)
        world.checker = self.watcher = Watcher(world)  # type: ignore[assignment]
        world.manager = self.manager = HeldManager(world.manager)
        world.start()
        first, *others = world.nodes.values()
        first.promote()
        world.scheduler.run_for(0.0)
        for name in ("q0", "q1"):
            settle = Settle.REPLICATED if self.settle == "rep" else Settle.IMMEDIATE
            world.clients.declare(first, world.queue_id(name), name, settle)
        world.scheduler.run_while(lambda: not world.healthy(), limit_s=30.0)
        assert world.healthy()
        self.manager.free = False
        self.manager.on_again = self._again
        world.network.on_deliver = self._delivered
        for node in world.nodes.values():
            node.auto_connect = False
            node.hold_disk = bool(self.sync)
            self._observe(node)
            for other in world.nodes:
                if other != node.name:
                    world.network.hold(node.name, other)
        self._subscribed = {(first.name, first.boots, s.link, s.sid) for s in self._primary(first).sessions.values()}
        return world

    # --- one run -------------------------------------------------------------------------------------

    def run(self) -> Counter[str]:
        """Raises `Disagreement` with an account of it."""
        names, weights = list(self._weights), list(self._weights.values())
        for step, name in enumerate(self.random.choices(names, weights, k=self.steps), 1):
            for what in getattr(self, f"_{name}")() or ():
                self.world.scheduler.run_for(0.0)
                self.counts[name] += 1
                self._look(step, f"{name} {what}")
        return self.counts

    def _look(self, step: int, what: str) -> None:
        events, self.events = self.events, []
        try:
            self.tracker.step(events, self.facts.read())
        except Disagreement as error:
            settings = f"settle={self.settle} sync={self.sync}"
            did = " ; ".join(" ".join(map(str, e)) for e in events) or "(nothing but its consequences)"
            raise Disagreement(
                f"seed {self.seed}, {settings}, step {step}\nthe code: {what}\nin the model: {did}\n{error}"
            ) from None

    # --- what happens inside, seen through the simulator's hooks -------------------------------------

    def _n(self, node: SimNode) -> int:
        return self.facts.node(node.name)

    @staticmethod
    def _primary(node: SimNode) -> Any:
        return node.replica.primary

    def _observe(self, node: SimNode) -> None:
        """See every `Ready` of this process: subscriptions that are complete, and plans as they are made."""
        replica, real = node.replica, node.replica.ready

        def ready(now: float) -> Ready:
            primary, boot = replica.primary, node.boots
            for session in list(primary.sessions.values()) if primary else ():
                key = (node.name, boot, session.link, session.sid)
                if session.state is not State.CATCHING_UP:
                    continue
                if not self._alive(node, session):
                    self.facts.late.add(key)  # What is sent now can have no effect.
                elif key not in self._subscribed:
                    self._subscribed.add(key)
                    b, p = self.facts.node(session.node), self._n(node)
                    self.events += [e for e in [("over", b, p)] if self.tracker.allows(e) and session.sid > 1]
                    self.events.append(("conn", b, p))
            out = real(now)
            for link, frame in out.send:
                session = primary.sessions.get(link) if primary else None
                if session and (node.name, boot, link, session.sid) not in self.facts.late:
                    self._planned(node, self.facts.node(session.node), frame)
            return out

        replica.ready = ready  # type: ignore[method-assign]

    def _alive(self, node: SimNode, session: ReplicatingSubscription) -> bool:
        """The backup still is in the session that it asked for."""
        end = self.world.network.ends.get((node.name, session.link))
        if end is None or not end.other.open or not end.other.node.up:
            return False
        follower = end.other.node.replica.follower
        here = follower.link == end.other.number and follower.replicator
        return bool(here and here.sid == session.sid)

    def _planned(self, node: SimNode, b: int, frame: Frame) -> None:
        match frame.event:
            case PlanMessages(queue=queue, ids=ids):
                q, lineage = self.facts.queues.index(queue), node.replica.queues[queue].lineage
                for id in ids:
                    self.events.append(("stage", b, self._n(node), q, f"{id}@{generation_of(lineage, id)}"))
            case PlanEnd():
                self.events.append(("snap", b, self._n(node)))

    def _delivered(self, end: End, frame: Frame) -> None:
        """A frame arrives: what it is in the model, if the node is going to obey it."""
        replica, n, other = end.node.replica, self._n(end.node), self.facts.node(end.other.node.name)
        if end.number in replica.out.closing:
            return
        replicator = replica.follower.replicator
        if end.number == replica.follower.link and replicator and frame.session == replicator.sid:
            following = replicator.state is Replicating.FOLLOWING
            match frame.event:
                case Operations(operations=operations) if following:
                    self.events += [("recv", n, other)] * len(operations)
                case PlanMessages(ids=ids) if not following:
                    self.events += [("recv", n, other)] * len(ids)
                case PlanEnd() if not following:
                    self.events.append(("recv", n, other))
        session = replica.primary.sessions.get(end.number) if replica.primary else None
        if session and frame.session == session.sid and isinstance(frame.event, Acknowledged):
            self.events.append(("ack", n, other))

    def _again(self, node: SimNode, request: CompareAndSet) -> None:
        event = ("casdoubt", self._n(node))
        assert self.manager.current is not None
        if self.manager.current.version == request.expected and self.tracker.allows(event):
            self.events.append(event)

    # --- choices -------------------------------------------------------------------------------------

    def _some(self, condition: Callable[[SimNode], Any]) -> SimNode | None:
        nodes = [n for n in self.world.nodes.values() if condition(n)]
        return self.random.choice(nodes) if nodes else None

    @staticmethod
    def _ready(node: SimNode) -> bool:
        """A node takes nothing while a commit is under way: the model's fsync takes everything."""
        return node.up and node.driver.idle

    def _serving(self) -> SimNode | None:
        return self._some(lambda n: self._ready(n) and n.replica.primary)

    # --- steps: each does one thing, and yields what to call it, or nothing if there was nothing to do

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
        """The model's request with this content; what it would be called if there is none."""
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
        q = self.random.randrange(2)
        queue = node.replica.queues.get(self.facts.queues[q])
        if queue is not None and queue.held:
            k = self.random.randrange(min(len(queue.held), 3))
            id = list(queue.held)[k]
            self.events.append(("acc", self._n(node), q, k))
            self.world.clients.accept(node, queue.queue, [id], run=run)
            yield f"{node.name} {id} of queue {q}"

    def _burst(self) -> Iterator[str]:
        """Several operations in one frame, and in one commit."""
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
        node = self._serving()
        q0, q1 = self.facts.queues
        if node and q0 in node.replica.queues and node.replica.queues[q0].held:
            self.events.append(("move", self._n(node)))
            self.world.clients.move(node, q0, [node.replica.queues[q0].held.first], q1)
            yield node.name

    def _connect(self) -> Iterator[str]:
        node = self._some(lambda n: self._ready(n) and not n.replica.primary and n.replica.follower.link is None)
        record = node.replica.record if node else None
        if node and record and record.primary and self._ready(self.world.nodes[record.primary[0]]):
            node.connect()
            yield f"{node.name} to {record.primary[0]}"

    def _stray(self) -> Iterator[str]:
        """To anybody, also away from a session that is well."""
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
        """With the record of now: an older one is refused by the manager, and the model has no such try."""
        node = self._some(lambda n: self._ready(n) and not n.replica.primary)
        if node:
            self.manager.show(node)
            if self._ready(node) and not node.replica.primary:
                refused = node.promote()
                yield f"{node.name} {refused}"
            else:
                yield f"{node.name}, which is primary already"

    def _demote(self) -> Iterator[str]:
        node = self._serving()
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


@contextmanager
def configured() -> Iterator[None]:
    """The model's options as they were before, afterwards."""
    try:
        yield
    finally:
        model.configure()


def main(first: int = 0, runs: int = 100, steps: int = STEPS) -> int:
    counts: Counter[str] = Counter()
    events: Counter[str] = Counter()
    with configured():
        for seed in range(first, first + runs):
            run = Run(seed, steps)
            try:
                counts += run.run()
            except Disagreement as error:
                print(error)
                return 1
            events += Counter(str(label[0]) for label in run.tracker.taken)
    print(f"{runs} runs, {sum(counts.values())} steps of the code: {dict(counts.most_common())}")
    print(f"{sum(events.values())} events of the model: {dict(events.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
