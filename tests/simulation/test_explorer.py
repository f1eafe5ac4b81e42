"""The explorer visits every state in its scope, and finds the violation of a core that lacks one rule.

The broken cores are those of the random walks (`test_mutations`): here they are searched exhaustively instead of at
random. Each is searched in the smallest scope in which its rule matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from qpidha.core.births import OWN_OBJECTS
from qpidha.core.histories import Histories
from qpidha.core.local import LocalQueues
from qpidha.core.primary.drafted import Drafted
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.producers import Producers
from qpidha.core.producers import ProducerEntries
from qpidha.core.steps import Committed, Publish, Put, Step
from qpidha.journal import DropQueue
from qpidha.seq import SequenceSet
from qpidha.testing.explorer import Explorer
from qpidha.testing.explorer.__main__ import main
from qpidha.testing.explorer.keys import canonical
from qpidha.testing.explorer.objects import THING
from qpidha.testing.explorer.scope import Scope
from qpidha.types import Position, Role
from tests.simulation import test_mutations as broken

ONE = Scope(queues=1, publish=1, accept=0, promote=1, connect=1, fault=1)
PAIR = ("P", "B1")


def makes_each_step_an_operation(patch: pytest.MonkeyPatch) -> None:
    """TX1 broken: the steps of a commit have positions of their own."""
    whole = Primary.make

    def make(self: Primary, steps: Sequence[Step], *, committed: bool = False) -> Committed:
        return [whole(self, [step], committed=committed) for step in steps][-1]

    patch.setattr(Primary, "make", make)


def publishes_to_each_queue_alone(patch: pytest.MonkeyPatch) -> None:
    """TX1 broken: a message for several queues is an operation for each of them."""
    whole = Primary.make

    def make(self: Primary, steps: Sequence[Step], *, committed: bool = False) -> Committed:
        alone = [
            replace(step, queues=(queue,))
            for step in steps
            if isinstance(step, Publish)
            for queue in step.queues
        ]
        return [whole(self, [step], committed=committed) for step in alone or steps][-1]

    patch.setattr(Primary, "make", make)


def knows_no_repetition(patch: pytest.MonkeyPatch) -> None:
    """EO1 broken: a repetition is made again."""
    patch.setattr(Producers, "answer", lambda self, sequence: None)
    patch.setattr(Producers, "_add", lambda self, pending: None)  # It would notice that first.
    patch.setattr(ProducerEntries, "known", lambda self, sequence: False)


def takes_what_is_missing_for_deleted(patch: pytest.MonkeyPatch) -> None:
    """Q4 broken: a queue that the new history never had is erased with its messages."""
    patch.setattr(Histories, "deleted", lambda self, queue, old=None: True)


def drops_what_is_its_own_at_a_flip(patch: pytest.MonkeyPatch) -> None:
    """LV4 broken: a flip drops the queue of the node's own objects."""
    follow = LocalQueues.follow

    def judging(self: LocalQueues, *arguments: Any) -> Iterator[Any]:
        yield from follow(self, *arguments)
        if self._queues.pop(OWN_OBJECTS, None) is not None:
            yield DropQueue(OWN_OBJECTS), None

    patch.setattr(LocalQueues, "follow", judging)


def puts_what_is_its_own_for_all(patch: pytest.MonkeyPatch) -> None:
    """LV2 broken: an object of one node alone goes into the configuration."""
    begin = Drafted._draft

    def everywhere(self: Drafted, ref: Any) -> Any:
        return begin(self, self._configuration.queue if ref == OWN_OBJECTS else ref)

    patch.setattr(Drafted, "_draft", everywhere)


def forgets_nobody(patch: pytest.MonkeyPatch) -> None:
    """EO6 broken: the entry of a producer that is forgotten stays."""

    def forget(self: Producers, name: str) -> Position:
        return self._primary.make([Put(self._primary.configuration.queue, THING, b"9")]).position

    patch.setattr(Producers, "forget", forget)


NONE = Scope(queues=1, publish=0, accept=0, promote=0, connect=0, fault=0)
"""Nothing happens but what a test adds."""
CHANGED = {
    makes_each_step_an_operation: (replace(NONE, nodes=PAIR, commit=1), "TX1"),
    publishes_to_each_queue_alone: (replace(NONE, nodes=PAIR, queues=2, fan_out=1), "TX1"),
    knows_no_repetition: (replace(NONE, nodes=PAIR, produce=1, repeat=1), "X2"),
    takes_what_is_missing_for_deleted: (
        replace(NONE, nodes=PAIR, declare=1, publish=1, promote=1, connect=1), "R-c",
    ),
    drops_what_is_its_own_at_a_flip: (replace(NONE, nodes=PAIR, keep=1, put=1, promote=1, connect=1), "LV-a"),
    puts_what_is_its_own_for_all: (replace(NONE, nodes=PAIR, keep=1), "LV-b"),
    forgets_nobody: (replace(NONE, nodes=PAIR, produce=1, forget=1), "EO6"),
}  # fmt: skip
"""The same for rules of configuration, commits and producers."""
BROKEN = CHANGED | {
    broken.waits_for_the_attached_only: (Scope(), "S1"),
    broken.sends_before_it_persists: (Scope(), "S1"),
    broken.anybody_may_be_promoted: (replace(ONE, nodes=PAIR), "F1"),
    broken.compares_ids_only: (replace(ONE, nodes=PAIR, publish=2), "R-a"),
    broken.keeps_its_own_lineage: (replace(ONE, fault=0), "D8"),
    broken.ignores_the_joiner: (replace(ONE, publish=2, promote=0, connect=2), "S1"),
    broken.hands_over_at_once: (ONE, "R-g"),
    broken.calls_every_copy_an_undone_move: (replace(ONE, nodes=PAIR, queues=2, move=1, fault=0), "R-g"),
    broken.forgets_what_was_staged: (replace(ONE, publish=2, accept=1, promote=0), "peer"),
}
"""What is broken, where it is looked for, and the invariant that does not hold then."""
ENOUGH = 150_000

WHOLE = {
    "an accept": Scope(queues=1, publish=1, accept=1, promote=0, connect=0, fault=0),
    "a move and an accept": Scope(queues=2, publish=1, accept=1, move=1, promote=0, connect=0, fault=0),
    "a fault": Scope(queues=1, publish=1, accept=0, promote=0, connect=1, fault=1),
    "a promotion": Scope(queues=1, publish=1, accept=0, promote=1, connect=1, fault=0),
    "a commit": replace(NONE, publish=1, commit=1),
    "a fan-out": replace(NONE, nodes=PAIR, queues=2, fan_out=1, promote=1, connect=1),
    "an update": replace(NONE, publish=1, update=1),
    "a deletion and a declaration": replace(NONE, nodes=PAIR, queues=2, publish=1, delete=1, declare=1),
    "an object and a fault": replace(NONE, nodes=PAIR, put=2, connect=1, fault=1),
    "an own object": replace(NONE, nodes=PAIR, keep=2, promote=1, connect=1),
    "a sequence that is given up": replace(NONE, nodes=PAIR, give_up=1, repeat=1, promote=1, connect=1),
    "a producer that is forgotten": replace(
        NONE, nodes=PAIR, produce=1, repeat=1, forget=1, promote=1, connect=1
    ),
    "a repetition": replace(NONE, nodes=PAIR, produce=1, repeat=1, promote=1, connect=1),
}
"""Small enough to be seen to the end in seconds; each has every interleaving."""


@pytest.mark.parametrize("mutation", BROKEN, ids=lambda m: m.__name__)
def test_a_missing_rule_is_found(mutation: broken.Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    scope, rule = BROKEN[mutation]
    found = Explorer(scope).run(states=ENOUGH)
    print(found)
    assert found.violation.startswith(f"Violation: {rule}:"), found.violation or "not found"
    assert found.path[-1].startswith(f"{len(found.path):3} ")


@pytest.mark.parametrize("scope", WHOLE.values(), ids=WHOLE.keys())
def test_a_small_scope_is_seen_to_the_end(scope: Scope) -> None:
    found = Explorer(scope).run()
    print(found)
    assert not found.violation, found
    assert found.complete
    assert found.states == found.expanded > 500


def test_the_order_of_the_search_does_not_change_what_is_found() -> None:
    scope = WHOLE["a fault"]
    by_interruptions, by_length = Explorer(scope).run(), Explorer(scope, interruptions=False).run()
    assert by_interruptions.complete
    assert by_length.complete
    assert by_interruptions.states == by_length.states
    assert by_interruptions.transitions == by_length.transitions


def test_the_largest_scope_is_entered_as_far_as_there_is_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--states", "3000"]) == 0
    assert "not complete" in capsys.readouterr().out


def test_a_limit_of_time_ends_a_search() -> None:
    readings = iter([0.0, 0.0, *[9.0] * 9])
    found = Explorer(Scope(), clock=lambda: next(readings)).run(seconds=1.0)
    assert not found.complete
    assert found.states > found.expanded > 0


# --- canonical forms -----------------------------------------------------------------------------


class Box:
    __slots__ = ("first", "second")

    def __init__(self, first: object, second: object) -> None:
        self.first = first
        self.second = second


def test_equal_values_have_one_form() -> None:
    box = Box([1, {"a": SequenceSet([1, 2, 9])}], frozenset({Role.READY, Role.ACTIVE}))
    assert canonical(box) == canonical(deepcopy(box))
    assert canonical({1, 2, 3}) == canonical({3, 2, 1})


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Box([], 0), Box([0], 0)),
        (Box(1, (2, 3)), Box(1, [2, 3])),
        (Box(1, True), Box(1, 1)),
        (Box("1", 2), Box(1, 2)),
        (Box(SequenceSet([1]), 0), Box(SequenceSet([2]), 0)),
        ({1: 0, 2: 0}, {2: 0, 1: 0}),
        ([[1], [2]], [[1, [2]]]),
    ],
)
def test_different_values_have_different_forms(a: object, b: object) -> None:
    assert canonical(a) != canonical(b)


def test_a_shared_mutable_value_differs_from_two_equal_ones() -> None:
    shared: list[int] = []
    assert canonical(Box(shared, shared)) != canonical(Box([], []))


def test_a_value_of_an_unknown_type_has_no_form() -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        canonical(object.__new__(type("Stranger", (), {})))
