"""The real core does what the model of a broker's whole state does; a core that breaks a rule is noticed.

Method: random traces of the model are played on three replicas, whose stores are compared after each action
(`statereplay`). The simulator's checkers are off, so only the difference between core and model can be found. `make
replay` plays more traces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.state.options import configure
from tests.model.stateparts import Disagreement
from tests.model.statereplay import ACTIONS, FOLLOWING, UNMAPPED, Replay
from tests.simulation import test_changes as mutations

RUNS = 40
SEEDS = 40
"""In so many traces a broken core must be noticed."""


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    configure()


def test_traces_of_the_model_are_runs_of_the_core() -> None:
    taken: Counter[str] = Counter()
    for seed in range(RUNS):
        taken += Replay(seed).run()
    assert {*ACTIONS, *FOLLOWING} <= taken.keys()
    assert sum(taken.values()) > 30 * RUNS


def test_each_action_of_the_model_is_replayed_or_said_not_to_be() -> None:
    """All labels of the model are in one of the lists, but for those of its mutations."""
    source = [
        (Path(__file__).parent / "state" / f"{file}.py").read_text("utf-8") for file in ("clients", "events")
    ]
    named = set(re.findall(r'\(\("([a-z]+)",', "".join(source)))
    assert len(named) > 30
    known = {*ACTIONS, *FOLLOWING, *UNMAPPED}
    assert named - known == {"txrest", "txcommit", "reuse", "anew"}
    assert not ACTIONS.keys() & UNMAPPED.keys()


@pytest.mark.parametrize(
    "mutation",
    [
        mutations.applies_half_of_a_commit,
        mutations.keeps_the_object_of_a_deleted_queue,
        mutations.keeps_a_deleted_queue_on_backups,
        mutations.quarantines_deleted_queues,
        mutations.erases_rewound_queues,
        mutations.updates_lose_their_place,
        mutations.updates_begin_a_new_message,
    ],
)
def test_a_core_without_a_rule_is_noticed(
    mutation: mutations.Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    with pytest.raises(Disagreement, match=r"seed \d+") as found:
        for seed in range(SEEDS):
            Replay(seed).run()
    assert "the trace: " in str(found.value)
