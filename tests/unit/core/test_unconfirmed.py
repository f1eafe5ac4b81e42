"""Which publishes are not confirmed, and for whom they wait."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import SequenceSet, Settle
from qpidha.core.explanation import Owes
from qpidha.core.unconfirmed import Unconfirmed, unconfirmed
from qpidha.errors import ArgumentError, UnknownQueue
from qpidha.types import Level, QueueSpec
from tests.support.cores import LINK, ME, OTHER, QUEUE, SETTINGS, WELCOME, Node, messages

ONE = messages(SequenceSet([1]))


def leading(**settings: int) -> Node:
    node = Node(replace(SETTINGS, queues_max=9, **settings)).promoted().subscribed().work()
    node.replica.performed(node.clock)
    node.acknowledge(1)
    return settled(node)


def settled(node: Node) -> Node:
    node.perform()
    node.replica.performed(node.clock)
    assert node.replica.primary is not None
    return node.acknowledge(node.replica.primary.position)


def shown(node: Node, **options: int) -> Unconfirmed:
    found = unconfirmed(node.replica, **options)
    document = found.to_dict()
    assert json.loads(json.dumps(document)) == document
    assert (document["lines"], document["to_do"]) == (found.lines, found.to_do)
    return found


def test_nothing_is_pending_when_all_is_acknowledged() -> None:
    found = shown(leading())
    assert (found.as_primary, found.primary, found.position - found.safe) == (True, "me", 0)
    assert (found.waits_for, found.publishes, found.queue_count, found.too_few) == ((), (), 0, None)
    assert found.lines == ["node 'me': everything is confirmed"] and found.to_do == []


def test_the_oldest_publish_of_each_queue_is_shown_those_first_that_wait_longest() -> None:
    node = leading()
    first, _ = node.replica.enqueue(OTHER, messages(SequenceSet([1, 2])))
    node.replica.enqueue(QUEUE, ONE)
    node.replica.enqueue(OTHER, ONE)
    node.perform()
    node.replica.performed(node.clock)
    found = shown(node)
    assert [(p.queue_name, p.first, p.last, p.position) for p in found.publishes] == [
        ("empty", 1, 2, first),
        ("full", 10, 10, first + 1),
    ]
    assert all([(w.node, w.owes) for w in p.waits_for] == [("peer", Owes.FOLLOWS)] for p in found.publishes)
    assert [w.node for w in found.waits_for] == ["peer"] and found.queue_count == 2
    assert "queue 'empty': the publish of messages 1 to 2 is not confirmed" in found.lines
    assert "queue 'full': the publish of message 10 is not confirmed" in found.lines
    assert len(found.to_do) == 1, "each thing to do is said once"
    few = shown(node, queues_max=1)
    assert [p.queue_name for p in few.publishes] == ["empty"] and few.queue_count == 2
    for queue in (QUEUE, "full"):
        assert [p.first for p in unconfirmed(node.replica, queue).publishes] == [10]
    settled(node)
    assert unconfirmed(node.replica, QUEUE).publishes == ()


def test_a_publish_that_was_consumed_and_will_be_confirmed_at_once_is_not_shown() -> None:
    """O6: it is complete, and only its `Ready` is still to come."""
    node = leading()
    queue, _ = node.replica.declare(QueueSpec(name="at once", settle=Settle.IMMEDIATE))
    settled(node)
    node.replica.enqueue(queue, ONE)
    node.replica.dequeue(queue, SequenceSet([1]))
    found = shown(node)
    assert found.publishes == () and found.queue_count == 1
    assert found.lines == [
        "node 'me': not safe yet: 2 operations",
        f"the oldest waits for {found.waits_for[0].text}",
    ]


def test_a_pending_publish_of_a_deleted_queue_is_shown_without_its_name() -> None:
    node = leading()
    node.replica.enqueue(QUEUE, ONE)
    node.replica.link_closed(LINK)
    node.replica.delete(QUEUE)
    (held,) = shown(node).publishes
    assert (held.queue, held.queue_name) == (QUEUE, "")
    assert str(QUEUE) in held.lines[0]


def test_missing_members_are_named() -> None:
    node = Node(replace(SETTINGS, min_in_sync=3)).promoted()
    found = shown(node)
    assert found.too_few is not None and found.too_few.min_in_sync == 3
    assert "start the missing nodes" in found.to_do
    assert found.too_few.text in found.lines


def test_publishes_of_queues_that_are_not_replicated_are_shown_after_the_others() -> None:
    node = leading()
    local, _ = node.replica.declare(QueueSpec(name="local"), level=Level.CONFIGURATION)
    node.replica.enqueue(local, ONE)
    node.replica.enqueue(QUEUE, ONE)
    found = shown(node)
    assert [p.queue_name for p in found.publishes] == ["full", "local"] and found.queue_count == 2
    assert [p.queue_name for p in shown(node, queues_max=1).publishes] == ["full"]
    assert [p.queue_name for p in unconfirmed(node.replica, "local").publishes] == ["local"]
    settled(node)
    assert shown(node).publishes == ()


def test_without_backups_it_waits_for_its_own_disk() -> None:
    node = Node().promoted(ME)
    node.replica.performed(node.clock)
    node.replica.enqueue(QUEUE, ONE)
    node.perform()
    found = shown(node)
    assert (found.position - found.safe, [w.owes for w in found.waits_for]) == (1, [Owes.DISK])
    node.replica.performed(node.clock)
    assert shown(node).lines == ["node 'me': everything is confirmed"]


def test_a_node_that_is_not_primary_says_whom_to_ask() -> None:
    found = shown(Node().following().say(WELCOME, session=0))
    assert (found.as_primary, found.primary, found.publishes) == (False, "peer", ())
    assert found.to_do == ["ask the primary, node 'peer'"]
    assert shown(Node()).to_do == ["find the primary"]


def test_wrong_questions_are_refused() -> None:
    replica = leading().replica
    for unknown in ("nothing", UUID(int=0xFF)):
        with pytest.raises(UnknownQueue):
            unconfirmed(replica, unknown)
    with pytest.raises(ArgumentError):
        unconfirmed(replica, 7)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        unconfirmed(replica, queues_max=-1)
