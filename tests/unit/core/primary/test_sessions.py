"""The links that peers open to a primary: which peers are accepted, and what costs a peer its link (Z2, C1–C3)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha.core.limits import limits_of
from qpidha.core.ready import CloseLink
from qpidha.core.refusals import TAKEN_OVER
from qpidha.errors import CallerError
from qpidha.events import DuplicateNodeId, FencedByPeer, RefusedByBackup
from qpidha.types import QueueSpec, Role
from qpidha.wire.events import (
    Event,
    Fenced,
    Frame,
    Hello,
    PlanEnd,
    Progress,
    Refused,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from tests.support.cores import (
    BOOT,
    CLUSTER,
    HELLO,
    LINK,
    PEER_BOOT,
    PEER_EPOCH,
    SETTINGS,
    WELCOME,
    Node,
    refused,
)

NEW = UUID(int=0xA3)


LIMITS = limits_of(SETTINGS)


FEW_QUEUES = replace(LIMITS, queues_max=3)


def subscribe(queues: int) -> Subscribe:
    return Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=queues)


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
            replace(HELLO, version_min=6, version_max=9, limits=LIMITS),
            "backup 'peer' speaks protocol versions 6 to 9, primary 'me' 1 to 5",
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
def test_a_wrong_hello_is_refused(hello: Event, why: str) -> None:
    node = Node().promoted().say(hello, session=0)
    assert refused(node, why)
    assert node.replica.primary is not None
    assert not node.replica.primary.sessions


def test_a_peer_of_the_previous_version_gets_a_welcome_of_that_version() -> None:
    """Neither end sends its limits."""
    host = Node().promoted().say(HELLO, session=0)
    assert host.sent[-1] == Welcome(version=1, cluster=CLUSTER, node="me", boot=BOOT)
    host.say(subscribe(0), Progress(chunks=1), Progress(chunks=2))
    assert any(isinstance(event, PlanEnd) for event in host.sent)
    guest = Node().following().say(WELCOME, session=0)
    assert isinstance(guest.sent[-1], SubscribeQueue) and not guest.closed


def test_both_ends_of_version_2_send_their_limits() -> None:
    host = Node().promoted().say(replace(HELLO, version_max=2, limits=LIMITS), session=0)
    assert host.sent[-1] == Welcome(version=2, cluster=CLUSTER, node="me", boot=BOOT, limits=LIMITS)
    guest = Node().following()
    assert guest.sent == [
        Hello(
            version_min=1, version_max=5, cluster=CLUSTER, node="me", boot=BOOT, wanted="peer", limits=LIMITS
        )
    ]


def test_ids_are_sent_in_pieces_that_the_other_end_accepts() -> None:
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
            node.replica.declare(QueueSpec(name=f"q{n}"))
    node.perform()
    node.check()


def test_a_peer_that_sends_no_hello_is_refused() -> None:
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


def test_the_reason_of_a_backup_that_refuses_is_reported_on_the_primary() -> None:
    node = Node().promoted().say(HELLO, session=0).say(subscribe(0))
    node.say(Refused(code=3, reason="frame: length 9 exceeds the limit of 8 bytes"), session=0)
    assert RefusedByBackup("peer", "frame: length 9 exceeds the limit of 8 bytes") in node.notices
    assert CloseLink(LINK, "refused: frame: length 9 exceeds the limit of 8 bytes") in node.notices
    assert not isinstance(node.sent[-1], Refused)
    assert node.replica.primary is not None
    assert not node.replica.primary.sessions


def test_a_newer_link_of_the_same_process_replaces_the_older() -> None:
    """The older link may be half-open: the peer has closed its end, and the primary was not told."""
    node = Node().promoted().say(HELLO, session=0)
    node.replica.link_opened(LINK + 1)
    node.replica.received(LINK + 1, Frame(2, 0, HELLO), 0.0)
    node.perform()
    assert isinstance(node.sent[-1], Welcome)
    assert CloseLink(LINK, "replaced by a newer link") in node.notices
    assert node.replica.primary is not None
    assert set(node.replica.primary.sessions) == {LINK + 1}


def test_a_backup_that_saw_a_later_generation_makes_the_primary_read_the_record() -> None:
    """F6: it does not step down because of what a peer says."""
    for event in (Fenced(generation=9), replace(subscribe(1), stored_generation=9)):
        node = Node().promoted().say(HELLO, session=0).say(event)
        assert node.closed
        assert node.replica.role is Role.RECOVERING
        assert FencedByPeer(9) in node.notices
