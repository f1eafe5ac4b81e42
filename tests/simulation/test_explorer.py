"""The explorer sees everything in its scope, and finds what a core without one rule does wrong.

The mutations are those that random walks are tried on (`test_mutations`): the same broken cores, searched instead
of rolled for.
"""

from __future__ import annotations

import pytest

from qpidha.testing.explorer import Explorer
from qpidha.testing.explorer_scope import Scope
from tests.simulation import test_mutations as broken

BROKEN = [
    broken.waits_for_the_attached_only,
    broken.ignores_the_joiner,
    broken.compares_ids_only,
    broken.hands_over_at_once,
    broken.sends_before_it_persists,
    broken.anybody_may_be_promoted,
    broken.forgets_what_was_staged,
    broken.keeps_its_own_lineage,
]


@pytest.mark.parametrize("mutation", BROKEN, ids=lambda m: m.__name__)
def test_a_missing_rule_is_found(mutation: broken.Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    found = Explorer(Scope()).run(states=150_000)
    print(found)
    assert found.violation, f"{mutation.__name__} was not found in {found.states} states"
