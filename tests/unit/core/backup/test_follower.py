"""A backup's one link: which primary it follows, what it takes from it, and when it leaves it (C1–C3, C5, C7, F6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.limits import limits_of
from qpidha.core.ready import CloseLink, HandOver, ReadRecord, RoleChanged
from qpidha.events import RefusedByPrimary, StalePrimaryFenced, UnrecordedPrimary
from qpidha.journal import PutStatus
from qpidha.types import NodeId, Role, Versioned
from qpidha.wire.events import (
    Acknowledged,
    Declare,
    Enqueue,
    Established,
    Event,
    Fenced,
    Frame,
    Hello,
    Operations,
    PlanDrop,
    PlanQueue,
    Refused,
    Resubscribe,
    SkipIds,
    Subscribe,
    SubscribeQueue,
)
from qpidha.wire.version import PROTOCOL_MAX, PROTOCOL_MIN
from tests.support.cores import (
    BOOT,
    CLUSTER,
    EPOCH,
    GENERATION,
    HELLO,
    LINK,
    ME,
    OTHER,
    PEER,
    PEER_BOOT,
    QUEUE,
    SETTINGS,
    WELCOME,
    Node,
    refused,
    seen,
)
from tests.support.plans import EMPTY, END, NEW, PLAN, SPEC, backup, chunk

LIMITS = limits_of(SETTINGS)
SLICES = replace(SETTINGS, queues_per_slice=1)
"""One queue for each slice, so that a flip takes several."""
MEMBERS = frozenset({ME, PEER})
REWOUND = (
    PlanQueue(queue=QUEUE, spec=SPEC, lineage=((1, 1), (3, 5)), next=5, held=4),
    PlanDrop(queue=QUEUE, ids=SequenceSet([5, 6, 8, 9]), staged=False),
    EMPTY,
    END,
)
"""A plan of a history in which messages 5 to 9 were never published: they go into quarantine."""


def following(*events: Event) -> Node:
    """A backup whose flip is done, and what its primary said after that."""
    return backup(PLAN, EMPTY, END, *events)


def flipping(*events: Event, last: PlanQueue = EMPTY) -> Node:
    """A backup that has the whole plan, and has applied a part of it."""
    node = backup(node=Node(SLICES)).work().say(PLAN, last)
    node.replica.received(LINK, Frame(GENERATION, 1, END), node.clock)
    for event in events:
        node.replica.received(LINK, Frame(GENERATION, 1, event), node.clock)
    assert node.replica.unfinished
    return node


STATES: dict[str, Callable[[], Node]] = {
    "before the welcome": lambda: Node().following(),
    "staging": backup,
    "flipping": flipping,
    "following": following,
}
"""A backup in each state of its session."""


def skip(position: int, *, first: int = 1) -> Operations:
    """The operation at this position: skip one id of the empty queue."""
    return Operations(first=position, operations=((SkipIds(queue=OTHER, first=first, last=first),),))


def record(node: Node, generation: int = GENERATION, primary: NodeId | None = "peer") -> Node:
    """The record changes, as a watch shows."""
    changed = replace(
        seen(generation, ("peer", PEER_BOOT), MEMBERS).record, primary=primary and (primary, PEER_BOOT)
    )
    node.replica.record_seen(Versioned(changed, 10), node.clock)
    node.perform()
    return node


def closings(node: Node) -> list[CloseLink]:
    return [notice for notice in node.notices if isinstance(notice, CloseLink)]


def handed_over(node: Node) -> list[int]:
    return [m.id for notice in node.notices if isinstance(notice, HandOver) for m in notice.messages]


# --- opening a link ------------------------------------------------------------------------------


def test_a_backup_says_who_it_is_whom_it_wants_and_what_it_can_take() -> None:
    node = Node().following()
    hello = Hello(
        version_min=PROTOCOL_MIN,
        version_max=PROTOCOL_MAX,
        cluster=CLUSTER,
        node="me",
        boot=BOOT,
        wanted="peer",
        limits=LIMITS,
    )
    assert node.frames == [(LINK, Frame(2, 0, hello))]
    assert node.replica.role is Role.JOINING


def test_a_new_link_replaces_the_old_one_and_its_session() -> None:
    """C1: what the old session staged is forgotten, and the new session has another number."""
    node = backup(chunk(10)).forget()
    node.replica.link_opened(LINK + 1, to="peer")
    node.perform()
    assert closings(node) == [CloseLink(LINK, "leaving")]
    assert [(link, type(frame.event)) for link, frame in node.frames] == [(LINK + 1, Hello)]
    assert node.replica.role is Role.JOINING
    node.forget().say(PLAN, EMPTY, END)
    assert not node.sent, "frames on the old link are ignored"
    node.say(WELCOME, session=0, link=LINK + 1)
    assert [frame.session for _, frame in node.frames] == [2, 2, 2]
    node.say(PLAN, EMPTY, END, session=2, link=LINK + 1)
    assert len(node.replica.queues[QUEUE]) == 8, "message 10 was staged in the first session only"
    assert node.frames[-1] == (LINK + 1, Frame(GENERATION, 2, Acknowledged(position=4)))


def test_the_end_of_a_link_that_was_replaced_does_not_end_the_session() -> None:
    node = backup()
    node.replica.link_closed(LINK + 1)
    node.perform()
    assert node.replica.role is Role.CATCH_UP
    node.replica.link_closed(LINK)
    node.perform()
    assert node.replica.role is Role.JOINING
    assert not closings(node), "a link that is gone needs no closing"


# --- the Welcome ---------------------------------------------------------------------------------


def test_a_welcomed_backup_subscribes_with_what_it_holds() -> None:
    node = Node().following().forget().say(WELCOME, session=0)
    held = SequenceSet([(1, 6), (8, 9)])
    assert [frame for _, frame in node.frames] == [
        Frame(GENERATION, 1, Subscribe(epoch=EPOCH, stored_generation=2, queues=2)),
        Frame(GENERATION, 1, SubscribeQueue(queue=QUEUE, lineage=((1, 1), (2, 5)), next=10, held=held)),
        Frame(GENERATION, 1, SubscribeQueue(queue=OTHER, lineage=((2, 1),), next=1, held=SequenceSet())),
    ]
    assert node.notices == [RoleChanged(Role.CATCH_UP, 2)]
    assert not node.persisted
    assert node.replica.generation == 2, "the new generation begins with the flip"


def test_many_queues_are_described_in_slices() -> None:
    node = Node(SLICES).following()
    node.replica.received(LINK, Frame(GENERATION, 0, WELCOME), node.clock)
    assert node.replica.unfinished
    node.work()
    assert [e.queue for e in node.sent if isinstance(e, SubscribeQueue)] == [QUEUE, OTHER]


def test_a_plan_that_ends_before_all_queues_were_described_is_refused() -> None:
    node = Node(SLICES).following()
    for session, event in ((0, WELCOME), (1, END)):
        node.replica.received(LINK, Frame(GENERATION, session, event), node.clock)
    node.perform()
    assert refused(node, "PlanEnd while STAGING")


def test_a_backup_sends_no_more_id_runs_in_one_event_than_its_primary_takes() -> None:
    small = replace(LIMITS, ids_runs_per_chunk_max=1)
    node = Node().following().forget().say(replace(WELCOME, version=2, limits=small), session=0)
    assert node.sent[0] == Subscribe(epoch=EPOCH, stored_generation=2, queues=3)
    pieces = [e.held for e in node.sent if isinstance(e, SubscribeQueue) and e.queue == QUEUE]
    assert pieces == [SequenceSet([(1, 6)]), SequenceSet([8, 9])]


def test_a_backup_refuses_a_primary_that_allows_fewer_queues() -> None:
    small = replace(LIMITS, queues_max=1)
    node = Node().following().say(replace(WELCOME, version=2, limits=small), session=0)
    assert refused(node, "queues_max of primary 'peer' is 1, the store of backup 'me' has 2 queues")


def test_a_version_of_the_protocol_that_this_node_does_not_speak_is_refused() -> None:
    node = Node().following().say(replace(WELCOME, version=PROTOCOL_MAX + 1), session=0)
    assert refused(node, f"{PROTOCOL_MAX + 1}")


def test_the_first_frame_must_be_the_welcome_of_the_wanted_primary() -> None:
    assert refused(Node().following().say(PLAN, session=0), "PlanQueue before Welcome")
    assert refused(Node().following().say(replace(WELCOME, node="other"), session=0), "this is 'other'")


@pytest.mark.parametrize(
    ("generation", "boot"),
    [(GENERATION + 1, PEER_BOOT), (GENERATION - 1, PEER_BOOT), (GENERATION, BOOT)],
    ids=["a later generation", "an earlier generation", "another boot"],
)
def test_only_the_recorded_primary_is_followed_and_only_in_its_generation(
    generation: int, boot: UUID
) -> None:
    """F6: a peer that claims to be another is not believed; the record is read again."""
    node = Node().following().forget()
    node.say(replace(WELCOME, boot=boot), session=0, generation=generation)
    found = UnrecordedPrimary("peer", generation)
    assert node.notices == [found, CloseLink(LINK, found.line)]
    assert node.requests == [ReadRecord()]
    assert not node.sent
    assert node.replica.role is Role.JOINING


def test_a_primary_is_not_followed_before_the_record_was_read() -> None:
    node = Node()
    node.replica.link_opened(LINK, to="peer")
    node.perform()
    node.forget().say(WELCOME, session=0)
    assert UnrecordedPrimary("peer", GENERATION) in node.notices
    assert node.closed
    assert not node.sent


def test_the_primary_of_another_cluster_is_not_followed() -> None:
    """D7: the record and the primary agree, so this store is in the wrong cluster."""
    node = Node()
    node.replica.state.cluster = NEW
    assert refused(node.following().say(WELCOME, session=0), f"this store of {NEW}")


def test_a_primary_that_names_another_cluster_than_the_record_is_not_followed() -> None:
    node = Node()
    node.replica.state.cluster = None
    node.following().say(replace(WELCOME, cluster=NEW), session=0)
    assert refused(node, f"the primary is of cluster {NEW}")


def test_a_store_without_a_cluster_joins_that_of_its_primary_with_the_flip() -> None:
    node = Node()
    node.replica.state.cluster = None
    backup(node=node)
    assert node.replica.cluster is None
    node.say(PLAN, EMPTY, END)
    assert node.replica.cluster == CLUSTER
    assert node.persisted[-1][-1] == PutStatus(CLUSTER, GENERATION, primary=False)


# --- the plan and the flip -----------------------------------------------------------------------


def test_a_plan_is_applied_when_it_is_complete_in_one_transaction() -> None:
    """C5: one transaction also stores the generation; the acknowledgement follows it."""
    node = backup().forget()
    node.say(
        chunk(10),
        replace(PLAN, next=11, held=7),
        PlanDrop(queue=QUEUE, ids=SequenceSet([1, 2]), staged=False),
        EMPTY,
    )
    assert not node.persisted
    assert len(node.replica.queues[QUEUE]) == 8
    assert (node.replica.role, node.replica.generation) == (Role.CATCH_UP, 2)
    assert node.replica.follower.staged == 2
    node.forget().say(END)
    assert len(node.persisted) == 1
    assert node.persisted[0][-1] == PutStatus(CLUSTER, GENERATION, primary=False)
    assert node.frames == [(LINK, Frame(GENERATION, 1, Acknowledged(position=4)))]
    assert node.replica.queues[QUEUE].held == SequenceSet([(3, 6), (8, 10)])
    assert (node.replica.role, node.replica.generation) == (Role.READY, GENERATION)
    assert RoleChanged(Role.READY, GENERATION) in node.notices
    assert node.replica.follower.staged == 0
    node.check()


def test_a_staged_message_that_was_dropped_meanwhile_is_not_inserted() -> None:
    node = backup(chunk(10, 11), replace(PLAN, next=12, held=9))
    node.say(PlanDrop(queue=QUEUE, ids=SequenceSet([10]), staged=True), EMPTY, END)
    assert node.replica.queues[QUEUE].held == SequenceSet([(1, 6), 8, 9, 11])
    node.check()


def test_frames_that_arrive_during_the_flip_are_handled_after_it_in_order() -> None:
    node = flipping(skip(5), skip(6, first=2), Established())
    assert (node.replica.role, node.replica.generation) == (Role.CATCH_UP, 2)
    node.forget().work()
    assert (node.replica.role, node.replica.generation) == (Role.READY, GENERATION)
    assert node.frames == [(LINK, Frame(GENERATION, 1, Acknowledged(position=6)))]
    assert node.replica.queues[OTHER].next == 3
    assert node.replica.follower.established
    node.check()


def test_a_frame_that_waited_for_the_flip_and_is_illegal_costs_the_link_but_not_the_flip() -> None:
    node = flipping(skip(5), skip(7), skip(6, first=2)).work()
    assert refused(node, "operation 7 after 5")
    assert (node.replica.role, node.replica.generation) == (Role.JOINING, GENERATION)
    assert node.replica.queues[OTHER].next == 2, "no frame after the illegal one is handled"
    node.check()


def test_a_resubscribe_that_waited_for_the_flip_makes_the_frames_behind_it_stale() -> None:
    node = flipping(Resubscribe(), skip(5)).forget().work()
    assert Subscribe(epoch=EPOCH, stored_generation=GENERATION, queues=2) in node.sent
    assert node.replica.queues[OTHER].next == 1
    assert not node.closed


def test_a_flip_that_has_begun_is_completed_when_its_link_closes() -> None:
    """C5: the whole plan has arrived. What came after it is lost with the session."""
    node = flipping(skip(5))
    node.perform()
    node.forget()
    node.replica.link_closed(LINK)
    node.perform()
    assert (node.replica.role, node.replica.generation) == (Role.JOINING, GENERATION)
    assert len(node.persisted) == 1
    assert node.persisted[0][-1] == PutStatus(CLUSTER, GENERATION, primary=False)
    assert node.replica.queues[OTHER].next == 1
    assert not node.replica.unfinished
    node.check()


def test_frames_that_waited_for_a_flip_are_not_handled_in_the_next_session() -> None:
    """They are of an older generation than the next primary: handled there, they would fence it."""
    node = flipping(skip(5))
    node.replica.link_closed(LINK)
    record(node, GENERATION + 1)
    node.replica.link_opened(LINK + 1, to="peer")
    node.forget().say(WELCOME, session=0, generation=GENERATION + 1, link=LINK + 1).work()
    later = (replace(PLAN, lineage=((1, 1), (4, 10))), EMPTY, END)
    node.say(*later, session=2, generation=GENERATION + 1, link=LINK + 1).work()
    assert node.frames[-1] == (LINK + 1, Frame(GENERATION + 1, 2, Acknowledged(position=4)))
    assert (node.replica.role, node.replica.generation) == (Role.READY, GENERATION + 1)
    assert not node.closed


def test_the_next_hello_after_a_flip_that_was_cut_short_is_of_the_new_generation() -> None:
    node = flipping().forget()
    node.replica.link_opened(LINK + 1, to="peer")
    node.perform()
    ((link, acknowledged), (_, hello)) = node.frames
    assert (link, acknowledged.event) == (LINK, Acknowledged(position=4))
    assert (hello.generation, type(hello.event)) == (GENERATION, Hello)


def test_a_plan_that_contradicts_itself_changes_nothing_when_its_link_closes() -> None:
    node = flipping(last=replace(EMPTY, held=1)).forget()
    node.replica.link_closed(LINK)
    node.perform()
    assert not node.persisted
    assert (node.replica.role, node.replica.generation) == (Role.JOINING, 2)
    assert len(node.replica.queues[QUEUE]) == 8
    node.check()


def test_a_plan_that_contradicts_itself_is_refused_in_the_slice_that_finds_it() -> None:
    node = flipping(last=replace(EMPTY, held=1)).work()
    assert refused(node, "the plan leaves 0 messages, not 1")
    assert (node.replica.role, node.replica.generation) == (Role.JOINING, 2)
    node.check()


# --- following -----------------------------------------------------------------------------------


def test_operations_are_applied_and_acknowledged() -> None:
    node = following().forget()
    batch = Batch.pack([b"new"])
    lineage = ((GENERATION, 1),)
    enqueue = (Enqueue(queue=QUEUE, first=10, batch=batch),)
    declare = (Declare(queue=NEW, spec=SPEC, lineage=lineage, next=1),)
    node.say(Operations(first=5, operations=(enqueue, declare)))
    assert node.frames == [(LINK, Frame(GENERATION, 1, Acknowledged(position=6)))]
    assert 10 in node.replica.queues[QUEUE].held
    assert NEW in node.replica.queues
    flow = node.replica.follower.flow
    assert (flow.resyncs, flow.messages, flow.bytes) == (1, 1, batch.nbytes)
    node.check()


def test_discarded_messages_are_handed_over_when_the_new_history_is_established() -> None:
    """W2: not with the flip, because the old history could still come back."""
    node = backup(*REWOUND)
    assert node.replica.role is Role.READY
    assert not node.replica.follower.established
    assert handed_over(node) == []
    node.say(Established())
    assert node.replica.follower.established
    assert handed_over(node) == [5, 6, 8, 9]


def test_a_backup_that_is_told_to_subscribe_again_begins_a_new_session() -> None:
    """C7, C3: frames of the earlier session are ignored from then on, and nothing is established in the new one."""
    node = following(Established()).forget().say(Resubscribe())
    assert [frame.session for _, frame in node.frames] == [2, 2, 2]
    assert node.sent[0] == Subscribe(epoch=EPOCH, stored_generation=GENERATION, queues=2)
    assert node.replica.role is Role.CATCH_UP
    assert not node.replica.follower.established
    node.say(skip(5), PLAN, END, session=1)
    assert not node.closed
    node.say(PLAN, EMPTY, replace(END, position=9), session=2)
    assert node.frames[-1] == (LINK, Frame(GENERATION, 2, Acknowledged(position=9)))
    assert node.replica.follower.flow.resyncs == 2


# --- frames that are not legal -------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_a_primary_of_an_older_generation_is_fenced(state: str) -> None:
    """C2: in every state, it learns which generation was seen, and nothing that it sent is obeyed."""
    node = STATES[state]()
    before = node.replica.generation
    transactions = len(node.persisted)
    node.replica.received(LINK, Frame(1, 1, skip(5)), node.clock)
    node.perform()
    assert (LINK, Frame(before, 0, Fenced(generation=before))) in node.frames
    stale = StalePrimaryFenced(1, seen=before)
    assert stale in node.notices
    assert closings(node) == [CloseLink(LINK, f"a stale primary: {stale.detail}")]
    assert node.replica.role is Role.JOINING
    assert node.replica.queues[OTHER].next == 1
    assert len(node.persisted) == transactions + (node.replica.generation > before)


@pytest.mark.parametrize("generation", [2, 4])
def test_a_session_has_one_generation(generation: int) -> None:
    node = backup().say(PLAN, generation=generation)
    assert refused(node, f"frame of generation {generation}, not 3")
    assert node.replica.role is Role.JOINING


def test_a_frame_of_an_earlier_session_is_ignored_even_where_it_is_illegal() -> None:
    node = backup().forget().say(Established(), PLAN, HELLO, session=7)
    assert not node.sent
    assert not node.closed
    assert node.replica.role is Role.CATCH_UP


@pytest.mark.parametrize(
    ("state", "event", "why"),
    [
        ("before the welcome", Established(), "Established before Welcome"),
        ("staging", WELCOME, "Welcome while STAGING"),
        ("staging", Resubscribe(), "Resubscribe while STAGING"),
        ("following", PLAN, "PlanQueue while FOLLOWING"),
        ("following", Acknowledged(position=4), "Acknowledged while FOLLOWING"),
    ],
)
def test_an_event_that_is_not_legal_now_costs_the_primary_its_link(
    state: str, event: Event, why: str
) -> None:
    node = STATES[state]()
    assert refused(node.say(event), why)
    assert node.replica.role is Role.JOINING


@pytest.mark.parametrize("state", STATES)
def test_a_backup_that_is_refused_reads_the_record_again(state: str) -> None:
    """In every state, whatever the header says: the primary may be of another generation by now."""
    node = STATES[state]().forget()
    node.replica.received(LINK, Frame(1, 0, Refused(code=16, reason="I am joining")), node.clock)
    node.perform()
    assert RefusedByPrimary("I am joining") in node.notices
    assert closings(node) == [CloseLink(LINK, "refused: I am joining")]
    assert node.requests == [ReadRecord()]
    assert not any(isinstance(event, (Refused, Fenced)) for event in node.sent)
    assert node.replica.role is Role.JOINING


# --- the record ----------------------------------------------------------------------------------


def test_a_primary_that_the_record_no_longer_names_is_left_at_once() -> None:
    """It may be paused, and never say that it stepped down."""
    node = record(backup(chunk(10), PLAN), primary="other")
    assert closings(node) == [CloseLink(LINK, "leaving")]
    assert node.replica.role is Role.JOINING
    assert not node.persisted, "the plan was not complete: it is forgotten"
    assert node.replica.follower.staged == 0


def test_a_link_is_left_before_its_welcome_if_the_record_names_another_primary() -> None:
    assert record(Node().following(), primary="other").closed


def test_a_backup_leaves_its_primary_if_the_record_names_none() -> None:
    node = record(following(), primary=None)
    assert closings(node) == [CloseLink(LINK, "leaving")]


def test_a_primary_that_was_promoted_again_is_left_because_its_old_session_is_over() -> None:
    assert record(following(), GENERATION + 1).closed
    assert not record(Node().following(), GENERATION + 1).closed, "its Welcome may already be of the new one"


def test_a_record_with_other_members_changes_nothing_for_a_backup() -> None:
    node = following()
    current = seen(GENERATION, ("peer", PEER_BOOT), frozenset({PEER}))
    node.replica.record_seen(replace(current, version=10), node.clock)
    node.perform()
    assert not node.replica.in_sync
    assert not node.closed
    assert node.replica.role is Role.READY


def test_without_a_link_a_record_closes_none() -> None:
    node = Node().following()
    node.replica.link_closed(LINK)
    assert not record(node, GENERATION + 1, "other").closed


# --- nodes that are not backups ------------------------------------------------------------------


def test_a_backup_answers_a_peer_that_it_is_no_primary() -> None:
    """But it does not answer a refusal: two such nodes would refuse each other for ever."""
    node = Node()
    node.replica.link_opened(LINK)
    node.say(Refused(code=16, reason="you is joining"), session=0)
    assert node.sent == []
    assert refused(node.say(HELLO, session=0), "me is joining")


def test_a_primary_has_no_link_to_a_primary() -> None:
    """It won the promotion while the link was being opened."""
    node = Node().promoted()
    node.replica.link_opened(LINK + 1, to="peer")
    node.perform()
    assert node.notices[-1] == CloseLink(LINK + 1, "not a backup")
