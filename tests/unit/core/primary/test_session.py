"""One backup's session at its primary: the frames that are legal, and the frames that it is sent (C3, C4, C7)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import SequenceSet
from qpidha.core.chunks import stored_pieces
from qpidha.core.groups import digest, divided, joined
from qpidha.core.limits import limits_of
from qpidha.core.primary.session import BackupSession
from qpidha.types import Role
from qpidha.wire.events import (
    Acknowledged,
    Established,
    Event,
    Frame,
    Operations,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    Resubscribe,
    SkipIds,
    Subscribe,
    SubscribeQueue,
)
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups, SubscribeRest
from qpidha.wire.version import DIGESTS_SINCE, PROTOCOL_MAX
from tests.support.cores import (
    HELLO,
    LINK,
    OTHER,
    PEER_EPOCH,
    QUEUE,
    SETTINGS,
    Node,
    messages,
    refused,
)

NEW = UUID(int=0xA3)


ALL_IDS = SequenceSet.from_range(0, 2**64 - 2)


def subscribe(queues: int) -> Subscribe:
    return Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=queues)


def held(*ids: int | tuple[int, int], queue: UUID = QUEUE) -> SubscribeQueue:
    return SubscribeQueue(queue=queue, lineage=((1, 1), (2, 5)), next=10, held=SequenceSet(ids))


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([subscribe(1), held((1, 3)), held((4, 6))], "SubscribeQueue while STREAMING"),
        ([subscribe(3), held((1, 3)), held((3, 6))], "not ascending"),
        ([subscribe(9), *(held(queue=UUID(int=n)) for n in range(6))], "more than 4 queues"),
        ([subscribe(0), subscribe(0)], "which is not new"),
        ([subscribe(1), Progress(chunks=1)], "Progress of 1 chunks, 0 were sent"),
        ([subscribe(0), Acknowledged(position=77)], "Acknowledged 77"),
        ([subscribe(0), Progress(chunks=1), Acknowledged(position=0)], "Acknowledged 0"),
        ([subscribe(1), Acknowledged(position=1)], "Acknowledged while SUBSCRIBING"),
    ],
)
def test_a_subscription_that_contradicts_itself_is_refused(events: list[Event], why: str) -> None:
    node = Node().promoted().say(HELLO, session=0).say(*events)
    assert refused(node, why)
    node.check()


@pytest.mark.parametrize("generation", [2, 4])
def test_a_frame_of_another_generation_costs_a_backup_its_link(generation: int) -> None:
    """F2: it was sent to another primary."""
    node = Node().promoted().say(HELLO, session=0).say(subscribe(0), Progress(chunks=1))
    node.replica.received(LINK, Frame(generation, 1, Acknowledged(position=1)), 0.0)
    node.perform()
    assert refused(node, f"frame of generation {generation}, not 3")
    assert node.replica.role is Role.RECOVERING


def test_a_frame_of_an_earlier_session_is_ignored() -> None:
    """T19, C3: it subscribed again, and has not acknowledged the new plan."""
    node = Node().promoted().say(HELLO, session=0).say(subscribe(0), Progress(chunks=1))
    node.say(subscribe(0), Progress(chunks=1), session=2)
    node.say(Acknowledged(position=1), session=1)
    assert node.replica.role is Role.RECOVERING
    assert not node.closed
    node.say(Acknowledged(position=1), session=2)
    assert node.replica.role is Role.ACTIVE


def test_nothing_is_buffered_for_a_backup_that_falls_behind() -> None:
    """C7, L5: its window is full, so it has to subscribe again, even if it is a member."""
    session = BackupSession(LINK, "peer", NEW, SETTINGS)
    session.subscribe(1, subscribe(0))
    list(session.catch_up({}, 5))
    skip = (SkipIds(queue=QUEUE, first=1, last=3),)
    half = SETTINGS.window_bytes_max // 2
    first, second, third = (Operations(first=position, operations=(skip,)) for position in (6, 7, 8))
    assert list(session.stream(first, half)) == [first]
    assert list(session.stream(second, half + 1)) == [second, Resubscribe()]
    assert list(session.stream(third, 1)) == []


def test_held_ids_may_come_in_chunks() -> None:
    node = Node().promoted().say(HELLO, session=0)
    node.say(subscribe(4), held((1, 3)), held(), held((4, 6), 9), held(queue=OTHER))
    plan = [event for event in node.sent if isinstance(event, PlanMessages)]
    assert [event.ids for event in plan if event.queue == QUEUE] == [SequenceSet([8])]
    node.say(Progress(chunks=1))
    assert isinstance(node.sent[-1], PlanEnd)


def test_a_backup_may_claim_to_hold_every_id_there_is() -> None:
    """More ids than len() can return, in twelve bytes. The difference is exact nevertheless."""
    claim = SubscribeQueue(queue=QUEUE, lineage=(), next=2**64 - 1, held=ALL_IDS)
    node = Node().promoted().say(HELLO, session=0).say(subscribe(1), claim, Progress(chunks=1))
    assert not node.closed
    assert node.replica.primary is not None
    assert node.replica.primary.sessions[LINK].resync.dropped == ALL_IDS.count()


def test_established_is_sent_at_once_to_backups_that_have_flipped() -> None:
    """The others get it after their flip."""
    node = Node().promoted()
    node.replica.link_opened(LINK + 1)
    node.replica.received(LINK + 1, Frame(2, 0, replace(HELLO, node="third")), 0.0)
    node.say(HELLO, session=0).say(subscribe(0), Progress(chunks=1))
    assert node.replica.role is Role.RECOVERING
    node.sent.clear()
    node.say(Acknowledged(position=1))
    assert node.sent == [Established()]
    assert node.replica.role is Role.ACTIVE
    assert node.replica.in_sync


def test_nothing_is_copied_before_the_backup_has_described_itself() -> None:
    session = BackupSession(LINK, "peer", NEW, SETTINGS)
    assert list(session.catch_up({}, 5)) == []
    session.subscribe(1, subscribe(1))
    assert list(session.catch_up({}, 5)) == []


def test_what_changes_before_the_first_visit_needs_no_other_one() -> None:
    """The plan visits all queues anyway, with what they hold then."""
    session = BackupSession(LINK, "peer", NEW, SETTINGS)
    session.subscribe(1, subscribe(0))
    skip = (SkipIds(queue=QUEUE, first=1, last=3),)
    assert list(session.stream(Operations(first=6, operations=(skip,)), 100)) == []
    assert list(session.leave_out(skip)) == []
    assert [type(event) for event in session.catch_up({}, 7)] == [PlanEnd]


def test_an_interrupted_copy_resumes_after_the_last_copied_message() -> None:
    """At most one chunk is under way here; a queue that was copied is not visited again."""
    small = replace(SETTINGS, plan_chunks_in_flight_max=1)
    node = Node(small).promoted()
    node.replica.enqueue(OTHER, messages(SequenceSet([(1, 4)])))
    node.say(HELLO, session=0).say(subscribe(0))
    chunks = 0
    while not isinstance(node.sent[-1], PlanEnd):
        assert chunks < 20
        chunks += 1
        node.say(Progress(chunks=chunks))
    chosen = [
        event for event in node.sent if isinstance(event, PlanMessages) and event.queue in (QUEUE, OTHER)
    ]
    assert [(event.queue, id) for event in chosen for id in event.ids] == [
        (QUEUE, id) for id in (1, 2, 3, 4, 5, 6, 8, 9)
    ] + [(OTHER, id) for id in range(1, 5)]


def test_a_plan_drops_what_the_backup_held_and_the_primary_dequeued_since_the_comparison() -> None:
    """The dequeue is below the position of the plan, so it is not streamed: only the plan can tell it (C4)."""
    small = replace(SETTINGS, plan_chunks_in_flight_max=1)
    node = Node(small).promoted()
    node.replica.enqueue(OTHER, messages(SequenceSet([1])))
    node.say(HELLO, session=0).say(subscribe(1), held(1, 2))
    assert not any(isinstance(event, PlanEnd) for event in node.sent), (
        "one chunk is under way, another must wait"
    )
    node.replica.dequeue(QUEUE, SequenceSet([2]))
    chunks = 0
    while not isinstance(node.sent[-1], PlanEnd):
        assert chunks < 20
        chunks += 1
        node.say(Progress(chunks=chunks))
    drops = [event for event in node.sent if isinstance(event, PlanDrop)]
    assert [(drop.ids, drop.staged) for drop in drops] == [(SequenceSet([2]), False)]


def test_a_batch_with_more_holes_than_a_frame_can_name_is_cut() -> None:
    queue = Node().replica.queues[QUEUE]
    queue.remove(SequenceSet([2, 4]))
    cut = list(stored_pieces(queue, queue.held, 2))
    assert [ids for ids, _ in cut] == [SequenceSet([1, 3]), SequenceSet([5, 6, 8, 9])]
    assert [list(batch) for _, batch in cut] == [list(messages(ids)) for ids, _ in cut]


# --- a queue that is deleted, and an operation that no frame holds -----------------------------------


def catching_up() -> Node:
    """One chunk is under way to a backup that holds nothing; the plan has not ended."""
    node = Node(replace(SETTINGS, plan_chunks_in_flight_max=1)).promoted()
    node.replica.enqueue(OTHER, messages(SequenceSet([1])))
    return node.say(HELLO, session=0).say(subscribe(0))


def finish(node: Node, chunks: int = 1) -> Node:
    while not isinstance(node.sent[-1], PlanEnd):
        assert chunks < 20
        node.say(Progress(chunks=chunks))
        chunks += 1
    return node


def test_a_queue_that_is_deleted_during_a_catch_up_is_withdrawn_from_the_plan() -> None:
    """What was said of it is taken back; a queue of which nothing was said is not named at all (Q9)."""
    node = catching_up()
    told = {event.queue for event in node.sent if isinstance(event, PlanQueue)}
    assert QUEUE in told and OTHER not in told
    version = HELLO.version_max
    assert version == 1
    for session in node.replica.primary.sessions.values():  # type: ignore[union-attr]
        session.version = PROTOCOL_MAX
    node.replica.delete(QUEUE)
    node.replica.delete(OTHER)
    finish(node)
    withdrawn = [event.queue for event in node.sent if isinstance(event, PlanWithdraw)]
    assert withdrawn == [QUEUE]
    end = node.sent[-1]
    assert isinstance(end, PlanEnd)
    assert end.queues == 1, "the configuration"


def test_an_operation_that_no_frame_holds_is_in_the_plan_of_a_backup_that_catches_up() -> None:
    """It is not streamed, so the queues that it changes are visited again (TX2)."""
    node = finish(catching_up())
    session = node.replica.primary.sessions[LINK]  # type: ignore[union-attr]
    assert list(session.leave_out((SkipIds(queue=OTHER, first=2, last=2),))) == [Resubscribe()]
    assert list(session.leave_out((SkipIds(queue=OTHER, first=3, last=3),))) == []
    node = catching_up()
    session = node.replica.primary.sessions[LINK]  # type: ignore[union-attr]
    described = [event.queue for event in node.sent if isinstance(event, PlanQueue)]
    assert list(session.leave_out((SkipIds(queue=QUEUE, first=10, last=10),))) == []
    finish(node)
    again = [event.queue for event in node.sent if isinstance(event, PlanQueue)]
    assert (described.count(QUEUE), again.count(QUEUE)) == (1, 2)


@pytest.mark.parametrize("version", [3, PROTOCOL_MAX])
def test_the_plan_of_an_older_release_enters_the_generation(version: int) -> None:
    """P3: that release does not do so with the first id. Where an id was given out, all plans name the same entry."""
    node = Node().promoted()
    node.replica.enqueue(QUEUE, messages(SequenceSet([1])))
    node.say(replace(HELLO, version_max=version, limits=limits_of(SETTINGS)), session=0)
    node.say(subscribe(0))
    finish(node)
    plans = {event.queue: event.lineage for event in node.sent if isinstance(event, PlanQueue)}
    assert plans[QUEUE] == ((1, 1), (2, 5), (3, 10))
    assert plans[OTHER] == (((2, 1), (3, 1)) if version == 3 else ((2, 1),))
    assert node.replica.queues[OTHER].lineage == ((2, 1),)


# --- comparing groups (C8) -----------------------------------------------------------------------

KEY = b"k" * 16
HELLO_5 = replace(HELLO, version_max=DIGESTS_SINCE, limits=limits_of(SETTINGS))


def equal_groups(node: Node) -> SubscribeGroups:
    """What a backup that is equal to this primary says, with each of the two queues in a group."""
    digests = tuple(digest(KEY, joined(group)) for group in divided(node.replica.queues.values(), 3))
    return SubscribeGroups(epoch=PEER_EPOCH, stored_generation=2, key=KEY, digests=digests)


def comparing() -> Node:
    node = Node().promoted().say(HELLO_5, session=0)
    return node.say(equal_groups(node))


def test_equal_groups_need_no_description_and_no_plan() -> None:
    node = comparing()
    assert node.sent[-1] == GroupsDiffer(groups=SequenceSet())
    node.forget().say(SubscribeRest(queues=0))
    assert node.sent == [PlanEnd(position=1, queues=3)], "the configuration is the third"
    node.say(Acknowledged(position=1))
    assert node.replica.role is Role.ACTIVE


def test_a_queue_of_an_equal_group_that_changes_is_planned_against_what_the_backup_has() -> None:
    node = comparing().forget()
    node.replica.enqueue(QUEUE, messages(SequenceSet([10])))
    node.replica.dequeue(QUEUE, SequenceSet([1]))
    node.perform()
    assert node.sent == [], "the backup has not answered"
    node.say(SubscribeRest(queues=0))
    sent = [event for event in node.sent if not isinstance(event, PlanEnd)]
    assert {type(e) for e in sent} == {PlanMessages, PlanQueue, PlanDrop}
    assert [list(e.ids) for e in sent if isinstance(e, PlanMessages)] == [[10]], "the backup has the others"
    assert [(list(e.ids), e.staged) for e in sent if isinstance(e, PlanDrop)] == [([1], False)]
    assert all(event.queue == QUEUE for event in sent)  # type: ignore[union-attr]


def test_what_is_left_to_copy_is_counted_for_queues_of_equal_groups_too() -> None:
    node = comparing()
    primary = node.replica.primary
    assert primary is not None
    session = primary.sessions[LINK]
    assert session.left_bytes(primary.queues) == 0 == session.to_copy(primary.queues)
    node.replica.enqueue(QUEUE, messages(SequenceSet([10])))
    node.perform()
    one = session.left_bytes(primary.queues)
    assert 0 < one < 3 * len(b"message 10") + SETTINGS.window_bytes_max // 4, "one message, not nine"
    assert 0 < session.to_copy(primary.queues) < 3 * len(b"message 10"), "the same, without its round trip"


@pytest.mark.parametrize(
    ("version", "events", "why"),
    [
        (4, [None], "SubscribeGroups in version 4"),
        (5, [None, SubscribeRest(queues=1), held((1, 6), (8, 9))], "is described, and its group is equal"),
        (5, [None, Acknowledged(position=1)], "Acknowledged while COMPARING"),
        (5, [None, None], "which is not new"),
    ],
)
def test_a_comparison_that_contradicts_itself_is_refused(
    version: int, events: list[Event | None], why: str
) -> None:
    node = Node().promoted().say(replace(HELLO_5, version_max=version), session=0)
    node.say(*(equal_groups(node) if event is None else event for event in events))
    assert refused(node, why)
    node.check()


def test_the_rest_is_not_told_before_it_was_asked_for() -> None:
    node = Node().promoted().say(HELLO_5, session=0)
    for event in (equal_groups(node), SubscribeRest(queues=0)):
        node.replica.received(LINK, Frame(3, 1, event), node.clock)
    node.perform()
    assert refused(node, "SubscribeRest before GroupsDiffer")
