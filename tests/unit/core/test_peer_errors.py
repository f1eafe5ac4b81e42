"""What a peer may not say, and when: each costs it its link, and changes nothing (Z2, C1–C7)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.chunks import stored_pieces
from qpidha.core.limits import limits_of
from qpidha.core.primary.session import BackupSession
from qpidha.core.ready import CloseLink
from qpidha.core.refusals import TAKEN_OVER
from qpidha.errors import CallerError, RemoteProtocolError
from qpidha.events import DuplicateNodeId, FencedByPeer, RefusedByBackup, UnrecordedPrimary
from qpidha.types import QueueSpec, Role
from qpidha.wire.events import (
    Acknowledged,
    Declare,
    Dequeue,
    Enqueue,
    Established,
    Event,
    Fenced,
    Frame,
    Hello,
    Operation,
    Operations,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    Progress,
    Refused,
    Resubscribe,
    SkipIds,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from tests.support.cores import (
    BOOT,
    CLUSTER,
    GENERATION,
    HELLO,
    LINK,
    OTHER,
    PEER_BOOT,
    PEER_EPOCH,
    QUEUE,
    SETTINGS,
    WELCOME,
    Node,
    messages,
)

SPEC = QueueSpec(name="full")
NEW = UUID(int=0xA3)
LIMITS = limits_of(SETTINGS)
FEW_QUEUES = replace(LIMITS, queues_max=3)
ALL_IDS = SequenceSet.from_range(0, 2**64 - 2)


def refused(node: Node, why: str) -> bool:
    """The last thing that was sent says why, and the link is closed."""
    last = node.sent[-1]
    assert isinstance(last, Refused)
    assert why in last.reason
    return node.closed


def subscribe(queues: int) -> Subscribe:
    return Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=queues)


def held(*ids: int | tuple[int, int], queue: UUID = QUEUE) -> SubscribeQueue:
    return SubscribeQueue(queue=queue, lineage=((1, 1), (2, 5)), next=10, held=SequenceSet(ids))


# --- to a primary: hello -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (
            replace(HELLO, cluster=NEW),
            f"the store of backup 'peer' is of cluster {NEW}, primary 'me' is of cluster {CLUSTER}",
        ),
        (replace(HELLO, node="me"), "backup and primary have the same node id, 'me'"),
        (replace(HELLO, wanted="you"), "the backup wants node 'you', this is 'me'"),
        (
            replace(HELLO, version_min=3, version_max=9, limits=LIMITS),
            "backup 'peer' speaks protocol versions 3 to 9, primary 'me' 1 to 2",
        ),
        (
            replace(
                HELLO, version_max=2, limits=replace(LIMITS, frame_bytes_max=SETTINGS.frame_bytes_max - 1)
            ),
            "frame_bytes_max of backup 'peer' is 16777215, of primary 'me' 16777216",
        ),
        (
            replace(HELLO, version_max=2, limits=replace(LIMITS, message_bytes_max=9)),
            "message_bytes_max of backup 'peer' is 9, of primary 'me' 8388608",
        ),
        (
            replace(HELLO, version_max=2, limits=replace(LIMITS, queues_max=1)),
            "queues_max of backup 'peer' is 1, primary 'me' has 2 queues",
        ),
    ],
)
def test_who_is_not_welcome(hello: Event, why: str) -> None:
    node = Node().promoted().say(hello, session=0)
    assert refused(node, why)
    assert node.replica.primary is not None
    assert not node.replica.primary.sessions


def test_a_peer_of_the_previous_version_is_welcomed_in_its_own_words() -> None:
    """It tells no limits and is told none, by either side."""
    host = Node().promoted().say(HELLO, session=0)
    assert host.sent[-1] == Welcome(version=1, cluster=CLUSTER, node="me", boot=BOOT)
    host.say(subscribe(0))
    assert any(isinstance(event, PlanEnd) for event in host.sent)
    guest = Node().following().say(WELCOME, session=0)
    assert isinstance(guest.sent[-1], SubscribeQueue) and not guest.closed


def test_both_ends_of_version_2_tell_their_limits() -> None:
    host = Node().promoted().say(replace(HELLO, version_max=2, limits=LIMITS), session=0)
    assert host.sent[-1] == Welcome(version=2, cluster=CLUSTER, node="me", boot=BOOT, limits=LIMITS)
    guest = Node().following()
    assert guest.sent == [
        Hello(
            version_min=1, version_max=2, cluster=CLUSTER, node="me", boot=BOOT, wanted="peer", limits=LIMITS
        )
    ]


def test_a_backup_gives_up_on_a_primary_that_does_not_take_its_queues() -> None:
    small = replace(LIMITS, queues_max=1)
    node = Node().following().say(replace(WELCOME, version=2, limits=small), session=0)
    assert refused(node, "queues_max of primary 'peer' is 1, the store of backup 'me' has 2 queues")


def test_ids_are_sent_in_pieces_that_the_other_end_takes() -> None:
    few = replace(LIMITS, ids_runs_per_chunk_max=1)
    node = Node().following().say(replace(WELCOME, version=2, limits=few), session=0)
    described = [event for event in node.sent if isinstance(event, SubscribeQueue)]
    assert described and all(event.held.run_count <= 1 for event in described)
    usual = Node().following().say(replace(WELCOME, version=2, limits=LIMITS), session=0)
    assert max(e.held.run_count for e in usual.sent if isinstance(e, SubscribeQueue)) == 2


@pytest.mark.parametrize(
    ("hello", "whose"),
    [(HELLO, "this node is 4"), (replace(HELLO, version_max=2, limits=FEW_QUEUES), "backup 'peer' is 3")],
)
def test_no_queue_is_declared_that_a_member_could_not_take(hello: Hello, whose: str) -> None:
    node = Node().promoted().say(hello, session=0)
    with pytest.raises(CallerError, match=f"queues_max of {whose}"):
        for n in range(9):
            node.replica.declare(UUID(int=1000 + n), QueueSpec(name=f"q{n}"))
    node.perform()
    node.check()


def test_whoever_says_no_hello_is_not_welcome() -> None:
    assert refused(Node().promoted().say(Subscribe(epoch=NEW, stored_generation=2, queues=0)), "before Hello")


def test_a_certificate_must_name_the_node() -> None:
    node = Node().promoted()
    node.replica.link_opened(LINK, identity=frozenset({"somebody"}))
    assert refused(node.say(HELLO, session=0), "the certificate of backup 'peer' is for somebody")


def test_a_second_process_with_the_same_node_id_is_sent_away() -> None:
    """T40. The first one keeps its session."""
    node = Node().promoted().say(HELLO, session=0)
    node.replica.link_opened(LINK + 1)
    node.replica.received(LINK + 1, Frame(2, 0, replace(HELLO, boot=NEW)), 0.0)
    node.perform()
    assert isinstance(node.sent[-1], Refused)
    assert node.sent[-1].code == TAKEN_OVER
    both = f"'peer': process {PEER_BOOT} is connected, process {NEW} was refused"
    assert CloseLink(LINK + 1, f"two processes have the node id {both}") in node.notices
    assert DuplicateNodeId("peer", connected=PEER_BOOT, refused=NEW) in node.notices
    assert node.replica.primary is not None
    assert set(node.replica.primary.sessions) == {LINK}


def test_what_a_backup_says_when_it_gives_up_is_told_on_the_primary() -> None:
    node = Node().promoted().say(HELLO, session=0).say(subscribe(0))
    node.say(Refused(code=3, reason="frame: length 9 exceeds the limit of 8 bytes"), session=0)
    assert RefusedByBackup("peer", "frame: length 9 exceeds the limit of 8 bytes") in node.notices
    assert CloseLink(LINK, "refused: frame: length 9 exceeds the limit of 8 bytes") in node.notices
    assert not isinstance(node.sent[-1], Refused)
    assert node.replica.primary is not None
    assert not node.replica.primary.sessions


def test_a_newer_link_of_the_same_process_replaces_the_older() -> None:
    """Its end of the older may be gone without a word: half-open."""
    node = Node().promoted().say(HELLO, session=0)
    node.replica.link_opened(LINK + 1)
    node.replica.received(LINK + 1, Frame(2, 0, HELLO), 0.0)
    node.perform()
    assert isinstance(node.sent[-1], Welcome)
    assert CloseLink(LINK, "replaced by a newer link") in node.notices
    assert node.replica.primary is not None
    assert set(node.replica.primary.sessions) == {LINK + 1}


def test_a_backup_that_is_spoken_to_says_once_that_it_is_no_primary() -> None:
    """Not in answer to a refusal: two such nodes would go on for ever."""
    node = Node()
    node.replica.link_opened(LINK)
    node.say(Refused(code=16, reason="you is joining"), session=0)
    assert node.sent == []
    assert refused(node.say(HELLO, session=0), "me is joining")


def test_a_backup_that_saw_a_later_generation_makes_the_primary_ask() -> None:
    """F6: it does not step down on a peer's word."""
    for event in (Fenced(generation=9), replace(subscribe(1), stored_generation=9)):
        node = Node().promoted().say(HELLO, session=0).say(event)
        assert node.closed
        assert node.replica.role is Role.RECOVERING
        assert FencedByPeer(9) in node.notices


# --- to a primary: subscribing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([subscribe(1), held((1, 3)), held((4, 6))], "SubscribeQueue while STREAMING"),
        ([subscribe(3), held((1, 3)), held((3, 6))], "not ascending"),
        ([subscribe(9), *(held(queue=UUID(int=n)) for n in range(5))], "more than 4 queues"),
        ([subscribe(0), subscribe(0)], "which is not new"),
        ([subscribe(1), Progress(chunks=1)], "Progress of 1 chunks, 0 were sent"),
        ([subscribe(0), Acknowledged(position=77)], "Acknowledged 77"),
        ([subscribe(0), Progress(chunks=1), Acknowledged(position=0)], "Acknowledged 0"),
        ([subscribe(1), Acknowledged(position=1)], "Acknowledged while SUBSCRIBING"),
    ],
)
def test_a_backup_that_subscribes_in_nonsense(events: list[Event], why: str) -> None:
    node = Node().promoted().say(HELLO, session=0).say(*events)
    assert refused(node, why)
    node.check()


@pytest.mark.parametrize("generation", [2, 4])
def test_what_a_backup_says_in_another_generation_counts_for_nothing(generation: int) -> None:
    """F2: it was said to another primary."""
    node = Node().promoted().say(HELLO, session=0).say(subscribe(0), Progress(chunks=1))
    node.replica.received(LINK, Frame(generation, 1, Acknowledged(position=1)), 0.0)
    node.perform()
    assert refused(node, f"frame of generation {generation}, not 3")
    assert node.replica.role is Role.RECOVERING


def test_what_a_backup_says_in_an_earlier_session_counts_for_nothing() -> None:
    """T19, C3: it subscribed again, and has not acknowledged the new plan."""
    node = Node().promoted().say(HELLO, session=0).say(subscribe(0), Progress(chunks=1))
    node.say(subscribe(0), Progress(chunks=1), session=2)
    node.say(Acknowledged(position=1), session=1)
    assert node.replica.role is Role.RECOVERING
    assert not node.closed
    node.say(Acknowledged(position=1), session=2)
    assert node.replica.role is Role.ACTIVE


def test_a_backup_that_falls_behind_is_told_so_and_not_buffered_for() -> None:
    """C7, L5: the window is full, whoever it is."""
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
    assert [event.ids for event in plan] == [SequenceSet([8])]
    assert isinstance(node.sent[-1], PlanEnd)


def test_a_backup_may_claim_to_hold_every_id_there_is() -> None:
    """More than len() can tell, in twelve bytes. The difference is exact all the same."""
    claim = SubscribeQueue(queue=QUEUE, lineage=(), next=2**64 - 1, held=ALL_IDS)
    node = Node().promoted().say(HELLO, session=0).say(subscribe(1), claim, Progress(chunks=1))
    assert not node.closed
    assert node.replica.primary is not None
    assert node.replica.primary.sessions[LINK].resync.dropped == ALL_IDS.count()


def test_established_is_said_to_those_who_follow_already() -> None:
    """The others hear it when they do."""
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


def test_a_copy_that_was_interrupted_goes_on_behind_what_is_copied() -> None:
    """One chunk is under way at most here; a queue that was copied is not looked at again."""
    small = replace(SETTINGS, plan_chunks_in_flight_max=1)
    node = Node(small).promoted()
    node.replica.enqueue(OTHER, messages(SequenceSet([(1, 4)])))
    node.say(HELLO, session=0).say(subscribe(0))
    chunks = 0
    while not isinstance(node.sent[-1], PlanEnd):
        assert chunks < 20
        chunks += 1
        node.say(Progress(chunks=chunks))
    sent = [(event.queue, id) for event in node.sent if isinstance(event, PlanMessages) for id in event.ids]
    assert sent == [(QUEUE, id) for id in (1, 2, 3, 4, 5, 6, 8, 9)] + [(OTHER, id) for id in range(1, 5)]


def test_a_batch_with_more_holes_than_a_frame_can_name_is_cut() -> None:
    queue = Node().replica.queues[QUEUE]
    queue.remove(SequenceSet([2, 4]))
    cut = list(stored_pieces(queue, queue.held, 2))
    assert [ids for ids, _ in cut] == [SequenceSet([1, 3]), SequenceSet([5, 6, 8, 9])]
    assert [list(batch) for _, batch in cut] == [list(messages(ids)) for ids, _ in cut]


# --- to a backup: the plan -----------------------------------------------------------------------------

PLAN = PlanQueue(queue=QUEUE, spec=SPEC, lineage=((1, 1), (3, 10)), next=10, held=8)
EMPTY = PlanQueue(queue=OTHER, spec=SPEC, lineage=((3, 1),), next=1, held=0)


def backup(*events: Event) -> Node:
    return Node().following().say(WELCOME, session=0).say(*events)


def test_only_the_recorded_generation_is_followed() -> None:
    """F6: a peer that claims a higher one is not believed; the record is asked."""
    node = Node().following()
    node.replica.received(LINK, Frame(GENERATION + 1, 0, WELCOME), 0.0)
    node.perform()
    assert node.closed
    assert not any(isinstance(event, Subscribe) for event in node.sent)
    assert UnrecordedPrimary("peer", 4) in node.notices


def test_a_primary_says_welcome_first_and_is_the_one_that_was_wanted() -> None:
    assert refused(Node().following().say(PLAN, session=0), "PlanQueue before Welcome")
    assert refused(Node().following().say(replace(WELCOME, node="other"), session=0), "this is 'other'")


def test_the_primary_of_another_cluster_is_not_followed() -> None:
    """D7: the record and the primary agree, this store is in the wrong place."""
    node = Node()
    node.replica.state.cluster = NEW
    assert refused(node.following().say(WELCOME, session=0), f"this store of {NEW}")


def chunk(*ids: int, generation: int = 3) -> PlanMessages:
    wanted = SequenceSet(ids)
    return PlanMessages(queue=QUEUE, generation_of=generation, ids=wanted, batch=messages(wanted))


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([replace(PLAN, queue=UUID(int=n)) for n in range(5)], "more than 4 queues"),
        ([chunk(10), chunk(10)], "staged twice"),
        ([replace(PLAN, lineage=((1, 1), (3, 20)))], "a lineage up to (3, 20), but next is 10"),
        ([replace(PLAN, lineage=((4, 1),))], "a lineage up to (4, 1), but next is 10"),
        ([Operations(first=2, operations=((SkipIds(queue=QUEUE, first=10, last=10),),))], "while STAGING"),
    ],
)
def test_a_primary_that_plans_in_nonsense(events: list[Event], why: str) -> None:
    node = backup(*events)
    assert refused(node, why)
    assert node.replica.queues[QUEUE].next == 10
    node.check()


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ([Declare(queue=QUEUE, spec=SPEC, lineage=(), next=1)], "declared twice"),
        ([Declare(queue=NEW, spec=SPEC, lineage=((3, 9),), next=1)], "a lineage up to (3, 9)"),
        ([Enqueue(queue=QUEUE, first=11, batch=Batch.pack([b"x"]))], "id 11 was given out, but next is 10"),
        ([SkipIds(queue=QUEUE, first=12, last=13)], "skipped from 12, but next is 10"),
        ([Dequeue(queue=NEW, ids=SequenceSet([1]))], "unknown queue"),
        (
            [
                Dequeue(queue=QUEUE, ids=SequenceSet([15])),
                Enqueue(queue=QUEUE, first=10, batch=Batch.pack([b"x"])),
            ],
            "id 10 was given out, but next is 16",
        ),
    ],
)
def test_a_primary_that_operates_in_nonsense(operation: Operation, why: str) -> None:
    """The first operation of the frame was right: it is not applied either."""
    right = (SkipIds(queue=OTHER, first=1, last=3),)
    node = backup(PLAN, EMPTY, PlanEnd(position=4, queues=2))
    node.say(Operations(first=5, operations=(right, tuple(operation))))
    assert refused(node, why)
    assert node.replica.queues[OTHER].next == 1
    node.check()


def test_operations_out_of_order_are_refused() -> None:
    node = backup(PLAN, EMPTY, PlanEnd(position=4, queues=2))
    node.say(Operations(first=6, operations=((SkipIds(queue=OTHER, first=1, last=3),),)))
    assert refused(node, "operation 6 after 4")


def test_acknowledgements_of_one_turn_become_one() -> None:
    """They are cumulative: only the last says anything."""
    node = backup(PLAN, EMPTY, PlanEnd(position=4, queues=2))
    node.sent.clear()
    for position in (5, 6, 7):
        dequeue = Dequeue(queue=QUEUE, ids=SequenceSet([position]))
        operations = Operations(first=position, operations=((dequeue,),))
        node.replica.received(LINK, Frame(GENERATION, 1, operations), 0.0)
    node.perform()
    assert node.sent == [Acknowledged(position=7)]
    node.check()


def test_an_acknowledgement_replaces_nothing_else() -> None:
    """A staged chunk and the flip in one turn: flow control, then the acknowledgement."""
    node = backup()
    node.sent.clear()
    for event in (chunk(10), replace(PLAN, next=11, held=9), EMPTY, PlanEnd(position=4, queues=2)):
        node.replica.received(LINK, Frame(GENERATION, 1, event), 0.0)
    node.perform()
    assert node.sent == [Progress(chunks=1), Acknowledged(position=4)]


def test_a_primary_has_no_link_to_a_primary() -> None:
    """It won the promotion while the link was being opened."""
    node = Node().promoted()
    node.replica.link_opened(LINK + 1, to="peer")
    node.perform()
    assert node.notices[-1] == CloseLink(LINK + 1, "not a backup")


def test_a_session_that_breaks_the_protocol_is_named() -> None:
    session = BackupSession(LINK, "peer", NEW, SETTINGS)
    with pytest.raises(RemoteProtocolError, match="not new"):
        session.subscribe(0, subscribe(0))
