"""The whole search: every configuration of the table to its end, walks, and each rule removed once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Any, NamedTuple

from tests.model.state.options import configure
from tests.model.state.rules import RULES
from tests.model.state.search import bfs, kind_of, shortest, walk
from tests.model.state.table import CLEAN, REMOVED, WALKS, Clean, Removed

LIMIT_S = 300
STEPS = 120


class Outcome(NamedTuple):
    name: str
    text: str
    right: bool
    seconds: float


def search(job: tuple[str, str, float]) -> Outcome:
    """Search one row of the table."""
    kind, name, limit = job
    started = time.monotonic()
    if kind == "removed":
        text, right = search_without(next(r for r in REMOVED if r.rule == name), limit)
    elif kind == "clean":
        text, right = search_clean(next(c for c in CLEAN if c.name == name), limit)
    else:
        text, right = search_walks(next(options for title, options in WALKS if title == name), limit)
    return Outcome(f"{kind} {name}", text, right, time.monotonic() - started)


def search_clean(clean: Clean, limit: float) -> tuple[str, bool]:
    configure(**clean.options)
    found = bfs(tlimit=limit, limit=10_000_000)
    if found["err"]:
        return f"VIOLATION: {found['err']} {traced(found)}", False
    numbers = f"{found['states']:,} states, {found['trans']:,} transitions, depth {found['depth']}"
    if not found["complete"]:
        return f"clean so far, not to the end: {numbers}", True
    if clean.states and (found["states"], found["depth"]) != (clean.states, clean.depth):
        return f"clean, BUT NOT {clean.states:,} states and depth {clean.depth}: {numbers}", False
    return f"clean: {numbers}", True


def search_walks(options: dict[str, Any], limit: float) -> tuple[str, bool]:
    configure(**options)
    found = walk(tlimit=limit, steps=STEPS)
    if found["err"]:
        found = shortest(found, STEPS, 2)
        return f"VIOLATION: {found['err']} {traced(found)}", False
    return f"clean: {found['walks']:,} walks, {found['steps']:,} steps", True


def search_without(removed: Removed, limit: float) -> tuple[str, bool]:
    """Remove one rule; the violation must be of the expected kind."""
    configure([removed.rule], **removed.options)
    code = RULES[removed.rule][0]
    want = removed.violation or None
    found = (
        bfs(heal_every=0, want=want, tlimit=limit)
        if removed.bfs
        else walk(tlimit=limit, steps=STEPS, want=want)
    )
    if not found["err"]:
        return f"{code}: NOTHING FOUND, {removed.violation or 'something'} expected", False
    if not removed.bfs:
        found = shortest(found, STEPS, 6)
    return f"{code}: {kind_of(found['err'])} ({len(found['trace'])}) {found['err']} {traced(found)}", True


def traced(found: dict[str, Any]) -> str:
    return "[" + " ; ".join(" ".join(str(a) for a in label) for label in found["trace"]) + "]"


def jobs(names: list[str], limit: float) -> Iterator[tuple[str, str, float]]:
    rows = [("clean", c.name) for c in sorted(CLEAN, key=lambda c: -c.states)]
    rows += [("removed", r.rule) for r in REMOVED] + [("walks", name) for name, _ in WALKS]
    known = {kind for kind, _ in rows} | {name for _, name in rows}
    assert set(names) <= known, f"not one of {sorted(known)}"
    for kind, name in rows:
        if not names or kind in names or name in names:
            yield kind, name, limit


def full(args: list[str]) -> int:
    given = dict(arg.split("=", 1) for arg in args if "=" in arg)
    names = [arg for arg in args if "=" not in arg]
    work = list(jobs(names, float(given.get("limit", LIMIT_S))))
    wrong, begun = [], time.monotonic()
    with Pool(int(given.get("jobs", os.cpu_count() or 1)), maxtasksperchild=1) as pool:
        for outcome in pool.imap_unordered(search, work):
            mark = "ok" if outcome.right else "!!"
            print(f"{mark} {outcome.name:24} {outcome.seconds:6.1f} s  {outcome.text}", flush=True)
            wrong += [] if outcome.right else [outcome.name]
    seconds = time.monotonic() - begun
    print(f"{len(work)} searches in {seconds:.0f} s; not as expected: {', '.join(wrong) or 'none'}")
    sys.stdout.flush()
    return 1 if wrong else 0
