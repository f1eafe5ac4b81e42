"""A backup's one link: which primary it follows, and which it does not (C1, C2)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from qpidha.core.limits import limits_of
from qpidha.core.ready import CloseLink
from qpidha.events import UnrecordedPrimary
from qpidha.types import QueueSpec
from qpidha.wire.events import (
    Frame,
    PlanQueue,
    Refused,
    Subscribe,
)
from tests.support.cores import (
    GENERATION,
    HELLO,
    LINK,
    QUEUE,
    SETTINGS,
    WELCOME,
    Node,
)

SPEC = QueueSpec(name="full")


NEW = UUID(int=0xA3)


LIMITS = limits_of(SETTINGS)


def refused(node: Node, why: str) -> bool:
    """The last thing that was sent says why, and the link is closed."""
    last = node.sent[-1]
    assert isinstance(last, Refused)
    assert why in last.reason
    return node.closed


def test_a_backup_refuses_a_primary_that_allows_fewer_queues() -> None:
    small = replace(LIMITS, queues_max=1)
    node = Node().following().say(replace(WELCOME, version=2, limits=small), session=0)
    assert refused(node, "queues_max of primary 'peer' is 1, the store of backup 'me' has 2 queues")


def test_a_backup_answers_a_peer_that_it_is_no_primary() -> None:
    """But it does not answer a refusal: two such nodes would refuse each other for ever."""
    node = Node()
    node.replica.link_opened(LINK)
    node.say(Refused(code=16, reason="you is joining"), session=0)
    assert node.sent == []
    assert refused(node.say(HELLO, session=0), "me is joining")


PLAN = PlanQueue(queue=QUEUE, spec=SPEC, lineage=((1, 1), (3, 10)), next=10, held=8)


def test_only_the_recorded_generation_is_followed() -> None:
    """F6: a peer that claims a higher one is not believed; the record is asked."""
    node = Node().following()
    node.replica.received(LINK, Frame(GENERATION + 1, 0, WELCOME), 0.0)
    node.perform()
    assert node.closed
    assert not any(isinstance(event, Subscribe) for event in node.sent)
    assert UnrecordedPrimary("peer", 4) in node.notices


def test_the_first_frame_must_be_the_welcome_of_the_wanted_primary() -> None:
    assert refused(Node().following().say(PLAN, session=0), "PlanQueue before Welcome")
    assert refused(Node().following().say(replace(WELCOME, node="other"), session=0), "this is 'other'")


def test_the_primary_of_another_cluster_is_not_followed() -> None:
    """D7: the record and the primary agree, so this store is in the wrong cluster."""
    node = Node()
    node.replica.state.cluster = NEW
    assert refused(node.following().say(WELCOME, session=0), f"this store of {NEW}")


def test_a_primary_has_no_link_to_a_primary() -> None:
    """It won the promotion while the link was being opened."""
    node = Node().promoted()
    node.replica.link_opened(LINK + 1, to="peer")
    node.perform()
    assert node.notices[-1] == CloseLink(LINK + 1, "not a backup")
