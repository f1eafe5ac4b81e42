"""Whom a primary waits for: its own disk, or each member and joiner that has not acknowledged, with the reason."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from qpidha import SequenceSet
from qpidha.core.explanation import Owes, Waiting
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.waiting import too_few, waits_for
from qpidha.types import Member
from tests.support.cores import ME, PEER, QUEUE, SETTINGS, Node, messages

THIRD = Member("third", UUID(int=6))


def primary_of(node: Node) -> Primary:
    assert node.replica.primary is not None
    return node.replica.primary


def sent(node: Node) -> Node:
    node.perform()
    node.replica.performed(node.clock)
    return node


def asked(node: Node, position: int | None = None) -> list[tuple[str, Owes]]:
    primary = primary_of(node)
    found = waits_for(primary, "me", primary.position if position is None else position)
    return [(waiting.node, waiting.owes) for waiting in found]


def publish(node: Node) -> None:
    node.replica.enqueue(QUEUE, messages(SequenceSet([1])))


def test_first_it_waits_for_itself_then_for_those_that_have_not_acknowledged() -> None:
    node = Node().promoted()
    assert asked(node) == [("me", Owes.DISK)], "the activation has not left this node"
    assert asked(sent(node)) == [("peer", Owes.ABSENT)]
    node.subscribed().work()
    assert asked(sent(node)) == [("peer", Owes.CATCHES_UP)]
    node.acknowledge(1)
    assert asked(node) == []
    publish(node)
    assert asked(node) == [("me", Owes.DISK)]
    assert asked(sent(node)) == [("peer", Owes.FOLLOWS)]
    assert asked(node, 1) == [], "that one is acknowledged"
    for _ in range(20):
        publish(node)
        sent(node)
    assert asked(node) == [("peer", Owes.LAGS)]


def test_a_joiner_is_waited_for_like_a_member() -> None:
    node = sent(Node().promoted(ME).subscribed(PEER).work())
    node.acknowledge(1)
    publish(node)
    sent(node)
    primary = primary_of(node)
    assert waits_for(primary, "me", primary.position) == (
        Waiting(node="peer", owes=Owes.FOLLOWS, behind=1, joining=True),
    )


def test_members_are_named_in_order_with_how_far_each_is_behind() -> None:
    node = sent(Node().promoted(THIRD, PEER).subscribed().work())
    node.acknowledge(1)
    publish(node)
    sent(node)
    primary = primary_of(node)
    assert waits_for(primary, "me", primary.position) == (
        Waiting(node="peer", owes=Owes.FOLLOWS, behind=1),
        Waiting(node="third", owes=Owes.ABSENT, behind=2),
    )
    assert asked(node, 1) == [("third", Owes.ABSENT)]


def test_members_that_are_missing() -> None:
    node = Node(replace(SETTINGS, min_in_sync=3)).promoted()
    found = too_few(primary_of(node))
    assert found is not None
    assert (found.min_in_sync, found.members, found.missing) == (3, ("me", "peer"), ())
    assert "2 of 3 members" in found.text and "never here" in found.text
    assert too_few(primary_of(Node().promoted())) is None
