"""Which effects of a `Ready` may still be performed when its role has ended or its node has failed (K1, L1)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha.core.ready import (
    CloseLink,
    Doubtful,
    HandOver,
    QueueAdded,
    ReadRecord,
    Ready,
    RoleChanged,
    Safe,
    Settled,
    needs_no_disk,
    remainder,
    without_disk,
)
from qpidha.journal import Change, DropQueue
from qpidha.types import QueueSpec, Role
from qpidha.wire.events import Established, Frame, Operations

QUEUE = UUID(int=1)
SAFE, SETTLED = Safe(QUEUE, 1, 3, frozenset()), Settled(1, 3, frozenset())
ADDED, CLOSED = QueueAdded(QUEUE, QueueSpec(name="q")), CloseLink(7, "why")
OVER = RoleChanged(Role.JOINING, 3)
FRAME = Frame(3, 1, Established())


def ready() -> Ready:
    return Ready(
        [DropQueue(QUEUE)], [(1, FRAME)], ReadRecord(), [SAFE, SETTLED, Doubtful(3)], [ADDED, CLOSED, OVER]
    )


def test_an_empty_ready_is_false() -> None:
    assert not Ready()


@pytest.mark.parametrize("kind", ["persist", "send", "request", "complete", "notify"])
def test_a_ready_with_any_effect_is_true(kind: str) -> None:
    assert Ready(**{kind: getattr(ready(), kind)})


@pytest.mark.parametrize("effect", [Doubtful(3), CLOSED, OVER, RoleChanged(Role.STOPPED, 3)], ids=repr)
def test_effects_that_end_something_need_no_disk(effect: object) -> None:
    assert needs_no_disk(effect)


@pytest.mark.parametrize(
    "effect",
    [SAFE, SETTLED, ADDED, HandOver(()), FRAME, RoleChanged(Role.ACTIVE, 3)],
    ids=lambda e: type(e).__name__,
)
def test_effects_that_promise_or_report_content_need_the_disk(effect: object) -> None:
    assert not needs_no_disk(effect)


def test_effects_without_disk_have_no_frame_no_request_and_no_promise() -> None:
    assert without_disk(ready()) == Ready(complete=[Doubtful(3)], notify=[CLOSED, OVER])


def test_the_remainder_is_stored_and_asks_but_sends_and_promises_nothing() -> None:
    assert remainder(ready()) == Ready([DropQueue(QUEUE)], [], ReadRecord(), [], [ADDED])


OPERATIONS = Frame(3, 1, Operations(first=2, operations=()))


@pytest.mark.parametrize(
    ("changes", "frames", "early"),
    [
        ([DropQueue(QUEUE)], [OPERATIONS, OPERATIONS], True),
        ([DropQueue(QUEUE)], [OPERATIONS, FRAME], False),
        ([DropQueue(QUEUE)], [FRAME, OPERATIONS], False),
        ([DropQueue(QUEUE)], [], False),
        ([], [OPERATIONS], False),
    ],
)
def test_operations_alone_are_sent_early(changes: list[Change], frames: list[Frame], early: bool) -> None:
    one = Ready(persist=changes, send=[(1, frame) for frame in frames])
    one.look_whether_early()
    assert one.early is early


def test_effects_without_disk_and_the_remainder_share_nothing() -> None:
    whole = ready()
    assert not set(map(id, without_disk(whole).notify)) & set(map(id, remainder(whole).notify))
