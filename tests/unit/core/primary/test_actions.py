"""A commit and those who wait: what it consumes, or publishes, completes with it (TX6, TX7, Q6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.limits import limits_of
from qpidha.core.ready import QueueAdded, QueueRemoved, Safe, Settled
from qpidha.core.replica import Replica
from qpidha.core.steps import Accept, DeclareQueue, DeleteQueue, Publish, Update
from qpidha.journal import DropQueue, Insert, PutQueue, Remove
from qpidha.types import MessageId, Position, QueueId, QueueSpec, Settle
from qpidha.wire.events import Acknowledged, Frame, Progress, Subscribe
from tests.support.cores import GENERATION, HELLO, LINK, OTHER, PEER_EPOCH, QUEUE, SETTINGS, Node

ONE = Batch.pack([b"one"])
ROOM = replace(SETTINGS, window_bytes_max=1 << 20, queues_max=9)


class Primary:
    """A primary whose one backup streams, and acknowledges what the test says."""

    def __init__(self) -> None:
        self.node = Node(ROOM).promoted()
        self.node.say(replace(HELLO, version_max=3, limits=limits_of(ROOM)), session=0)
        self.node.say(Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=0))
        for chunks in (1, 2):
            self.node.replica.received(LINK, Frame(GENERATION, 1, Progress(chunks=chunks)), 0.0)
            self.node.perform()
        self.safe: dict[QueueId, MessageId] = {}
        self.settled: Position = 0
        self.acknowledge(1)

    @property
    def core(self) -> Replica:
        return self.node.replica

    def acknowledge(self, position: Position) -> None:
        self.perform()
        self.core.received(LINK, Frame(GENERATION, 1, Acknowledged(position=position)), 0.0)
        self.perform()

    def perform(self) -> None:
        self.node.clock += 0.1
        for completion in self.core.ready(self.node.clock).complete:
            if isinstance(completion, Safe):
                self.safe[completion.queue] = completion.upto
            elif isinstance(completion, Settled):
                self.settled = completion.upto


@pytest.mark.parametrize("settle", Settle)
def test_a_publish_that_a_commit_consumes_completes_with_the_commit(settle: Settle) -> None:
    """Also with settle immediate: an accept in a commit is always replicated (TX6)."""
    made = Primary()
    queue, declared = made.core.declare(QueueSpec(name="q", settle=settle))
    published, ids = made.core.enqueue(queue, ONE)
    committed = made.core.commit([Accept(queue, ids), Publish((OTHER,), ONE)]).position
    assert (declared, published, committed) == (2, 3, 4)
    made.acknowledge(published)
    assert queue not in made.safe
    made.acknowledge(committed)
    assert made.safe[queue] == 1


def test_an_immediate_accept_does_not_complete_the_commit_that_published() -> None:
    """The consumer is confirmed; the commit has other effects (TX7)."""
    made = Primary()
    queue, declared = made.core.declare(QueueSpec(name="q", settle=Settle.IMMEDIATE))
    made.acknowledge(declared)
    committed = made.core.commit([Publish((queue,), ONE), Publish((OTHER,), ONE)])
    made.core.dequeue(queue, committed.made[0].ids)
    made.perform()
    assert queue not in made.safe
    made.acknowledge(committed.position)
    assert made.safe[queue] == 1 and made.settled == committed.position


def test_an_immediate_accept_completes_a_publish_of_its_own() -> None:
    made = Primary()
    queue, declared = made.core.declare(QueueSpec(name="q", settle=Settle.IMMEDIATE))
    made.acknowledge(declared)
    _, ids = made.core.enqueue(queue, ONE)
    made.core.dequeue(queue, ids)
    made.perform()
    assert made.safe[queue] == 1


def test_an_update_completes_no_publish_that_is_pending() -> None:
    """U3: it keeps its own position, and waits for the message that replaced its own."""
    made = Primary()
    published, ids = made.core.enqueue(OTHER, ONE)
    updated = made.core.commit([Update(OTHER, ids, (b"again",))])
    made.acknowledge(published)
    assert OTHER not in made.safe
    made.acknowledge(updated.position)
    assert made.safe[OTHER] == 2


def test_a_publish_whose_updated_message_is_accepted_completes_with_the_accept() -> None:
    """U3: the accept is of the successor, and the publish is found by it."""
    made = Primary()
    _, ids = made.core.enqueue(OTHER, ONE)
    updated = made.core.commit([Update(OTHER, ids, (b"again",))])
    accepted, _ = made.core.dequeue(OTHER, updated.made[0].ids)
    made.acknowledge(updated.position)
    assert OTHER not in made.safe
    made.acknowledge(accepted)
    assert made.safe[OTHER] == 2


def test_what_is_pending_in_a_deleted_queue_completes_at_its_own_position() -> None:
    """Q6: a deletion completes nothing."""
    made = Primary()
    published, _ = made.core.enqueue(OTHER, ONE)
    deleted = made.core.delete(OTHER)
    made.perform()
    assert OTHER not in made.safe
    made.acknowledge(published)
    assert made.safe[OTHER] == 1 and made.settled == published < deleted


def test_a_commit_is_one_list_of_changes_in_the_order_of_its_steps() -> None:
    made = Primary()
    made.core.commit([DeclareQueue(QueueSpec(name="new")), Publish((0,), ONE), DeleteQueue(OTHER)])
    ready = made.core.ready(9.0)
    kinds = [type(change) for change in ready.persist]
    assert kinds == [Insert, PutQueue, Insert, Remove, DropQueue]
    assert [type(n) for n in ready.notify if isinstance(n, (QueueAdded, QueueRemoved))] == [
        QueueAdded,
        QueueRemoved,
    ]


def test_accepts_of_a_commit_are_gone_at_once() -> None:
    made = Primary()
    made.core.commit([Accept(QUEUE, SequenceSet([(1, 6), (8, 9)])), Publish((OTHER,), ONE)])
    assert not made.core.queues[QUEUE].held
