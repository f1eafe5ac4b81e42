"""The primary of one generation: what calls do, what backups are sent, when operations complete (O1–O6, J1–J4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.births import born
from qpidha.core.configuration import QueueObject
from qpidha.core.limits import limits_of
from qpidha.core.ready import CompareAndSet, QueueAdded, Safe, Settled
from qpidha.core.steps import Accept, Publish
from qpidha.errors import CallerError, UnknownQueue
from qpidha.journal import Insert, PutQueue, Remove, Skip
from qpidha.types import MESSAGE_ID_MAX, Member, QueueId, QueueSpec, Role, Settle
from qpidha.wire.events import (
    Acknowledged,
    Declare,
    Dequeue,
    Enqueue,
    Established,
    Frame,
    Operation,
    Operations,
    PlanEnd,
    Progress,
    Resubscribe,
    SkipIds,
    Subscribe,
)
from tests.support.cores import (
    GENERATION,
    HELLO,
    LINK,
    ME,
    OTHER,
    PEER,
    QUEUE,
    SETTINGS,
    Node,
    messages,
)
from tests.support.plans import NEW

UNKNOWN = UUID(int=99)
THIRD = Member("third", UUID(int=6))
HOLDERS = frozenset({"me", "peer"})
BATCH = Batch.pack([b"one", b"two"])
SPEC = QueueSpec(name="new")
"""Of a queue that is declared by a test."""
SLICES = replace(SETTINGS, queues_per_slice=1)
"""One queue for each slice."""


def active(settings: Settings = SETTINGS) -> Node:
    """A primary whose only backup follows it. The activation, position 1, is complete."""
    return Node(settings).promoted().work().subscribed().work().acknowledge(1).forget()


def effects(node: Node) -> Node:
    """The effects of the calls so far."""
    node.perform()
    return node


def operations(node: Node, link: int = LINK) -> list[Operation]:
    """The operations that were sent over this link."""
    events = [frame.event for to, frame in node.frames if to == link]
    return [one for event in events if isinstance(event, Operations) for one in event.operations]


def skips(node: Node, count: int) -> None:
    """So many operations that skip one id each."""
    for _ in range(count):
        node.replica.skip(OTHER, 1)


def settled(position: int, *nodes: str) -> Settled:
    return Settled(position, GENERATION, frozenset(nodes) or HOLDERS)


# --- what a call does ----------------------------------------------------------------------------


def test_a_declared_queue_belongs_to_this_generation_from_its_first_id_on() -> None:
    """One operation makes its object in the configuration and the queue; its uuid tells its birth (Q2, Q3)."""
    node = active()
    objects = node.replica.state.configuration
    assert objects is not None
    first = objects.next
    queue, position = node.replica.declare(SPEC)
    assert (queue, position) == (born(GENERATION, first), 2)
    effects(node)
    lineage = ((GENERATION, 1),)
    described = QueueObject(queue=queue, spec=SPEC)
    batch = Batch.pack([described.encode()], props=[described.key])
    ids = SequenceSet([first])
    assert node.persisted == [[Insert(objects.queue, ids, batch), PutQueue(queue, SPEC, lineage, 1)]]
    parts = (
        Enqueue(queue=objects.queue, first=first, batch=batch),
        Declare(queue=queue, spec=SPEC, lineage=lineage, next=1),
    )
    assert node.frames == [(LINK, Frame(GENERATION, 1, Operations(first=2, operations=(parts,))))]
    assert node.notices == [QueueAdded(queue, SPEC)]
    assert not node.completed
    assert node.acknowledge(2).completed == [settled(2)]
    node.check()


def test_a_queue_that_is_declared_again_has_the_uuid_of_none_before_it() -> None:
    """Also in the same generation, after others were declared and deleted: its object has a new id (Q3, I1)."""
    node = Node().promoted().work().forget()
    replica, seen = node.replica, set[QueueId]()
    for _ in range(3):
        declared = [replica.declare(replace(SPEC, name=name))[0] for name in ("one", "two")]
        assert seen.isdisjoint(declared)
        seen.update(declared)
        for queue in declared:
            replica.delete(queue)
            again, _ = replica.declare(replace(SPEC, name="between"))
            assert again not in seen
            seen.add(again)
            replica.delete(again)
    assert len(seen) == 12
    effects(node).check()


def entered(node: Node, queue: UUID, first: int) -> list[PutQueue]:
    """What the first id of the generation stores before itself (P3)."""
    held = node.replica.queues[queue]
    assert held.lineage[-1] == (GENERATION, first)
    return [PutQueue(queue, held.spec, held.lineage, first)]


def test_a_publish_is_stored_and_sent_at_once_and_complete_when_every_member_has_it() -> None:
    node = active()
    ids = SequenceSet([10, 11])
    assert node.replica.enqueue(QUEUE, BATCH) == (2, ids)
    effects(node)
    assert node.persisted == [[*entered(node, QUEUE, 10), Insert(QUEUE, ids, BATCH)]]
    assert operations(node) == [(Enqueue(queue=QUEUE, first=10, batch=BATCH),)]
    assert not node.completed
    assert node.acknowledge(2).completed == [settled(2), Safe(QUEUE, 11, GENERATION, HOLDERS)]
    node.check()


def test_a_dequeue_returns_the_messages_that_were_held_and_is_replicated() -> None:
    node = active()
    gone = SequenceSet([8, 9])
    assert node.replica.dequeue(QUEUE, SequenceSet([7, 8, 9])) == (2, gone)
    effects(node)
    assert node.persisted == [[Remove(QUEUE, gone)]]
    assert operations(node) == [(Dequeue(queue=QUEUE, ids=gone),)]
    assert node.replica.queues[QUEUE].held == SequenceSet([(1, 6)])
    assert node.acknowledge(2).completed == [settled(2)]
    node.check()


def test_a_dequeue_of_too_many_runs_becomes_several_operations() -> None:
    node = active()
    ids = SequenceSet([1, 3, 5, 8])
    assert node.replica.dequeue(QUEUE, ids) == (3, ids)
    parts = [SequenceSet([1, 3]), SequenceSet([5, 8])]
    effects(node)
    assert operations(node) == [(Dequeue(queue=QUEUE, ids=part),) for part in parts]
    assert node.persisted == [[Remove(QUEUE, part) for part in parts]]
    node.check()


def accept(*some: int, queue: QueueId = QUEUE) -> Operation:
    return (Dequeue(queue=queue, ids=SequenceSet(some)),)


def test_accepts_of_a_queue_that_follow_one_another_are_one_operation() -> None:
    node = active()
    core = node.replica
    taken = [core.dequeue(QUEUE, SequenceSet([id])) for id in (2, 3, 1)]
    assert taken == [(2, SequenceSet([id])) for id in (2, 3, 1)], "each is told what it took"
    effects(node)
    assert operations(node) == [accept(1, 2, 3)]
    assert node.persisted == [[Remove(QUEUE, SequenceSet([1, 2, 3]))]]
    assert core.dequeue(QUEUE, SequenceSet([4]))[0] == 3, "that one was sent"
    effects(node)
    assert operations(node) == [accept(1, 2, 3), accept(4)]
    assert node.acknowledge(3).completed == [settled(3)]
    node.check()


def test_an_operation_between_two_accepts_keeps_them_apart() -> None:
    node = active()
    core = node.replica
    assert core.dequeue(QUEUE, SequenceSet([1]))[0] == 2
    assert core.enqueue(QUEUE, BATCH)[0] == 3
    assert core.dequeue(QUEUE, SequenceSet([2]))[0] == 4
    assert core.commit([Accept(QUEUE, SequenceSet([3]))]).position == 5
    assert core.dequeue(QUEUE, SequenceSet([4]))[0] == 6
    assert core.confirm() == 7
    assert core.dequeue(QUEUE, SequenceSet([5]))[0] == 8
    effects(node)
    published = (Enqueue(queue=QUEUE, first=10, batch=BATCH),)
    nothing = (Dequeue(queue=node.replica.primary.configuration.queue, ids=SequenceSet()),)  # type: ignore[union-attr]
    assert operations(node) == [accept(1), published, accept(2), accept(3), accept(4), nothing, accept(5)]
    node.check()


def test_accepts_of_several_queues_are_operations_of_their_own() -> None:
    node = active()
    core = node.replica
    assert core.enqueue(OTHER, BATCH)[0] == 2
    places = [core.dequeue(queue, SequenceSet([id]))[0] for id in (1, 2) for queue in (QUEUE, OTHER)]
    assert places == [3, 4, 5, 6]
    effects(node)
    assert operations(node)[1:] == [accept(id, queue=queue) for id in (1, 2) for queue in (QUEUE, OTHER)]
    node.check()


def test_joined_accepts_keep_the_limit_of_runs() -> None:
    node = active()
    assert [node.replica.dequeue(QUEUE, SequenceSet([id]))[0] for id in (1, 3, 5, 8)] == [2, 2, 3, 3]
    effects(node)
    assert operations(node) == [accept(1, 3), accept(5, 8)]
    node.check()


@pytest.mark.parametrize(
    ("nbytes", "sent"),
    [(80, [accept(1), accept(2), accept(3), accept(4)]), (100, [accept(1, 2, 3), accept(4)])],
    ids=["each", "some"],
)
def test_joined_accepts_fill_a_frame(nbytes: int, sent: list[Operation]) -> None:
    node = active(replace(SETTINGS, operations_bytes=nbytes))
    for id in (1, 2, 3, 4):
        node.replica.dequeue(QUEUE, SequenceSet([id]))
    effects(node)
    assert operations(node) == sent
    node.check()


def test_publishes_that_are_consumed_by_joined_accepts_complete_with_them() -> None:
    node = active()
    core = node.replica
    core.enqueue(QUEUE, BATCH)
    effects(node)
    assert [core.dequeue(QUEUE, SequenceSet([id]))[0] for id in (10, 11)] == [3, 3]
    effects(node)
    assert node.acknowledge(2).completed == [settled(2)]
    done = node.acknowledge(3).completed
    assert done == [settled(2), settled(3), Safe(QUEUE, 11, GENERATION, HOLDERS, SequenceSet([10, 11]))]
    node.check()


def test_a_skip_gives_its_ids_to_no_message() -> None:
    node = active()
    assert node.replica.skip(QUEUE, 3) == 2
    effects(node)
    assert node.persisted == [[*entered(node, QUEUE, 10), Skip(QUEUE, 13)]]
    assert operations(node) == [(SkipIds(queue=QUEUE, first=10, last=12),)]
    assert node.replica.enqueue(QUEUE, BATCH) == (3, SequenceSet([13, 14]))
    node.check()


def test_a_move_is_one_operation_that_publishes_first_and_then_dequeues() -> None:
    """O3, X2: a backup, and a store, has the message before, after, or in both queues, never in none."""
    node = active()
    moving, new = SequenceSet([5, 6]), SequenceSet([1, 2])
    assert node.replica.move(QUEUE, SequenceSet([5, 6, 7]), OTHER) == (2, new)
    effects(node)
    batch = messages(moving).with_origins([(QUEUE.bytes, 2, 5), (QUEUE.bytes, 2, 6)])
    assert node.persisted == [[*entered(node, OTHER, 1), Insert(OTHER, new, batch), Remove(QUEUE, moving)]]
    assert operations(node) == [
        (Enqueue(queue=OTHER, first=1, batch=batch), Dequeue(queue=QUEUE, ids=moving))
    ]
    assert node.acknowledge(2).completed == [settled(2), Safe(OTHER, 2, GENERATION, HOLDERS)]
    node.check()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda core: core.declare("full"), "spec must be"),
        (lambda core: core.declare(replace(SPEC, name="full")), "exists already"),
        (lambda core: core.declare(SPEC, "x"), "arguments must be"),
        (lambda core: core.declare(SPEC, b"", 1), "level must be"),
        (lambda core: core.delete(NEW), "no queue"),
        (lambda core: core.commit(Accept(QUEUE, SequenceSet([1]))), "steps must be"),
        (lambda core: core.commit([Accept(QUEUE, SequenceSet([1, 7]))]), "not held any more"),
        (lambda core: core.enqueue([QUEUE], BATCH), "no queue"),
        (lambda core: core.enqueue(QUEUE, b"one"), "batch must be"),
        (lambda core: core.enqueue(QUEUE, Batch.pack([bytes(SETTINGS.frame_bytes_max)])), "batch must have"),
        (lambda core: core.dequeue(QUEUE, [1]), "ids must be"),
        (lambda core: core.dequeue(NEW, SequenceSet([1])), "no queue"),
        (lambda core: core.skip(NEW, 1), "no queue"),
        (lambda core: core.skip(QUEUE, 0), "count must be"),
        (lambda core: core.skip(QUEUE, 2**64), "count must be"),
        (lambda core: core.move(QUEUE, [1], OTHER), "ids must be"),
        (lambda core: core.move(QUEUE, SequenceSet([1]), QUEUE), "another queue"),
        (lambda core: core.move(QUEUE, SequenceSet([1]), NEW), "no queue"),
        (lambda core: core.move(NEW, SequenceSet([1]), QUEUE), "no queue"),
    ],
)
def test_a_call_that_is_refused_has_no_effect(call: Callable[[Any], object], error: str) -> None:
    node = active()
    with pytest.raises((CallerError, UnknownQueue), match=error):
        call(node.replica)
    assert node.replica.still
    assert node.replica.skip(OTHER, 1) == 2, "the position was not given to the refused call"
    node.check()


def test_a_queue_whose_ids_are_used_up_takes_nothing_more() -> None:
    node = active()
    node.replica.skip(OTHER, MESSAGE_ID_MAX - 1)
    effects(node).forget()
    for call in (
        lambda: node.replica.enqueue(OTHER, BATCH),
        lambda: node.replica.skip(OTHER, 2),
        lambda: node.replica.move(QUEUE, SequenceSet([1, 2]), OTHER),
    ):
        with pytest.raises(CallerError, match="no 2 ids left"):
            call()
    assert node.replica.still
    assert len(node.replica.queues[QUEUE]) == 8


def test_there_are_at_most_as_many_queues_as_this_node_allows() -> None:
    node = active()
    for n in (1, 2):
        node.replica.declare(replace(SPEC, name=f"new {n}"))
    with pytest.raises(CallerError, match="there are 4 queues already; queues_max of this node is 4"):
        node.replica.declare(SPEC)
    assert len(node.replica.message_queues) == 4


def test_there_are_at_most_as_many_queues_as_each_connected_backup_allows() -> None:
    node = Node().promoted()
    limits = replace(limits_of(SETTINGS), queues_max=2)
    node.say(replace(HELLO, version_max=2, limits=limits), session=0)
    with pytest.raises(CallerError, match="there are 2 queues already; queues_max of backup 'peer' is 2"):
        node.replica.declare(SPEC)
    node.replica.link_closed(LINK)
    node.replica.declare(SPEC)


def test_operations_that_are_refused() -> None:
    node = Node().promoted()
    primary = node.replica.primary
    assert primary is not None
    position = primary.position
    with pytest.raises(CallerError, match="exists already"):
        node.replica.declare(QueueSpec(name="full"))
    with pytest.raises(CallerError, match="were never given out"):
        node.replica.dequeue(QUEUE, SequenceSet([10]))
    with pytest.raises(UnknownQueue):
        node.replica.enqueue(UNKNOWN, Batch.pack([b"x"]))
    with pytest.raises(UnknownQueue):
        node.replica.move(UNKNOWN, SequenceSet([1]), QUEUE)
    assert primary.position == position
    node.check()


def test_ids_that_are_gone_need_no_operation() -> None:
    node = Node().promoted()
    assert node.replica.primary is not None
    position = node.replica.primary.position
    assert node.replica.dequeue(QUEUE, SequenceSet([7])) == (position, SequenceSet())
    assert node.replica.move(QUEUE, SequenceSet([7]), OTHER) == (position, SequenceSet())
    node.check()


def test_a_moved_message_keeps_the_identity_that_its_publish_was_given() -> None:
    """Through every move, so that its fate can be judged (O3, W2): first 5@2, then in the other queue, then back."""
    node = Node().promoted()
    node.replica.move(QUEUE, SequenceSet([5, 6]), OTHER)
    _, ids = node.replica.move(OTHER, SequenceSet([1]), QUEUE)
    node.replica.enqueue(OTHER, Batch.pack([b"new"]))
    node.replica.move(OTHER, SequenceSet([2, 3]), QUEUE)
    origins = {
        id: batch.origin(index)
        for piece, batch in node.replica.queues[QUEUE].select(SequenceSet([(10, 12)]))
        for index, id in enumerate(piece)
    }
    assert ids == SequenceSet([10])
    assert origins == {10: (QUEUE.bytes, 2, 5), 11: (QUEUE.bytes, 2, 6), 12: (OTHER.bytes, 3, 3)}
    node.check()


def test_a_publish_has_no_origin_whatever_its_batch_says() -> None:
    """A moved message that a client publishes again is a new message, with a fate independent of the old one."""
    node = Node().promoted()
    moved = Batch.pack([b"a copy"], origins=[(OTHER.bytes, 1, 1)])
    _, ids = node.replica.enqueue(QUEUE, moved)
    ((_, batch),) = node.replica.queues[QUEUE].select(ids)
    assert (batch.data(0), batch.origin(0)) == (b"a copy", None)
    (insert,) = [change for change in node.replica.ready(1.0).persist if isinstance(change, Insert)]
    assert insert.batch == batch


# --- frames --------------------------------------------------------------------------------------


def test_the_operations_of_one_turn_share_a_frame_until_it_is_full() -> None:
    """O1: each operation counts 64 bytes here, and each frame is counted anew."""
    node = active(replace(SETTINGS, operations_bytes=192))
    for count in (4, 2, 0):
        skips(node, count)
        effects(node)
    frames = [event for event in node.sent if isinstance(event, Operations)]
    assert [(event.first, len(event.operations)) for event in frames] == [(2, 3), (5, 1), (6, 2)]


def test_operations_go_to_every_backup_that_has_its_plan_and_to_no_other() -> None:
    node = active().subscribed(THIRD, LINK + 1)
    node.say(replace(HELLO, node="fourth"), session=0, link=LINK + 2)
    skips(node.forget(), 1)
    effects(node)
    assert [link for link, _ in node.frames] == [LINK, LINK + 1]


def test_a_plan_is_sent_in_slices_and_ends_at_the_position_of_its_last_one() -> None:
    node = Node(SLICES).promoted().work().subscribed()
    assert node.replica.unfinished
    assert not any(isinstance(event, PlanEnd) for event in node.sent)
    skips(node, 1)
    node.work()
    assert node.sent[-1] == PlanEnd(position=2, queues=3), "the configuration is one of them"
    assert not operations(node), "the plan contains it"


def test_an_operation_that_no_frame_holds_is_not_sent_and_each_backup_subscribes_again() -> None:
    """Its position is taken; the next plan carries it whole, so no backup ever has a part of it (TX2)."""
    small = replace(
        SETTINGS,
        frame_bytes_max=65_536,
        message_bytes_max=32_768,
        plan_chunk_bytes=4_096,
        operations_bytes=8_192,
    )
    node = active(small)
    skips(node, 1)
    large = Batch.pack([bytes(30_000)])
    committed = node.replica.commit([Publish((QUEUE,), large), Publish((OTHER,), large)])
    assert committed.position == 3
    effects(node)
    assert [event for _, frame in node.frames for event in [frame.event]][1:] == [Resubscribe()]
    assert len(operations(node)) == 1, "the operation before it is sent first"
    assert not node.completed
    node.say(Subscribe(epoch=PEER.epoch, stored_generation=GENERATION, queues=0), session=2).work()
    for chunks in range(1, 10):
        if not isinstance(node.sent[-1], PlanEnd):
            node.say(Progress(chunks=chunks), session=2).work()
    node.say(Acknowledged(position=3), session=2)
    assert settled(3) in node.completed


# --- completion ----------------------------------------------------------------------------------


def test_completions_wait_for_the_slowest_member_whether_it_is_connected_or_not() -> None:
    """O4, O5: the end of a link completes nothing."""
    node = Node().promoted(PEER, THIRD).subscribed().subscribed(THIRD, LINK + 1)
    node.acknowledge(1).acknowledge(1, link=LINK + 1).forget()
    skips(node, 3)
    assert not effects(node).acknowledge(4).completed
    node.acknowledge(3, link=LINK + 1)
    assert node.completed == [settled(3, "me", "peer", "third")]
    node.replica.link_closed(LINK + 1)
    assert len(effects(node).completed) == 1
    assert node.replica.primary is not None
    assert node.replica.primary.owing() == {"third"}
    assert node.replica.primary.acked_by(PEER) == 4
    assert node.replica.primary.acked_by(THIRD) == 3
    node.check()


def test_a_backup_that_subscribes_again_takes_back_no_acknowledgement() -> None:
    """C3: its new session begins with nothing, but what it acknowledged before is durable there."""
    node = active()
    skips(node, 1)
    effects(node).acknowledge(2).forget()
    primary = node.replica.primary
    assert primary is not None
    again = Subscribe(epoch=PEER.epoch, stored_generation=GENERATION, queues=0)
    node.say(again, session=2)
    assert primary.acked_by(PEER) == 2
    node.say(Progress(chunks=2), session=2)
    assert any(event == PlanEnd(position=2, queues=3) for event in node.sent)
    node.say(Acknowledged(position=2), session=2)
    assert primary.acked_by(PEER) == 2
    assert not node.completed, "position 2 was complete"
    assert node.frames[-1] == (LINK, Frame(GENERATION, 2, Established()))
    assert node.replica.role is Role.ACTIVE


def test_the_driver_need_not_run_for_an_acknowledgement_that_completes_nothing() -> None:
    node = Node().promoted(PEER, THIRD).subscribed().subscribed(THIRD, LINK + 1)
    node.acknowledge(1).acknowledge(1, link=LINK + 1)
    skips(node, 1)
    effects(node)
    acknowledged = Frame(GENERATION, 1, Acknowledged(position=2))
    assert not node.replica.received(LINK, acknowledged, node.clock)
    assert node.replica.received(LINK + 1, acknowledged, node.clock)


def test_a_primary_without_other_members_completes_by_itself() -> None:
    node = Node().promoted(ME)
    node.replica.enqueue(QUEUE, BATCH)
    alone = frozenset({"me"})
    assert effects(node.forget()).completed == [settled(2, "me"), Safe(QUEUE, 11, GENERATION, alone)]
    assert node.replica.role is Role.ACTIVE


def test_many_operations_complete_in_slices() -> None:
    """Ten for each queue of a slice, so that an acknowledgement of very many does not stop the loop."""
    node = active(replace(SLICES, window_bytes_max=65_536))
    skips(node, 15)
    effects(node).acknowledge(16)
    assert node.completed == [settled(11)]
    assert node.replica.unfinished
    assert node.work().completed == [settled(11), settled(16)]
    assert not node.replica.unfinished


def test_a_publish_that_was_consumed_completes_with_its_dequeue() -> None:
    """O6, for ``Settle.REPLICATED``: and no node needs to hold its message any more."""
    node = active()
    _, ids = node.replica.enqueue(QUEUE, BATCH)
    node.replica.dequeue(QUEUE, ids)
    assert effects(node).acknowledge(2).completed == [settled(2)]
    node.acknowledge(3)
    assert node.completed[1:] == [settled(3), Safe(QUEUE, 11, GENERATION, HOLDERS, ids)]
    node.check()


def test_a_publish_on_an_immediate_queue_completes_once_it_is_consumed() -> None:
    node = active()
    queue, _ = node.replica.declare(replace(SPEC, settle=Settle.IMMEDIATE))
    _, ids = node.replica.enqueue(queue, BATCH)
    assert not effects(node).completed
    node.replica.dequeue(queue, ids)
    assert effects(node).completed == [Safe(queue, 2, GENERATION, HOLDERS, ids)]
    node.check()


def test_a_publish_that_was_moved_completes_with_the_move() -> None:
    """O3: the copy is all that is left of it, and only a member that has the move has the copy."""
    node = active()
    _, ids = node.replica.enqueue(QUEUE, BATCH)
    node.replica.move(QUEUE, ids, OTHER)
    assert effects(node).acknowledge(2).completed == [settled(2)]
    node.acknowledge(3)
    assert node.completed[1] == settled(3)
    assert {(safe.queue, safe.upto) for safe in node.completed[2:] if isinstance(safe, Safe)} == {
        (QUEUE, 11),
        (OTHER, 2),
    }
    node.check()


def test_nothing_completes_with_too_few_members() -> None:
    """J4: but the generation is established, because every member has it."""
    node = Node(replace(SETTINGS, min_in_sync=3)).promoted().subscribed().acknowledge(1)
    assert node.replica.role is Role.ACTIVE
    assert not node.completed
    assert not node.replica.unfinished
    node.check()


# --- the generation becomes established ----------------------------------------------------------


def test_a_generation_is_established_when_every_member_has_it() -> None:
    """W2: each backup whose flip is done is told then, and each later one with its flip."""
    node = Node().promoted().subscribed().subscribed(THIRD, LINK + 1).forget()
    assert node.replica.role is Role.RECOVERING
    node.acknowledge(1)
    assert node.replica.role is Role.ACTIVE
    assert node.frames == [(LINK, Frame(GENERATION, 1, Established()))], "the third has not flipped"
    assert settled(1) in node.completed
    node.forget().acknowledge(1, link=LINK + 1)
    assert node.frames == [(LINK + 1, Frame(GENERATION, 1, Established()))]
    node.check()


def test_a_backup_that_flips_before_a_slower_member_is_told_when_that_one_has_flipped() -> None:
    node = Node().promoted(PEER, THIRD).subscribed().subscribed(THIRD, LINK + 1).forget()
    assert node.acknowledge(1).sent == []
    assert node.replica.role is Role.RECOVERING
    node.acknowledge(1, link=LINK + 1)
    established = Frame(GENERATION, 1, Established())
    assert sorted(link for link, frame in node.frames if frame == established)[:2] == [LINK, LINK + 1]
    assert node.replica.role is Role.ACTIVE


# --- a backup that is becoming a member ----------------------------------------------------------


def joining() -> Node:
    """A third node that is to join: completions wait for it already, and it owes position 2."""
    node = active().subscribed(THIRD, LINK + 1)
    skips(node, 1)
    effects(node).acknowledge(1, link=LINK + 1).forget()
    assert not node.acknowledge(2).completed
    return node


def test_completions_wait_for_a_backup_that_is_joining() -> None:
    node = joining().acknowledge(2, link=LINK + 1)
    assert node.completed == [settled(2)]
    (request,) = node.requests
    assert isinstance(request, CompareAndSet)
    assert request.new.members == {ME, PEER, THIRD}


def test_the_driver_runs_for_what_a_joining_backup_acknowledges() -> None:
    """It completes nothing while a member is slower, but the backup may be proposed now (J2b)."""
    node = active().subscribed(THIRD, LINK + 1)
    skips(node, 1)
    effects(node).acknowledge(1, link=LINK + 1).forget()
    assert node.replica.received(LINK + 1, Frame(GENERATION, 1, Acknowledged(position=2)), node.clock)
    assert not effects(node).completed
    assert node.requests


def test_a_joining_ends_with_the_link_or_the_session_of_the_backup() -> None:
    """J2c: publishers must not wait for a node that has to begin anew."""
    node = joining()
    node.replica.link_closed(LINK + 1)
    assert effects(node).completed == [settled(2)]
    node = joining()
    again = Subscribe(epoch=THIRD.epoch, stored_generation=GENERATION, queues=1)
    assert node.say(again, session=2, link=LINK + 1).completed == [settled(2)]
    assert not node.requests


# --- time ----------------------------------------------------------------------------------------


def test_an_operation_ages_from_the_moment_it_has_left_until_it_is_complete() -> None:
    node = active()
    node.replica.performed(5.0)
    primary = node.replica.primary
    assert primary is not None
    assert primary.oldest_incomplete() is None
    skips(node, 1)
    effects(node)
    assert primary.oldest_incomplete() is None, "it has not left this node"
    node.replica.performed(7.0)
    assert primary.oldest_incomplete() == 7.0
    assert primary.owing() == {"peer"}
    node.acknowledge(2)
    assert primary.oldest_incomplete() is None
    node.check()


def test_a_time_may_be_whole_and_is_a_finite_number() -> None:
    node = active()
    skips(node, 1)
    effects(node)
    node.replica.performed(7)
    primary = node.replica.primary
    assert primary is not None
    oldest = primary.oldest_incomplete()
    assert type(oldest) is float and oldest == 7.0
    for time in (math.nan, math.inf, "7", None, True):
        with pytest.raises(CallerError):
            node.replica.performed(time)  # type: ignore[arg-type]


def late(*ticks: float) -> Node:
    """A primary whose backup does not acknowledge an operation that left at 10 s, after these ticks."""
    node = active(replace(SETTINGS, ack_timeout_s=4.0, rejoin_timeout_s=4.0))
    node.clock = 9.9
    node.replica.tick(10.0)
    node.replica.performed(10.0)
    skips(node, 1)
    effects(node)
    node.replica.performed(10.0)
    for now in ticks:
        node.clock = now - 0.1
        node.replica.tick(now)
    return node


def test_a_member_that_does_not_acknowledge_in_time_is_removed() -> None:
    """J1, L4: its acknowledgement is overdue, so the record is to be changed. Until then nothing completes."""
    assert not effects(late(11.0, 12.0, 13.0, 14.0)).requests
    node = effects(late(11.0, 12.0, 13.0, 14.0, 15.0))
    (request,) = node.requests
    assert isinstance(request, CompareAndSet)
    assert request.new.members == {ME}
    assert not node.completed


def test_an_acknowledgement_that_arrives_before_the_removal_prevents_it() -> None:
    node = late(11.0, 12.0, 13.0, 14.0, 15.0).acknowledge(2)
    assert not node.requests
    assert node.completed == [settled(2)]


def test_after_a_pause_of_the_primary_its_members_get_a_fresh_timeout() -> None:
    """T42: their acknowledgements may have waited for it."""
    assert not effects(late(11.0, 30.0)).requests
