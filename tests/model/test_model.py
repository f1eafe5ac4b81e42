"""The protocol model is clean within small budgets, and finds what each removed rule was for.

Method: a breadth-first search to the end, with known numbers of states and transitions, so that a change of
the model cannot go unnoticed; then random walks with one rule removed, which must fail in the way that the
table in docs/protocol.md says. The searches are seeded: every run does the same. `make model` and
tests/model/README.md have the larger ones.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).with_name("model.py")
LARGE = dict(pub=4, acc=3, crash=3, reconn=9, prom=4, rem=2, add=2, casto=2)
"""Budgets of the random walks."""


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("qpidha_protocol_model", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


model = _load()


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    model.configure()


@pytest.mark.parametrize(
    ("options", "states", "transitions"),
    [
        pytest.param(
            dict(pub=1, acc=0, crash=1, reconn=1, prom=0, rem=1, add=1, casto=1), 27_962, 91_307, id="join"
        ),
        pytest.param(
            dict(min=2, pub=1, acc=0, crash=0, reconn=1, prom=0, rem=2, add=1, casto=1),
            14_398, 42_819, id="least-number",
        ),
        pytest.param(
            dict(fuzzy=1, water=1, settle="rep", pub=1, acc=1, crash=0, reconn=1, prom=1, rem=0, add=0),
            8_464, 26_602, id="chunked-catch-up",
        ),
        pytest.param(
            dict(entry=1, settle="rep", pub=1, acc=1, crash=0, reconn=1, prom=1, rem=0, add=0),
            6_130, 19_352, id="entries-with-the-first-id",
        ),
    ],
)  # fmt: skip
def test_small_budgets_are_searched_to_the_end_and_clean(
    options: dict[str, object], states: int, transitions: int
) -> None:
    model.configure(**options)
    result = model.bfs(heal_every=20)
    assert result["err"] is None
    assert result["complete"]
    assert (result["states"], result["trans"]) == (states, transitions)


@pytest.mark.parametrize(
    ("rule", "violation", "options"),
    [
        ("shrink_cas", "S1", {}),
        ("promote_insync", "S1", {}),
        ("wait_all", "S1", {}),
        ("sess_ack", "S1", {}),
        ("plan_complete", "S1", {}),
        ("cas_version", "S1", {}),
        ("gen_check", "S1", {}),
        ("ident", "S1", {}),
        ("lin_atomic", "I1", {}),
        ("min_pend", "S8", dict(min=2)),
        ("min_doubt", "S8", dict(min=3, drop_old=0)),
        ("own_sync", "S1", dict(sync=1)),
        ("group", "X2", dict(NQ=2, move=2)),
        ("move_keep", "S1", dict(NQ=2, move=2)),
        ("root_keep", "R-g", dict(NQ=3, move=4)),
        ("root_judge", "R-g", dict(NQ=2, move=2)),
        ("settle_wait", "S3", dict(settle="rep")),
        ("cons", "F3", dict(settle="rep")),
        ("cons", "F3", dict(settle="rep", water=1)),
        ("stage_drop", "R-a", dict(fuzzy=1)),
        ("stage_fresh", "I1", dict(fuzzy=1)),
        ("stage_ack", "S1", dict(fuzzy=1)),
        ("stage_which", "R-a", dict(fuzzy=1)),
        ("snap_send", "S1", dict(fuzzy=1)),
        ("enter", "G2", dict(entry=1)),
        ("enter_backup", "G2", dict(entry=1)),
    ],
)
def test_a_removed_rule_is_missed(rule: str, violation: str, options: dict[str, object]) -> None:
    model.configure([rule], **{**LARGE, **options})
    result = model.walk(20_000, 120, tlimit=60, want=violation + " ")
    assert result["err"], f"nothing found in {result['walks']} walks without {rule}"


def test_walks_with_everything_switched_on_are_clean() -> None:
    everything = dict(fuzzy=1, water=1, sync=1, settle="rep", NQ=3, move=4, trim=2, wipe=1, demote=1)
    for entry in (0, 1):
        model.configure(**LARGE, **everything, entry=entry)
        result = model.walk(40, 120, tlimit=60)
        assert result["err"] is None
        assert result["walks"] == 40


def test_a_trace_can_be_replayed() -> None:
    """A01: a joiner becomes a member without a publish that was acknowledged meanwhile."""
    model.configure(["add_pending"], **LARGE)
    found = model.walk(20_000, 120, tlimit=60, want="S1")
    assert model.replay(found["trace"]) == (found["trace"], found["err"])


def test_a_move_that_is_rewound_with_its_publish_is_no_undone_move() -> None:
    """W2: publish, move, promotion; then the old primary returns with the copy, and its origin is nowhere."""
    events = (
        "pub 0 ; move 0 0 ; prom 2 ; crash 0 ; mgr 2 prom 1 ; restart 0 ; prom 1 ; mgr 1 prom 2 ; casok 1 ; "
        "conn 0 1 ; recv 0 1 ; ack 1 0"
    )
    labels = [
        tuple(int(word) if word.isdigit() else word for word in event.split())
        for event in events.split(" ; ")
    ]
    model.configure(["root_judge"], **LARGE, NQ=2, move=2)
    found = model.replay(labels)
    assert found is not None
    assert found[1].startswith("R-g v1 is reported as an undone move")
    model.configure(**LARGE, NQ=2, move=2)
    assert model.replay(labels) is None


def test_the_usage_names_every_option_and_rule() -> None:
    run = subprocess.run([sys.executable, PATH], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    words = run.stdout.replace("=", " ").split()
    assert set(model.OPTIONS) <= set(words)
    assert {"-" + rule for rule in model.RULES} <= set(words)
