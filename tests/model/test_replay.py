"""What the real core does is what the protocol model allows; and a core that breaks a rule is noticed.

Method: random runs of the simulator are followed in the model, step by step (`replay`, docs/protocol.md). The
simulator's checkers are off, so only the difference between code and model can be found. `make replay
ARGS="FIRST RUNS"` makes more of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import model
import pytest
from replay import Run
from tracker import Disagreement, Tracker, facts_of

from tests.simulation import test_mutations as mutations

RUNS = 200
SEEDS = 60
"""In so many runs a broken core must be noticed."""

SEEN = set(
    "pub acc move conn stage snap recv ack prom mgr casok casfail casto casdoubt rem add addcas demote watch over "
    "sync crash crashp restart wipe".split()
)
"""Events that these runs must contain, so that their agreement says something."""


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    model.configure()


def test_runs_of_the_core_are_runs_of_the_model() -> None:
    events: Counter[str] = Counter()
    for seed in range(RUNS):
        run = Run(seed)
        run.run()
        events += Counter(str(label[0]) for label in run.tracker.taken)
    assert set(events) >= SEEN
    assert sum(events.values()) > 25 * RUNS


def test_the_same_seed_is_the_same_run() -> None:
    first, again = Run(7), Run(7)
    first.run()
    again.run()
    assert first.tracker.taken == again.tracker.taken
    assert first.world.hash == again.world.hash


BROKEN = [
    (mutations.waits_for_the_attached_only, 0),
    (mutations.ignores_the_joiner, 20),
    (mutations.forgets_the_joiner, 90),
    (mutations.doubt_means_no, 0),
    (mutations.completes_with_too_few, 0),
    (mutations.counts_who_leaves, 0),
    (mutations.compares_ids_only, 0),
    (mutations.hands_over_at_once, 50),
    (mutations.sends_before_it_persists, 0),
    (mutations.anybody_may_be_promoted, 0),
    (mutations.completes_with_a_move, 0),
    (mutations.calls_every_copy_an_undone_move, 570),
    (mutations.names_the_place_before, 0),
    (mutations.forgets_what_was_staged, 510),
    (mutations.keeps_its_own_lineage, 0),
]
"""What is broken, and the seed of the first run to try."""


@pytest.mark.parametrize(("mutation", "first"), BROKEN, ids=[m.__name__ for m, _ in BROKEN])
def test_a_core_without_a_rule_leaves_the_model(
    mutation: mutations.Mutation, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    for seed in range(first, first + SEEDS):
        try:
            Run(seed).run()
        except Disagreement as found:
            assert f"seed {seed}, settle=" in str(found)
            for part in ("the code: ", "in the model: ", "the model allows: ", "the last events: "):
                assert part in str(found)
            return
    pytest.fail(f"{mutation.__name__} was not noticed in {SEEDS} runs")


def test_an_event_that_the_model_refuses_is_a_disagreement() -> None:
    model.configure(prom=0)
    tracker = Tracker(model.initial())
    with pytest.raises(Disagreement, match="does not allow: ack 0 1"):
        tracker.step([("ack", 0, 1)], facts_of(model.initial()))


def test_content_that_no_event_explains_is_a_disagreement() -> None:
    model.configure()
    tracker = Tracker(model.initial())
    facts = facts_of(model.initial())
    facts[1, "disk"] = (0, 1, (((1, 1),), 2, ((1, 1, 1),)))
    with pytest.raises(Disagreement, match="node 1, disk"):
        tracker.step([], facts)
