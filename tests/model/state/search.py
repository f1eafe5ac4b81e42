"""Breadth-first search to the end of the budgets, random walks, and shrinking of what they find."""

from __future__ import annotations

import random
import time
from typing import Any

from tests.model.state.events import actions, step, successors
from tests.model.state.healing import heal_check
from tests.model.state.nouns import NODES, Violation, World, initial
from tests.model.state.options import CFG
from tests.model.state.packing import Packer

WEIGHT = {"crash": 0.12, "crashp": 0.08, "wipe": 0.1, "prom": 0.25, "rem": 0.15, "demote": 0.15, "conn": 0.7,
          "connk": 0.5, "casto": 0.25, "watch": 0.2, "fence": 0.2, "exp": 0.2, "reg": 0.3, "del": 0.6}  # fmt: skip
"""Events that a walk takes more seldom than others, lest it does nothing else."""
PAUSED = ("recv", "sync", "casok", "casfail", "casdoubt", "watch", "ack")
"""What a node does not do while it is paused."""


def kind_of(error: str) -> str:
    """The first word of a violation names what was broken."""
    return error.replace("after healing: ", "").split()[0].rstrip(":")


def bfs(
    limit: int = 1_500_000, tlimit: float = 600.0, heal_every: int = 20, want: str | None = None
) -> dict[str, Any]:
    """Every state within the budgets; the trace of what is found is a shortest one. Heals one state in ``heal_every``."""
    packer = Packer()
    started = time.time()
    first = packer.pack(initial())
    parent: dict[int, int | None] = {first: None}
    frontier = [first]
    depth = transitions = 0

    def result(error: str | None = None, **more: Any) -> dict[str, Any]:
        seconds = round(time.time() - started, 1)
        return {
            "err": error,
            **more,
            "states": len(parent),
            "depth": depth,
            "trans": transitions,
            "t": seconds,
        }

    def wanted(error: str | None) -> bool:
        return error is not None and (want is None or kind_of(error) == want)

    while frontier:
        found = []
        for key in frontier:
            state = packer.unpack(key)
            if CFG["heal"] and heal_every and (key * 2654435761 >> 7) % heal_every == 0:
                error = heal_check(state)
                if wanted(error):
                    return result(error, trace=trace_of(parent, packer, key, None))
            for label, after, error in successors(state):
                transitions += 1
                if error is None:
                    after_key = packer.pack(after)
                    if after_key not in parent:
                        parent[after_key] = key
                        found.append(after_key)
                elif wanted(error):
                    depth += 1
                    return result(error, trace=trace_of(parent, packer, key, label))
            if len(parent) > limit or time.time() - started > tlimit:
                return result(complete=False)
        depth += 1
        frontier = found
    return result(complete=True)


def trace_of(parent: dict[int, int | None], packer: Packer, key: int, label: tuple | None) -> list[tuple]:
    """The labels that lead to a state, and one more."""
    labels = [label] if label else []
    while (before := parent[key]) is not None:
        target = packer.unpack(key)
        for found, after, error in successors(packer.unpack(before)):
            if error is None and after == target:
                labels.append(found)
                break
        key = before
    return labels[::-1]


def walk(
    seeds: int = 1_000_000, steps: int = 120, tlimit: float = 120.0, seed0: int = 0, want: str | None = None
) -> dict[str, Any]:
    """Random walks, each from its own seed, healed at their ends. Now and then one node is paused."""
    started = time.time()
    total = walks = 0
    for seed in range(seed0, seed0 + seeds):
        trace, error = one_walk(random.Random(seed), steps)
        total += len(trace)
        walks += 1
        if error and (want is None or kind_of(error) == want):
            return {"err": error, "trace": trace, "seed": seed, "walks": walks, "steps": total,
                    "t": round(time.time() - started, 1)}  # fmt: skip
        if time.time() - started > tlimit:
            break
    return {"err": None, "walks": walks, "steps": total, "t": round(time.time() - started, 1)}


def one_walk(rnd: random.Random, steps: int) -> tuple[list[tuple], str | None]:
    state = initial()
    trace: list[tuple] = []
    paused, until = None, 0
    for i in range(steps):
        choices = [a for a in actions(state)
                   if not (paused is not None and i < until and a[0][0] in PAUSED and a[0][1] == paused)]  # fmt: skip
        if i >= until:
            paused = None
            if rnd.random() < 0.05:
                paused, until = rnd.randrange(NODES), i + rnd.randrange(5, 40)
        if not choices:
            if paused is None:
                break
            until, paused = 0, None
            continue
        weights = [WEIGHT.get(label[0], 1.0) for label, _, _ in choices]
        label, *event = rnd.choices(choices, weights)[0]
        trace.append(label)
        try:
            state = step(World(state), tuple(event))
        except Violation as violation:
            return trace, str(violation)
    return trace, heal_check(state) if CFG["heal"] else None


def replay(labels: list[tuple]) -> tuple[list[tuple], str] | None:
    """What these events lead to: (labels up to the violation, violation). None: to none, or they cannot all happen."""
    state = initial()
    for i, label in enumerate(labels):
        chosen = None
        for found, *event in actions(state):
            if found == label:
                chosen = event
                break
            if chosen is None and found[0] == label[0] == "mgr" and found[1:3] == label[1:3]:
                chosen = event
        if chosen is None:
            return None
        try:
            state = step(World(state), tuple(chosen))
        except Violation as violation:
            return labels[: i + 1], str(violation)
    error = heal_check(state) if CFG["heal"] else None
    return (labels, error) if error else None


def shrink(labels: list[tuple], error: str) -> tuple[list[tuple], str]:
    """Leave out events as long as a violation of the same kind remains."""
    kind = kind_of(error)
    current, text = list(labels), error
    progress = True
    while progress:
        progress = False
        for size in (8, 4, 3, 2, 1):
            i = 0
            while i + size <= len(current):
                found = replay(current[:i] + current[i + size :])
                if found is not None and kind_of(found[1]) == kind:
                    current, text = list(found[0]), found[1]
                    progress = True
                else:
                    i += 1
    return current, text


def shortest(result: dict[str, Any], steps: int, tries: int) -> dict[str, Any]:
    """Shrink what a walk found, and what some more walks find; keep the shortest."""
    best: tuple[list[tuple], str] | None = None
    for _ in range(tries):
        labels, error = shrink(result["trace"], result["err"])
        if best is None or len(labels) < len(best[0]):
            best = (labels, error)
        other = walk(20_000, steps, 10, result["seed"] + 1, kind_of(result["err"]))
        if not other["err"]:
            break
        result.update(seed=other["seed"], trace=other["trace"], err=other["err"])
    if best is not None:
        result["trace"], result["err"] = best
    return result
