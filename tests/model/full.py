#!/usr/bin/env python3
"""The whole search of the protocol model: configurations searched to the end, and each rule removed once.

    python tests/model/full.py [limit=SECONDS] [jobs=N] [large=1] [NAME ...]

A configuration of `CLEAN` must be clean, and must have the numbers of docs/protocol.md. For each rule of `REMOVED`
a violation of the named kind must be found. A search may take ``limit`` seconds (300); a configuration that does
not end within them is reported, and is no failure. ``large`` adds those with a million states and more (some GB of
memory each). Names restrict the search to some rules or configurations. The exit status is 1 if a search did not
have its expected result.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Any, NamedTuple

import model

LIMIT_S = 300
STATES_LARGE = 1_000_000

NONE = dict.fromkeys(model.BUDGETS, 0)
LARGE = {**NONE, **dict(pub=4, acc=3, crash=3, reconn=9, prom=4, rem=2, add=2, casto=2)}
"""Budgets of the random walks."""
SMALL = {**NONE, **dict(pub=1, acc=1, reconn=1)}
JOIN = {**NONE, **dict(pub=1, reconn=2, prom=1, rem=1, add=1, casto=1)}

TWO = dict(NQ=2, move=2)
CHAIN = dict(NQ=3, move=4)
REP = dict(settle="rep")
FUZZY = dict(fuzzy=1)
SYNC = dict(sync=1)


class Clean(NamedTuple):
    name: str
    options: dict[str, Any]
    """A configuration in which everything else is 0, or the default of a variant."""
    states: int
    depth: int


CLEAN = [
    Clean("double failover", dict(pub=2, reconn=2, prom=2), 346_642, 23),
    Clean("moves", dict(NQ=2, pub=1, move=1, reconn=2, prom=2), 294_726, 23),
    Clean("moves, accepts", dict(**REP, NQ=2, pub=1, acc=1, move=1, reconn=2, prom=1), 209_865, 22),
    Clean("moves twice", dict(NQ=3, pub=1, move=2, reconn=2, prom=1), 174_178, 22),
    Clean("moves twice, accepts", dict(**REP, NQ=3, pub=1, acc=1, move=2, reconn=1, prom=1), 95_465, 22),
    Clean("lost disk", dict(wipe=1, pub=1, rem=1, add=1, reconn=1, prom=1), 142_876, 21),
    Clean("join", dict(pub=1, crash=1, reconn=1, rem=1, add=1, casto=1), 27_962, 18),
    Clean("crash, fsync", dict(**REP, **SYNC, pub=1, acc=1, crash=1, reconn=1, prom=1), 458_970, 26),
    Clean("publishes, fsync", dict(**SYNC, pub=2, crash=1, reconn=1, prom=1), 516_399, 24),
    Clean("accepts", dict(**REP, pub=2, acc=1, reconn=2, prom=1), 529_439, 22),
    Clean("join, failover", dict(pub=1, rem=1, add=1, reconn=2, prom=1, casto=1), 551_756, 23),
    Clean("join, accepts", dict(**REP, pub=1, acc=1, rem=1, add=1, reconn=1, prom=1, casto=1), 599_700, 24),
    Clean("chunks, moves", dict(**FUZZY, **REP, NQ=2, pub=1, acc=1, move=1, reconn=2, prom=1), 558_609, 25),
    Clean("chunks, join, failover", dict(**FUZZY, pub=1, rem=1, add=1, reconn=2, prom=1), 337_670, 24),
    Clean("chunks, lost disk", dict(**FUZZY, wipe=1, pub=1, rem=1, add=1, reconn=1, prom=1), 207_856, 22),
    Clean("chunks, watermark", dict(**FUZZY, **REP, water=1, pub=2, acc=1, reconn=1, prom=1), 109_175, 20),
    Clean("chunks, double failover", dict(**FUZZY, pub=1, reconn=2, prom=2), 103_302, 22),
    Clean("chunks, join", dict(**FUZZY, pub=1, crash=1, reconn=1, rem=1, add=1, casto=1), 39_790, 19),
    Clean("watermark", dict(**REP, water=1, pub=2, acc=2, reconn=1, prom=1), 228_240, 22),
    Clean("as the library", dict(**FUZZY, **REP, water=1, lib=1, over=1, pub=1, acc=1, reconn=1, prom=1), 40_970, 20),
    Clean("least number", dict(min=2, pub=1, rem=2, add=1, reconn=1, casto=1), 14_398, 19),
    Clean("least number, failover", dict(**REP, min=2, pub=1, acc=1, rem=1, add=1, reconn=2, prom=1), 1_177_906, 26),
    Clean("entries, accepts", dict(**REP, entry=1, pub=1, acc=1, reconn=1, prom=2), 40_400, 20),
    Clean("entries, chunks", dict(**FUZZY, entry=1, pub=1, reconn=2, prom=2), 102_658, 22),
    Clean("join twice", dict(pub=1, rem=1, add=1, reconn=2, prom=2), 1_052_010, 26),
    Clean("chunks, accepts", dict(**FUZZY, **REP, pub=2, acc=1, reconn=2, prom=1), 1_488_169, 25),
    Clean("hand-over", dict(demote=1, pub=1, rem=1, add=1, reconn=2, prom=1, casto=1), 2_008_048, 25),
    Clean("trimmed", dict(**REP, trim=1, pub=2, acc=1, reconn=2, prom=2), 3_896_458, 26),
    Clean("crash, accepts", dict(**REP, pub=2, acc=1, crash=1, reconn=2, prom=1), 4_045_555, 24),
    Clean("moves, crash, fsync",
          dict(**REP, **SYNC, NQ=2, pub=1, acc=1, move=1, crash=1, reconn=1, prom=1), 3_603_558, 29),
]  # fmt: skip


class Removed(NamedTuple):
    rule: str
    violation: str
    """How the expected violation begins."""
    options: dict[str, Any]
    """Options of the walk besides `LARGE`."""
    bfs: bool = False
    """The violation is too rare for walks: search breadth first, with ``options`` as all budgets."""


REMOVED = [
    Removed("cas_version", "S1", {}),
    Removed("add_doubt", "S1", JOIN, bfs=True),
    Removed("shrink_doubt", "S1", {}),
    Removed("shrink_fail", "S1", {}),
    Removed("promote_insync", "S1", {}),
    Removed("new_gen", "F1", SYNC),
    Removed("act_gen", "S4", {}),
    Removed("wait_all", "S1", {}),
    Removed("group", "X2", TWO),
    Removed("move_keep", "S1", TWO),
    Removed("own_sync", "S1", SYNC),
    Removed("cons", "F3", REP),
    Removed("settle_wait", "S3", REP),
    Removed("one_session", "R-a", {}),
    Removed("gen_check", "S1", {}),
    Removed("sess_ack", "S1", {}),
    Removed("plan_covers", "live", {**SMALL, **REP}, bfs=True),
    Removed("snap_covers", "live", {**SMALL, **FUZZY, **REP}, bfs=True),
    Removed("ident", "S1", {}),
    Removed("fill", "R-a", {}),
    Removed("adopt_end", "R-a", {}),
    Removed("stage_drop", "R-a", FUZZY),
    Removed("stage_which", "R-a", FUZZY),
    Removed("snap_send", "S1", FUZZY),
    Removed("plan_complete", "S1", {}),
    Removed("atomic_resync", "S1", TWO),
    Removed("lin_atomic", "I1", {}),
    Removed("gen_durable", "S1", {}),
    Removed("stage_fresh", "I1", FUZZY),
    Removed("stage_hidden", "G2", FUZZY),
    Removed("ack_sync", "S1", SYNC),
    Removed("order", "S4", {}),
    Removed("stage_ack", "S1", FUZZY),
    Removed("shrink_cas", "S1", {}),
    Removed("add_pending", "S1", {}),
    Removed("add_target", "S1", {}),
    Removed("adding_cas_keep", "S1", {}),
    Removed("min_pend", "S8", dict(min=2)),
    Removed("min_doubt", "S8", dict(min=3, drop_old=0)),
    Removed("epoch", "S1", dict(wipe=1)),
    Removed("indoubt", "S2", {}),
    Removed("next_durable", "R-b", REP),
    Removed("trim_unknown", "R-b", dict(trim=1, settle="rep")),
    Removed("handover", "R-g", {}),
    Removed("root_keep", "R-g", CHAIN),
    Removed("root_judge", "R-g", TWO),
    Removed("root_follow", "R-g", {**NONE, **dict(NQ=2, pub=1, move=1, reconn=2, prom=2)}, bfs=True),
    Removed("lin_match", "G2", {}),
    Removed("cover", "live", REP),
    Removed("enter", "G2", dict(entry=1)),
    Removed("enter_backup", "G2", dict(entry=1)),
]


class Outcome(NamedTuple):
    name: str
    text: str
    right: bool
    seconds: float


def search(job: tuple[str, float]) -> Outcome:
    """Search one configuration or rule, a row of the table."""
    name, limit = job
    started = time.monotonic()
    for clean in CLEAN:
        if clean.name == name:
            text, right = search_clean(clean, limit)
            break
    else:
        text, right = search_without(next(r for r in REMOVED if r.rule == name), limit)
    return Outcome(name, text, right, time.monotonic() - started)


def search_clean(clean: Clean, limit: float) -> tuple[str, bool]:
    model.configure(**{**NONE, **clean.options})
    found = model.bfs(tlimit=limit, heal_every=20)
    if found["err"]:
        return f"VIOLATION: {found['err']}", False
    numbers = f"{found['states']:,} states, {found['trans']:,} transitions, depth {found['depth']}"
    if not found["complete"]:
        return f"clean so far, not to the end: {numbers}", True
    if (found["states"], found["depth"]) != (clean.states, clean.depth):
        return (
            f"clean, BUT NOT {clean.states:,} states and depth {clean.depth}: {numbers}",
            False,
        )
    return f"clean: {numbers}", True


def search_without(removed: Removed, limit: float) -> tuple[str, bool]:
    """Remove one rule and walk from a fixed seed; the violation must be of the expected kind."""
    if removed.bfs:
        model.configure([removed.rule], **removed.options)
        every = 1 if removed.violation == "live" else 50  # Healing is most of the work.
        found = model.bfs(tlimit=limit, want=removed.violation, heal_every=every)
    else:
        model.configure([removed.rule], **{**LARGE, **removed.options})
        found = model.walk(1_000_000, 120, tlimit=limit, want=removed.violation)
    how = "bfs" if removed.bfs else "walk"
    changed = {k: v for k, v in removed.options.items() if v != (NONE if removed.bfs else {}).get(k)}
    options = " ".join(f"{name}={value}" for name, value in changed.items())
    letter = model.RULES[removed.rule][0]
    if not found["err"]:
        return f"{letter:6} NOTHING FOUND, {removed.violation} expected ({how} {options})", False
    return f"{letter:6} {found['err'][:70]} ({how} {options})", True


def jobs(names: list[str], limit: float, large: bool) -> Iterator[tuple[str, float]]:
    known = [r.rule for r in REMOVED] + [c.name for c in CLEAN]
    assert set(names) <= set(known), f"not one of {known}"
    for clean in sorted(CLEAN, key=lambda c: -c.states):
        if clean.name in names or (not names and (large or clean.states < STATES_LARGE)):
            yield clean.name, limit
    for removed in REMOVED:
        if removed.rule in names or not names:
            yield removed.rule, limit


def main(args: list[str]) -> int:
    given = dict(arg.split("=", 1) for arg in args if "=" in arg)
    names = [arg for arg in args if "=" not in arg]
    limit = float(given.get("limit", LIMIT_S))
    missing = set(model.RULES) - {r.rule for r in REMOVED}
    assert not missing, f"no search for {missing}"
    wrong, begun = [], time.monotonic()
    work = list(jobs(names, limit, given.get("large", "0") != "0"))
    with Pool(int(given.get("jobs", os.cpu_count() or 1)), maxtasksperchild=1) as pool:
        for outcome in pool.imap_unordered(search, work):
            mark = "ok" if outcome.right else "!!"
            print(f"{mark} {outcome.name:24} {outcome.seconds:6.1f} s  {outcome.text}", flush=True)
            wrong += [] if outcome.right else [outcome.name]
    print(
        f"{len(work)} searches in {time.monotonic() - begun:.0f} s; not as expected: {', '.join(wrong) or 'none'}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
