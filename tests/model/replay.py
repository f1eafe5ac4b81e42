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
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import Pool
from typing import Any

import model
from abstraction import CodeFacts, number
from manager import HeldManager
from steps import WEIGHTS, Steps
from tracker import Disagreement, Label, Tracker

from qpidha.core.legality import FollowerState, SessionState
from qpidha.core.lineage import generation_of
from qpidha.core.primary.session import BackupSession
from qpidha.core.ready import CompareAndSet, Ready
from qpidha.testing.invariants.removals import Removals
from qpidha.testing.sim.clients import Clients
from qpidha.testing.sim.link import End
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.world import SMALL, World
from qpidha.types import Discarded, Settle
from qpidha.wire.events import Acknowledged, Dequeue, Frame, Operation, Operations, PlanEnd, PlanMessages

STEPS = 250
QUEUES = 3
"""Three, so that a message can move twice."""
PLENTY = 1 << 20
"""A budget above the events of any run."""


class Ignored:
    """Answers every call of a checker with nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **named: None


class Watcher(Ignored):
    """Takes the place of the simulator's checker: records what clients were told, and checks nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.facts: CodeFacts | None = None
        self.commits = self.identities = Ignored()
        self.members: tuple[SimNode, ...] = ()

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
            origin = (m.origin.queue.bytes, m.origin.generation, m.origin.id) if m.origin else None
            place = (self.facts.queues.index(m.queue), m.generation, m.id)
            self.facts.handed_over.add(((*place, value, self.facts.origin(origin)), m.fate.value))


class Run(Steps):
    """One run of the code, followed in the model."""

    def __init__(self, seed: int, steps: int = STEPS) -> None:
        self.seed = seed
        self.steps = steps
        self.random = random.Random(seed)
        self.settle = self.random.choice(["imm", "rep"])
        self.sync = self.random.choice([0, 1])
        self.least = random.Random(f"{seed}/members").choice([1, 1, 2, 3])
        budgets = dict.fromkeys(model.BUDGETS, PLENTY)
        model.configure(
            NQ=QUEUES, settle=self.settle, sync=self.sync, min=self.least, fuzzy=1, water=1, lib=1,
            entry=1, maxacc=PLENTY, **budgets,
        )  # fmt: skip
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
        """Set up: P is primary, B1 and B2 are members, the queues are empty. After this only steps change anything."""
        settings = replace(
            SMALL, plan_chunk_bytes=1, window_bytes_max=1 << 20,
            window_operations_max=self.random.choice([2, 6, 1000]), operations_bytes=self.random.choice([1, 300]),
            min_in_sync=self.least, queues_per_digest=random.Random(f"{self.seed}/digests").choice([1, 2, 32]),
        )  # fmt: skip
        world = World(seed=self.seed, instant=True, wire=False, settings=settings)
        self.watcher: Any = Watcher(world)  # In all places of the checker.
        world.checker = self.watcher
        world.removals = Removals(self.watcher, world.scheduler, settings, world.sometimes)
        world.clients = Clients(self.watcher, world.observe)
        world.manager = self.manager = HeldManager(world.manager)
        world.start()
        first = next(iter(world.nodes.values()))
        first.promote()
        world.scheduler.run_for(0.0)
        for name in [f"q{n}" for n in range(QUEUES)]:
            settle = Settle.REPLICATED if self.settle == "rep" else Settle.IMMEDIATE
            world.declare(first, name, settle)
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
        self._subscribed = {
            (first.name, first.boots, s.link, s.sid) for s in self._primary(first).sessions.values()
        }
        return world

    # --- one run -------------------------------------------------------------------------------------

    def run(self) -> Counter[str]:
        """Take the steps of one run.

        Raises:
            Disagreement: The code did what the model does not allow; with the run so far.
        """
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
            settings = f"settle={self.settle} sync={self.sync} min={self.least}"
            did = " ; ".join(" ".join(map(str, e)) for e in events) or "(nothing but its consequences)"
            raise Disagreement(
                f"seed {self.seed}, {settings}, step {step}\nthe code: {what}\nin the model: {did}\n{error}"
            ) from None

    # --- what happens inside, seen through the simulator's hooks -------------------------------------

    @staticmethod
    def _primary(node: SimNode) -> Any:
        return node.replica.primary

    def _observe(self, node: SimNode) -> None:
        """Watch every `Ready` of this process for complete subscriptions and new plans."""
        replica, real = node.replica, node.replica.ready

        def ready(now: float) -> Ready:
            primary, boot = replica.primary, node.boots
            for session in list(primary.sessions.values()) if primary else ():
                key = (node.name, boot, session.link, session.sid)
                if session.state is not SessionState.CATCHING_UP:
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

    def _alive(self, node: SimNode, session: BackupSession) -> bool:
        """Whether the backup is still in the session that it asked for."""
        end = self.world.network.ends.get((node.name, session.link))
        if end is None or not end.other.open or not end.other.node.up:
            return False
        follower = end.other.node.replica.follower
        here = follower.link == end.other.number and follower.session
        return bool(here and here.sid == session.sid)

    def _planned(self, node: SimNode, b: int, frame: Frame) -> None:
        match frame.event:
            case PlanMessages(queue=queue, ids=ids) if queue in self.facts.queues:  # Not the configuration.
                q, lineage = self.facts.queues.index(queue), node.replica.queues[queue].lineage
                for id in ids:
                    self.events.append(("stage", b, self._n(node), q, f"{id}@{generation_of(lineage, id)}"))
            case PlanEnd():
                self.events.append(("snap", b, self._n(node)))

    def _delivered(self, end: End, frame: Frame) -> None:
        """Translate a frame that arrives into an event of the model, if the node will obey it."""
        replica, n, other = end.node.replica, self._n(end.node), self.facts.node(end.other.node.name)
        if end.number in replica.out.closing:
            return
        replicating = replica.follower.session
        if end.number == replica.follower.link and replicating and frame.session == replicating.sid:
            following = replicating.state is FollowerState.FOLLOWING
            match frame.event:
                case Operations(operations=operations) if following:
                    self.events += [("recv", n, other)] * sum(map(frames, operations))
                case PlanMessages(queue=queue, ids=ids) if not following and queue in self.facts.queues:
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


def frames(operation: Operation) -> int:
    """So many frames an operation is in the model. Accepts of one id that follow one another are one here (O3)."""
    return len(operation[0].ids) if len(operation) == 1 and isinstance(operation[0], Dequeue) else 1


def follow(job: tuple[int, int]) -> tuple[Counter[str], Counter[str], str]:
    """Follow one run. Returns (steps of the code, events of the model, report of a disagreement, or empty)."""
    run, account = Run(*job), ""
    try:
        run.run()
    except Disagreement as error:
        account = str(error)
    return run.counts, Counter(str(label[0]) for label in run.tracker.taken), account


def main(first: int = 0, runs: int = 500, steps: int = STEPS) -> int:
    counts: Counter[str] = Counter()
    events: Counter[str] = Counter()
    with Pool() as pool:
        work = [(seed, steps) for seed in range(first, first + runs)]
        for taken, followed, account in pool.imap(follow, work, chunksize=10):
            if account:
                print(account)
                return 1
            counts += taken
            events += followed
    print(f"{runs} runs, {sum(counts.values())} steps of the code: {dict(counts.most_common())}")
    print(f"{sum(events.values())} events of the model: {dict(events.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
