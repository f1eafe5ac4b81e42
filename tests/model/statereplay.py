#!/usr/bin/env python3
"""Replays random traces of the state model on the real core, step by step, and compares the stores.

Each action of a trace of tests/model/state is done to three real `Replica`s, on disks, links and a cluster manager of
which every step is taken by hand. After each step every node must hold what it holds in the model, in memory and on its
disk (queues, lineages, ids, messages, their places and origins, the objects and entries of the configuration); clients
must have been told the same; what is in quarantine, and what is handed over, must be what the model has there.

    python -m tests.model.statereplay [FIRST_SEED] [RUNS] [STEPS]

`ACTIONS` has the actions of the model with a counterpart. `UNMAPPED` has the others, and why.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

from qpidha.core.ready import CompareAndSet
from qpidha.testing.invariants.removals import Removals
from qpidha.testing.sim.link import End
from qpidha.testing.sim.world import SMALL, World
from qpidha.types import QueueSpec, Settle
from tests.model.manager import HeldManager
from tests.model.state import events, nouns
from tests.model.state.completion import COMMITTED, complete
from tests.model.state.nouns import ACCEPTED, MEM, TOLD, VIEW
from tests.model.state.options import BUDGETS, configure
from tests.model.stateclients import Clients
from tests.model.statefacts import Code, Model
from tests.model.statenetwork import Network
from tests.model.stateparts import Disagreement, Label, Told

STEPS = 60
PLENTY = 1 << 20

ACTIONS = {
    "pub": 8, "acc": 4, "decl": 2, "del": 1, "txn": 5, "upd": 3, "move": 2, "re": 3, "retx": 3, "reg": 0.4, "exp": 0.3,
    "gup": 0.5, "recv": 14, "ack": 10, "conn": 3, "prom": 1.5, "mgr": 6, "casok": 6, "casfail": 6, "watch": 2,
    "crash": 0.6, "restart": 4,
}  # fmt: skip
"""The actions that are replayed, and how often each is drawn."""
FOLLOWING = ("add", "addcas")
"""Actions of the model that the core takes by itself: they follow it, not it them."""
UNMAPPED = {
    "sync": "disks commit at once; with slow disks `replay` follows the core",
    "crashp": "the same",
    "casto": "answers of the manager always come; `replay` loses them",
    "casdoubt": "the same",
    "adopt": "the same",
    "rem": "the core removes members by time, which does not pass here",
    "wipe": "a lost disk is a member that must be removed",
    "demote": "the core hands over when it is level, at a time of its own",
    "fence": "links to a primary that has to step down are those of `replay`",
    "connk": "acknowledgements of a former session that come late are dropped",
    "stage": "a catch-up is one step: chunks are searched by the explorer and in walks",
    "ahead": "the same",
    "snap": "the same",
    "put": "the core does not change the object of a queue; entries of producers are puts with a key",
    "look": "the core answers by a barrier, which is an operation",
    "dlv": "what consumers hold is theirs, not the core's",
    "accq": "the same",
    "rel": "the same",
    "txo": "the same",
    "txend": "the same",
    "repub": "the embedder's",
    "lpub": "levels are drawn in walks",
    "lmove": "the same",
}
"""The other actions, and why none of them is replayed."""
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"alt": 1},
    {"dedup": 1, "publishers": 2},
    {"dedup": 1, "seqtx": 1, "publishers": 1},
)
"""Options of the model; each run has one of these."""


class Replay(Clients, Network):
    """One trace, chosen at random among what the model allows and the core can do, and played on both."""

    def __init__(self, seed: int, steps: int = STEPS) -> None:
        self.seed, self.steps = seed, steps
        self.random = random.Random(seed)
        self.options = dict(self.random.choice(VARIANTS))
        budgets = dict.fromkeys(BUDGETS, PLENTY)
        configure(**{**budgets, "maxacc": 3, "water": 1, "heal": 0, "entry": 1, **self.options})
        self.taken: list[Label] = []
        self.world = self._cluster()
        self.names = list(self.world.nodes)
        self.model = Model()
        self.state = nouns.initial()
        self.model.see(self.state)
        self.links: dict[tuple[int, int], End] = {}
        """(primary, backup): the primary's end of the newest link."""
        self._sent: Counter[End] = Counter()
        self._read: Counter[End] = Counter()
        self._marks: dict[End, list[int]] = {}
        """By a primary's end: of each frame of the model that is under way, how many frames of the core end with it."""
        self._planned: set[End] = set()
        for end in list(self.world.network.ends.values()):
            if end.opened_by is not None:
                self._linked(end)
        self.world.on_send = self._sends
        self._weights = {name: w * self.random.choice([0.3, 1, 1, 3]) for name, w in ACTIONS.items()}
        if self.random.random() < 0.5:
            self._weights |= dict.fromkeys(["upd", "move"], 0.0)  # Then all answers are compared exactly.
        self._compare()

    def _cluster(self) -> World:
        """P is primary of generation 1, B1 and B2 follow; the queues and producers of the options are there."""
        settings = replace(
            SMALL, plan_chunk_bytes=8000, window_bytes_max=1 << 20, window_operations_max=1000, operations_bytes=8000
        )  # fmt: skip
        world = World(seed=self.seed, instant=True, wire=False, settings=settings)
        self.code = Code(world)
        self.told: Any = Told(self.code)
        world.checker = world.clients = self.told
        world.removals = Removals(self.told, world.scheduler, settings, world.sometimes)
        world.manager = self.manager = HeldManager(world.manager)
        world.start()
        first = next(iter(world.nodes.values()))
        first.promote()
        world.scheduler.run_for(0.0)
        for name in "ab":
            first.replica.declare(QueueSpec(name=name, settle=Settle.REPLICATED))
            first.run()
        for publisher in range(1, self.options.get("publishers", 0) + 1):
            first.replica.register(f"p{publisher}")
            first.run()
        world.scheduler.run_while(lambda: not world.healthy(), limit_s=30.0)
        assert world.healthy()
        assert world.manager.current is not None
        self.first_version = world.manager.current.version - 1
        self.manager.free = False
        for node in world.nodes.values():
            node.auto_connect = False
            for other in world.nodes:
                if other != node.name:
                    world.network.hold(node.name, other)
        return world

    # --- one run -------------------------------------------------------------------------------------

    def run(self) -> Counter[str]:
        """Play one trace. Returns how often each action was taken.

        Raises:
            Disagreement: The core came to something else than the model, or refused what the model allows.
        """
        for _ in range(self.steps):
            choices = [a for a in events.actions(self.state) if a[0][0] in ACTIONS and self._possible(a[0])]
            if not choices:
                break
            self.play(*self.random.choices(choices, [self._weights[a[0][0]] for a in choices])[0])
        return Counter(str(label[0]) for label in self.taken)

    def play(self, label: Label, function: Any, arguments: tuple[Any, ...]) -> None:
        """Take one action of the model, do the same to the core, and compare."""
        before = self.state
        self._step(label, function, arguments)
        try:
            getattr(self, f"_{label[0]}")(before, *label[1:])
            self._settle()
        except Disagreement:
            raise
        except Exception as error:
            raise self._differs(f"the core raises {error!r}") from error
        self._mark()
        self._follow()
        self._compare()

    def _step(self, label: Label, function: Any, arguments: tuple[Any, ...]) -> None:
        self.taken.append(label)
        self.state = events.step(nouns.World(self.state), (function, arguments))
        self.model.see(self.state)

    def _settle(self) -> None:
        """Let the core finish its turn; what it asks of the record it is answered at once."""
        self.world.scheduler.run_for(0.0)
        for asked in [a for a in self.manager.asked if not isinstance(a.request, CompareAndSet)]:
            self.manager.arrive(asked)
        while reads := [
            i for i, (a, _) in enumerate(self.manager.answers) if not isinstance(a.request, CompareAndSet)
        ]:
            self.manager.answer(reads[0])
            self.world.scheduler.run_for(0.0)

    def _follow(self) -> None:
        """Take the additions of members, which the core makes by itself, in the model."""
        for n, node in enumerate(self.world.nodes.values()):
            primary = node.replica.primary if node.up else None
            if primary is None or self.state[2][n][VIEW] is None:
                continue
            joining = primary.membership.joining
            if joining is not None and self.state[2][n][VIEW].joining is None:
                self._inside("add", n, self.names.index(joining.member.node))
            if node.replica.manager.in_flight is not None and self.state[2][n][nouns.CAS] is None:
                self._inside("addcas", n)
            # A joiner that subscribes again is not waited for any more. The model tells that with its next answer.
            self.state = events.step(nouns.World(self.state), (complete, (n,)))

    def _inside(self, *label: Any) -> None:
        found = [a for a in events.actions(self.state) if a[0] == label]
        if not found:
            raise self._differs(f"the core does what the model does not allow: {label}")
        self._step(*found[0])

    # --- what must be the same -------------------------------------------------------------------------

    def _compare(self) -> None:
        for n, node in enumerate(self.world.nodes.values()):
            x = self.state[2][n]
            self._same(f"node {n}, up", node.up, bool(x[nouns.UP]))
            self._same(f"node {n}, disk", self.code.disk(node), self.model.store(x[nouns.DISK]))
            shelf, handed = self.code.quarantined(node), self.told.handed_over_by.get(node.name, set())
            kept = self.model.in_quarantine(self.state, n)
            self._same(f"node {n}, missing in quarantine", kept - shelf - handed, set())
            self._same(f"node {n}, more in quarantine", (shelf | handed) - self.model.quarantined[n], set())
            if node.up:
                self._same(f"node {n}, memory", self.code.memory(node), self.model.store(x[MEM]))
                self._same(f"node {n}, generation", node.replica.generation, x[MEM].generation)
                self._same(f"node {n}, primary", node.replica.primary is not None, bool(x[nouns.ROLE]))
        told = {self._named(f) for f in self.state[4][TOLD]}
        self._same_answers(self.told.facts, {f for f in told if f is not None})
        lost = self.told.lost if not self.options.get("dedup") else set()
        self._same("lost, and not so in the model", lost - self.model.handed_over(self.state), set())

    def _same_answers(self, code: set[Label], model: set[Label]) -> None:
        """Compare what clients know.

        The core is never earlier. It answers a publish whose message was replaced with the replacement, and later
        ones after it. It completes the publishes of a queue in their order: one behind a commit waits also for an
        accept of what the commit published, though the commit does not (TX6).
        """
        unconfirmed = any(v >= COMMITTED for v in self.state[4][ACCEPTED])
        late = {f for f in model - code if f[0] == "E" and (self._replaced() or unconfirmed)}
        self._same("clients were told", code, model - late)

    def _replaced(self) -> bool:
        return any(
            label[0] in ("upd", "move") or (label[0] == "del" and self.options.get("alt"))
            for label in self.taken
        )

    def _named(self, fact: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """A fact as the code has it; None: the code tells nobody."""
        if fact[0] in "ESNR":
            return fact
        if fact[0] in "+-":
            return (fact[0], self.model.births[fact[1]])
        return None

    def _same(self, what: str, code: Any, model: Any) -> None:
        if code != model:
            raise self._differs(f"{what}: the code {code!r}, the model {model!r}")

    def _differs(self, what: str) -> Disagreement:
        trace = " ; ".join(" ".join(map(str, label)) for label in self.taken)
        return Disagreement(f"seed {self.seed}, {self.options}\n{what}\nthe trace: {trace}")


def main(first: int = 0, runs: int = 500, steps: int = STEPS) -> int:
    counts: Counter[str] = Counter()
    for seed in range(first, first + runs):
        try:
            counts += Replay(seed, steps).run()
        except Disagreement as error:
            print(error)
            return 1
    print(f"{runs} traces, {sum(counts.values())} actions: {dict(counts.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
