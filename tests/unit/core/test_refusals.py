"""A link is refused: first a reason is sent, then the link is closed."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Settings
from qpidha.core.ready import CloseLink
from qpidha.core.refusals import (
    NOT_PRIMARY,
    REASON_CHARS_MAX,
    TAKEN_OVER,
    not_primary_text,
    refuse,
    refuse_as_backup,
)
from qpidha.core.state import NodeState
from qpidha.journal import StoreImage, StoreStatus
from qpidha.types import Role
from qpidha.wire.events import Established, Frame, Refused


def state() -> NodeState:
    status = StoreStatus(node="a", epoch=UUID(int=1), cluster=UUID(int=2), generation=3)
    return NodeState(node="a", boot=UUID(int=3), image=StoreImage(status), settings=Settings())


def test_the_peer_is_told_why_before_its_link_is_closed() -> None:
    made = state()
    refuse(made, 7, TAKEN_OVER, "two processes")
    ready = made.outbox.take()
    assert ready.send == [(7, Frame(3, 0, Refused(code=TAKEN_OVER, reason="two processes")))]
    assert ready.notify == [CloseLink(7, "two processes")]


def test_a_long_reason_is_cut_for_the_peer_only() -> None:
    made = state()
    refuse(made, 7, TAKEN_OVER, "x" * (REASON_CHARS_MAX + 1))
    ready = made.outbox.take()
    (_, frame), (closed,) = ready.send[0], ready.notify
    assert isinstance(frame.event, Refused) and len(frame.event.reason) == REASON_CHARS_MAX
    assert isinstance(closed, CloseLink) and len(closed.reason) == REASON_CHARS_MAX + 1


def test_a_node_that_is_not_primary_says_what_it_is() -> None:
    made = state()
    refuse_as_backup(made, 7, Frame(3, 0, Established()), Role.JOINING)
    (_, frame) = made.outbox.take().send[0]
    assert frame.event == Refused(code=NOT_PRIMARY, reason=f"a is {Role.JOINING.value}")


def test_a_refusal_is_not_answered_with_a_refusal() -> None:
    """Otherwise two nodes that are not primary would refuse each other for ever."""
    made = state()
    refuse_as_backup(made, 7, Frame(3, 0, Refused(code=NOT_PRIMARY, reason="")), Role.JOINING)
    assert made.outbox.empty


@pytest.mark.parametrize(
    ("role", "primary", "said"),
    [
        (Role.STOPPED, "b", "node 'a' is stopped"),
        (Role.READY, "b", "node 'a' is not the primary (ready): the primary is 'b'"),
        (Role.READY, None, "node 'a' is not the primary (ready): no primary is known"),
        (Role.RECOVERING, "a", "node 'a' is not the primary (recovering): no primary is known"),
    ],
)
def test_who_is_the_primary_instead(role: Role, primary: str | None, said: str) -> None:
    assert not_primary_text("a", role, primary) == said
