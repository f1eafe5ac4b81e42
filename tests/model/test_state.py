"""The model of a broker's whole state is clean within small budgets, and fails without each of its rules.

Method: breadth-first searches to the end, with known numbers of states and transitions, so that a change cannot
go unnoticed; the shortest counterexample to each rule, replayed with the rule and without it; seeded random walks over
everything at once. docs/state-protocol.md has the larger searches, `make state-model-full` makes them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.state import options
from tests.model.state.counterexamples import COUNTEREXAMPLES, Counterexample, parsed
from tests.model.state.nouns import CLIENTS, SENT, TOLD, Violation, World, initial
from tests.model.state.options import configure
from tests.model.state.rules import RULES
from tests.model.state.search import bfs, kind_of, replay, shrink, walk
from tests.model.state.table import ALL, FAULTS, NEW, REMOVED

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = {removed.rule: removed for removed in REMOVED}


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    configure()


@pytest.mark.parametrize(
    ("search", "states", "transitions"),
    [
        pytest.param({"queues": 1, "del": 1, "pub": 1, "prom": 1}, 603, 1_555, id="deletion"),
        pytest.param(dict(txn=1, shapes=3, prom=1), 171, 397, id="commit"),
        pytest.param(
            dict(queues=1, dedup=1, publishers=2, pub=2, re=1, prom=1), 4_639, 14_666, id="publishers"
        ),
        pytest.param(dict(chunks=1, queues=1, pub=1, upd=1, reconn=1), 1_098, 2_760, id="update-chunks"),
        pytest.param(dict(entry=1, queues=1, pub=1, decl=1, prom=2), 2_260, 6_542, id="entries"),
        pytest.param(dict(levels=1, queues=1, lpub=1, lmove=1, reconn=1, prom=1), 1_487, 3_778, id="levels"),
    ],
)
def test_small_budgets_are_searched_to_the_end_and_clean(
    search: dict[str, object], states: int, transitions: int
) -> None:
    configure(**search)
    result = bfs(heal_every=20)
    assert result["err"] is None
    assert result["complete"]
    assert (result["states"], result["trans"]) == (states, transitions)


def test_each_rule_has_a_search_and_a_counterexample() -> None:
    assert list(WITHOUT) == [removed.rule for removed in REMOVED]
    assert sorted(WITHOUT) == sorted(RULES)
    assert sorted(c.rule for c in COUNTEREXAMPLES) == sorted(RULES)


@pytest.mark.parametrize("counterexample", COUNTEREXAMPLES, ids=lambda c: c.rule)
def test_a_removed_rule_is_missed(counterexample: Counterexample) -> None:
    labels = parsed(counterexample.events)
    removed = WITHOUT[counterexample.rule]
    configure([counterexample.rule], **removed.options)
    found = replay(labels)
    assert found is not None
    assert kind_of(found[1]) == counterexample.violation
    assert removed.violation in ("", counterexample.violation)
    configure(**removed.options)
    assert replay(labels) is None


def test_a_move_that_is_rewound_with_its_publish_is_no_undone_move() -> None:
    """W2, U4: the origin of the copy was rewound as well, so the message is nowhere."""
    configure(["origin_judge"], pub=1, move=1, prom=1)
    labels = parsed("pub 0 ; move 0 ; prom 2")
    found = replay(labels)
    assert found is not None
    assert "reported as undone, but its origin was rewound" in found[1]
    configure(pub=1, move=1, prom=1)
    assert replay(labels) is None


@pytest.mark.parametrize("rule", ["drop_keep", "tx_all", "upd_pend", "dd_bind", "lv_send"])
def test_walks_miss_a_removed_rule(rule: str) -> None:
    removed = WITHOUT[rule]
    configure([rule], **removed.options)
    found = walk(20_000, 120, tlimit=60, want=removed.violation or None)
    assert found["err"], f"nothing found in {found['walks']} walks without {rule}"
    labels, error = shrink(found["trace"], found["err"])
    assert kind_of(error) == kind_of(found["err"])
    assert len(labels) <= len(found["trace"])


EVERYTHING = {
    **ALL, **NEW, "sync": 1, "shapes": 15, "levels": 3, "lpub": 2, "lmove": 2, "dedup": 1, "seqtx": 1, "publishers": 2,
    "re": 5, "reg": 1, "gup": 1, "repub": 1, "exp": 1, "trim": 1, "drop_old": 0, "casto": 1,
}  # fmt: skip


@pytest.mark.parametrize("settle", ["rep", "imm"])
@pytest.mark.parametrize("entry", [0, 1])
def test_walks_with_everything_switched_on_are_clean(settle: str, entry: int) -> None:
    configure(**{**EVERYTHING, "settle": settle, "entry": entry})
    result = walk(40, 120, tlimit=60)
    assert result["err"] is None
    assert result["walks"] == 40


@pytest.mark.parametrize(
    ("search", "events"),
    [
        (dict(queues=1, dedup=1, publishers=0), ["reg 0 1", "pub 0", "re 0 1"]),
        (dict(dedup=1, seqtx=1), ["txn 0 1", "retx 0 102"]),
        (dict(dedup=1), ["pub 0", "gup 0 1"]),
    ],
)
def test_nothing_is_told_before_it_is_complete(search: dict[str, object], events: list[str]) -> None:
    """And a repetition waits for what it repeats (EO4)."""
    configure(**search, pub=1, re=1, reg=1, txn=1, gup=1, heal=0)
    state = initial()
    for label in parsed(" ; ".join(events)):
        state = _after(state, label)
        if label[0] == "reg":
            for event in parsed("recv 1 0 ; ack 0 1 ; recv 2 0 ; ack 0 2"):
                state = _after(state, event)
    stored = {fact for fact in state[4][TOLD] if fact[0] in "EN"}
    assert stored == set()
    for event in parsed("recv 1 0 ; ack 0 1 ; recv 2 0 ; ack 0 2"):
        while (next_state := _after(state, event, optional=True)) is not None:
            state = next_state
    assert {fact for fact in state[4][TOLD] if fact[0] == "E"}
    assert len(state[4][SENT]) == 1
    assert state[4][CLIENTS][0][1] == 1


def _after(state: tuple, label: tuple, optional: bool = False) -> tuple | None:
    from tests.model.state.events import actions, step

    for found, *event in actions(state):
        if found == label:
            return step(World(state), tuple(event))
    assert optional, f"{label} cannot happen"
    return None


def test_a_state_that_is_broken_is_reported() -> None:
    """The checks fire: a fact that clients were told and that no member has."""
    from tests.model.state.invariants import check

    state = list(initial())
    ghost = list(state[4])
    ghost[TOLD] = frozenset([("E", 1)])
    state[4] = tuple(ghost)
    with pytest.raises(Violation, match="S1"):
        check(tuple(state))


def test_an_unknown_rule_or_option_is_refused() -> None:
    with pytest.raises(AssertionError):
        configure(["no_such_rule"])
    with pytest.raises(AssertionError):
        configure(no_such_option=1)
    assert set(options.BUDGETS) <= set(options.OPTIONS)
    assert set(FAULTS) <= set(options.BUDGETS)


def test_the_command_names_every_option_and_rule_and_tells_what_it_found() -> None:
    usage = _run()
    assert usage.returncode == 2
    words = usage.stdout.replace("=", " ").split()
    assert set(options.OPTIONS) <= set(words)
    assert {"-" + rule for rule in RULES} <= set(words)
    assert _run("bfs", "queues=0", "decl=1").returncode == 0
    found = _run("bfs", "-drop_keep", "queues=1", "pub=1", "del=1")
    assert found.returncode == 1
    assert "pub 0 ; del 0 a" in found.stdout


def _run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.model.state", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
