"""Discarded messages are handed over when nothing can bring them back, and again until they are taken (W2)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from qpidha import Batch, SequenceSet
from qpidha.core.ready import HandOver
from qpidha.journal import Quarantine
from qpidha.types import Fate, QueueSpec
from qpidha.wire.events import Established, PlanEnd, PlanQueue, Resubscribe
from tests.support.cores import OTHER, QUEUE, SETTINGS, WELCOME, Node

GONE = UUID(int=0xA9)


def kept(ids: SequenceSet, queue: UUID = QUEUE, generation: int = 2, *, moved: bool = False) -> Quarantine:
    origins = [(OTHER.bytes, 1, id) for id in ids] if moved else None
    batch = Batch.pack([b"message %d" % id for id in ids], origins=origins)
    return Quarantine(queue, "orders", generation, ids, batch, Fate.REWOUND)


def backup(policy: str) -> Node:
    """A backup with two messages in quarantine that follows a primary which never had them."""
    node = Node(replace(SETTINGS, discard_policy=policy))
    node.replica.quarantined.add(kept(SequenceSet([5, 6]), GONE))
    node.contents.apply([kept(SequenceSet([5, 6]), GONE)])
    plan = PlanQueue(queue=QUEUE, spec=QueueSpec(name="full"), lineage=((1, 1), (3, 10)), next=10, held=8)
    node.following().say(WELCOME, session=0)
    return node.say(
        plan, replace(plan, queue=OTHER, lineage=((3, 1),), held=0), PlanEnd(position=1, queues=2)
    )


def offered(node: Node) -> list[int]:
    return [m.id for notice in node.notices if isinstance(notice, HandOver) for m in notice.messages]


def test_nothing_is_handed_over_before_every_member_follows() -> None:
    node = backup("hand-over")
    assert offered(node) == []
    node.say(Established())
    assert offered(node) == [5, 6]
    node.say(Established())
    assert offered(node) == [5, 6], "it was offered, and there is no answer yet"
    node.replica.hand_over_failed(node.clock)
    node.say(Established())
    assert offered(node) == [5, 6, 5, 6]
    assert len(list(node.contents.shelved())) == 1


def test_messages_that_were_not_taken_are_offered_again_after_a_while() -> None:
    """Even if no other generation ever comes; but not while the history that is followed is not established (W2)."""
    node = backup("hand-over")
    node.say(Established())
    node.replica.hand_over_failed(node.clock)
    node.perform()
    assert offered(node) == [5, 6], "not at once: the broker would most likely fail again"
    node.clock += SETTINGS.discard_retry_s
    node.perform()
    assert offered(node) == [5, 6, 5, 6]
    node.replica.hand_over_failed(node.clock)
    node.say(Resubscribe())
    node.clock += SETTINGS.discard_retry_s
    node.perform()
    assert offered(node) == [5, 6, 5, 6], "it is being planned again"


def test_a_primary_offers_again_too() -> None:
    node = Node().promoted()
    dead = kept(SequenceSet([1]), GONE)
    node.replica.quarantined.add(dead)
    node.contents.apply([dead])
    assert node.replica.primary is not None
    node.replica.primary.membership.recorded(frozenset({node.replica.me}), settled=True)
    node.perform()
    node.replica.hand_over_failed(node.clock)
    node.clock += SETTINGS.discard_retry_s
    node.perform()
    assert offered(node) == [1, 1]


def test_the_policy_drop_erases_discarded_messages() -> None:
    """At the moment when they would be handed over, and not before; the audit record still names them."""
    node = backup("drop")
    assert len(list(node.contents.shelved())) == 1
    node.say(Established())
    assert offered(node) == []
    assert list(node.contents.shelved()) == []


def test_a_primary_releases_what_its_own_history_has_of_an_empty_queue() -> None:
    """All its messages were settled: the queue holds nothing, but its history shows that it gave them out."""
    node = Node().promoted()
    node.replica.enqueue(OTHER, Batch.pack([b"message 1"]))
    node.replica.dequeue(OTHER, SequenceSet([1]))
    settled = kept(SequenceSet([1]), OTHER, 3)
    node.replica.quarantined.add(settled)
    node.contents.apply([settled])
    assert node.replica.primary is not None
    node.replica.primary.membership.recorded(frozenset({node.replica.me}), settled=True)
    node.perform()
    assert offered(node) == []
    assert list(node.contents.shelved()) == []


def test_a_primary_releases_what_its_own_history_has() -> None:
    """Once it is established as primary, its own queues, if they exist, decide about the messages in quarantine."""
    node = Node().promoted()
    alive, dead = kept(SequenceSet([8]), QUEUE, 2), kept(SequenceSet([1]), GONE)
    for change in (alive, dead):
        node.replica.quarantined.add(change)
        node.contents.apply([change])
    assert node.replica.primary is not None
    node.replica.primary.membership.recorded(frozenset({node.replica.me}), settled=True)
    node.perform()
    assert offered(node) == [1]
    assert [shelved.change for shelved in node.contents.shelved()] == [dead]
