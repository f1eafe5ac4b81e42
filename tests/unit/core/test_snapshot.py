"""A snapshot shows which backups are behind, which nodes completions wait for and since when. It never changes."""

from __future__ import annotations

from qpidha import SequenceSet
from qpidha.core.legality import SessionState
from qpidha.types import Role
from qpidha.wire.events import Acknowledged, PlanMessages, Progress, Subscribe
from tests.support.cores import (
    CLUSTER,
    EPOCH,
    GENERATION,
    HELLO,
    LINK,
    ME,
    OTHER,
    PEER,
    PEER_EPOCH,
    QUEUE,
    WELCOME,
    Node,
    messages,
)


def catching_up() -> Node:
    return (
        Node()
        .promoted()
        .say(HELLO, session=0)
        .say(Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=0))
    )


def test_a_primary_says_what_its_backup_owes() -> None:
    node = catching_up()
    for staged in range(1, 20):
        sent = sum(isinstance(event, PlanMessages) for event in node.sent)
        node.say(Progress(chunks=min(staged, sent)))
    node.replica.enqueue(QUEUE, messages(SequenceSet([10])))
    node.perform()
    node.replica.performed(node.clock)
    seen = node.replica.snapshot(queues_max=1)
    assert (seen.node, seen.role, seen.generation) == ("me", Role.RECOVERING, GENERATION)
    assert (seen.cluster, seen.epoch, seen.in_sync, seen.members) == (CLUSTER, EPOCH, True, {ME, PEER})
    assert (seen.position, seen.safe, seen.joining) == (2, 0, None)
    assert seen.epoch == node.replica.epoch
    (session,) = seen.sessions
    assert (session.link, session.backup, session.is_member) == (LINK, PEER, True)
    assert (session.state, session.acked) == (SessionState.STREAMING, 0)
    assert session.window_bytes > 0 and session.bytes_ahead > 0
    assert session.resync_messages == 10 and session.resync_bytes > 0
    assert (seen.waiting_for, seen.waiting_since) == ({"peer"}, node.clock)
    (queue,) = seen.queues
    assert (queue.queue, queue.depth, queue.next_id, seen.queue_count) == (QUEUE, 9, 11, 2)
    assert queue.bytes > 0 and queue.spec.name == "full"


def test_a_primary_says_how_far_a_catch_up_has_come() -> None:
    node = catching_up()
    (begun,) = node.replica.snapshot().sessions
    assert not begun.follows and 0 < begun.resync_since <= node.clock
    for staged in range(1, 20):
        sent = sum(isinstance(event, PlanMessages) for event in node.sent)
        node.say(Progress(chunks=min(staged, sent)))
    (sent_all,) = node.replica.snapshot().sessions
    assert not sent_all.follows and sent_all.resync_left_bytes == 0
    node.say(Acknowledged(position=1))
    assert node.replica.snapshot().sessions[0].follows


def test_a_backup_has_no_position_and_waits_for_nobody() -> None:
    node = Node().following().say(WELCOME, session=0)
    seen = node.replica.snapshot()
    assert (seen.role, seen.position, seen.safe, seen.sessions) == (Role.CATCH_UP, 0, 0, ())
    assert (seen.waiting_for, seen.waiting_since, seen.queues) == (frozenset(), None, ())
    assert (seen.quarantined, seen.resyncs, seen.resync_messages, seen.resync_bytes) == (0, 0, 0, 0)
    assert seen.in_sync and not Node().replica.snapshot().in_sync
    assert [q.queue for q in node.replica.snapshot(queues_max=9).queues] == [QUEUE, OTHER]


def test_a_primary_that_waits_for_nobody_says_so() -> None:
    seen = catching_up().replica.snapshot()
    assert seen.waiting_since is None and seen.waiting_for == frozenset()
