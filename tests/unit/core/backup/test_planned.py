"""What a plan says of one queue: contradictions are found, and messages dequeued meanwhile are left out (C5)."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.backup.planned import Planned, check_planned, check_planned_keys, fresh
from qpidha.core.backup.staging import Staging
from qpidha.core.keyed import TABLE
from qpidha.core.outbox import Outbox
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import RemoteProtocolError
from qpidha.types import QueueSpec
from qpidha.wire.events import PlanQueue

Q = UUID(int=1)


def planned(*ids: int, held: int, next: int = 10, kind: str = "") -> Planned:
    made = Planned(
        meta=PlanQueue(
            queue=Q, spec=QueueSpec(name="q", kind=kind), lineage=((1, 1), (2, 5)), next=next, held=held
        )
    )
    for id in ids:
        made.add(1 if id < 5 else 2, SequenceSet([id]), Batch.pack([b"m"], props=[b"key"]))
    return made


def known(*ids: int) -> ReplicatedQueue:
    made = ReplicatedQueue(Q, QueueSpec(name="q"), ((1, 1),), 5)
    for id in ids:
        made.insert(SequenceSet([id]), Batch.pack([b"m"]))
    return made


def test_a_plan_that_fits_is_taken() -> None:
    plan = planned(4, 6, held=3)
    plan.drop = SequenceSet([2])
    check_planned(known(1, 2), Q, plan)
    check_planned(None, Q, planned(6, held=1))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Planned(), "which the plan does not have"),
        (planned(held=1), "leaves 2 messages, not 1"),
        (planned(1, held=2), "sends a message that this backup keeps"),
        (planned(6, held=3, next=6), "at or above next"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(plan: Planned, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=message):
        check_planned(known(1, 2), Q, plan)


def test_only_what_is_there_can_be_dropped() -> None:
    held, staged, other = planned(held=1), planned(6, held=3), planned(6, held=3)
    held.drop, staged.staged_drop = SequenceSet([3]), SequenceSet([1])
    for plan in (held, staged):
        with pytest.raises(RemoteProtocolError, match="does not have"):
            check_planned(known(1, 2), Q, plan)
    other.staged[0].generation = 1
    with pytest.raises(RemoteProtocolError, match="not of the generation"):
        check_planned(known(1, 2), Q, other)


def test_a_key_comes_once() -> None:
    body = Staging(None, Outbox()).body
    list(check_planned_keys(None, planned(1, 2, held=2), partial(body, Q)))  # Not a table.
    list(check_planned_keys(None, planned(1, held=1, kind=TABLE), partial(body, Q)))
    with pytest.raises(RemoteProtocolError, match="two messages of one key"):
        list(check_planned_keys(None, planned(1, 2, held=2, kind=TABLE), partial(body, Q)))


def test_messages_that_were_dequeued_after_they_were_staged_are_left_out() -> None:
    plan = planned(1, 6, held=1)
    plan.add(2, SequenceSet([7, 8, 9]), Batch.pack([b"a", b"b", b"c"]))
    assert [list(ids) for _, ids in fresh(plan)] == [[1], [6], [7, 8, 9]]
    plan.staged_drop = SequenceSet([1, 8])
    left = [(ids, piece.part(ids, piece.body)) for piece, ids in fresh(plan)]
    assert [(list(ids), [bytes(d) for d in batch]) for ids, batch in left] == [
        ([6], [b"m"]), ([7, 9], [b"a", b"c"]),
    ]  # fmt: skip
