"""The core refuses what the wire, a backup or the store would refuse, before anything changes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.replica import Replica
from qpidha.errors import ArgumentError, CallerError, SettingsError, UnknownQueue
from qpidha.journal import StoreImage, StoreStatus
from qpidha.types import MESSAGE_ID_MAX, QueueSpec
from tests.support.cores import BOOT, EPOCH, OTHER, QUEUE, Node

ONE = Batch.pack([b"x"])
NEW = UUID(int=77)
IMAGE = StoreImage(StoreStatus(node="me", epoch=EPOCH))
SMALL = Settings(
    frame_bytes_max=1 << 16,
    message_bytes_max=1 << 15,
    plan_chunk_bytes=1 << 15,
    operations_bytes=1 << 13,
    ids_runs_per_chunk_max=1 << 8,
)


def state(replica: Replica) -> object:
    """The state that a refused call must not change."""
    primary = replica.primary
    assert primary is not None
    queues = {q.queue: (q.next, q.lineage, list(q.held.runs()), q.bytes) for q in replica.queues.values()}
    return primary.position, queues


def test_calls_of_wrong_types_change_nothing() -> None:
    node = Node().promoted()
    call: Any = node.replica
    node.replica.ready(0.0)
    before = state(node.replica)
    for queue in ("q", None, 7, b"q", [QUEUE], {}):
        for ask, given in (
            (call.enqueue, (ONE,)),
            (call.dequeue, (SequenceSet([1]),)),
            (call.skip, (1,)),
            (call.delete, ()),
            (call.move, (SequenceSet([1]), OTHER)),
        ):
            with pytest.raises(UnknownQueue):
                ask(queue, *given)
        with pytest.raises(ArgumentError, match="target"):
            call.move(QUEUE, SequenceSet([1]), queue)
    for ids in (1, [1], None, "1", range(1, 2)):
        with pytest.raises(ArgumentError, match="ids"):
            call.dequeue(QUEUE, ids)
        with pytest.raises(ArgumentError, match="ids"):
            call.move(QUEUE, ids, OTHER)
    for batch in (b"x", [b"x"], None):
        with pytest.raises(ArgumentError, match="batch"):
            call.enqueue(QUEUE, batch)
    for spec in (QueueSpec(name="x", settle=1), QueueSpec(name=""), "x", None):  # type: ignore[arg-type]
        with pytest.raises(ArgumentError):
            call.declare(spec)
    for count in (0, -1, True, 1.0, "1", None, 2**64):
        with pytest.raises(ArgumentError, match="count"):
            call.skip(QUEUE, count)
    with pytest.raises(ArgumentError, match="another queue"):
        call.move(QUEUE, SequenceSet([1]), QUEUE)
    for name in (b"p", None, 7, ""):
        for ask in (call.register, call.forget):
            with pytest.raises(ArgumentError, match="producer"):
                ask(name)
    with pytest.raises(ArgumentError, match="arguments"):
        call.declare(QueueSpec(name="x"), "text")
    with pytest.raises(ArgumentError, match="nodes"):
        call.nodes_gone(["a"])
    with pytest.raises(ArgumentError, match="now"):
        call.performed("1.0")
    assert state(node.replica) == before
    assert not node.replica.ready(0.0).persist
    node.check()


def test_a_batch_that_no_frame_holds_is_refused() -> None:
    """A move sends no content, so it may be as large as it likes."""
    node = Node().promoted()
    limit = node.replica.settings.frame_bytes_max
    large = Batch.pack([bytes(limit * 3 // 4 + 64)])
    with pytest.raises(ArgumentError, match="frame_bytes_max"):
        node.replica.enqueue(QUEUE, large)
    for _ in range(2):
        node.replica.enqueue(QUEUE, Batch.pack([bytes(limit // 2 - 64)]))
    held = node.replica.queues[QUEUE].held
    node.replica.move(QUEUE, held.copy(), OTHER)
    assert not held
    node.check()


def test_the_last_id_is_given_out_and_no_other() -> None:
    """A publish, a gap and a move that need more ids than there are change nothing."""
    node = Node().promoted()
    queue = node.replica.queues[QUEUE]
    node.replica.skip(QUEUE, MESSAGE_ID_MAX - queue.next)
    node.replica.enqueue(OTHER, Batch.pack([b"1", b"2"]))
    source: ReplicatedQueue = node.replica.queues[OTHER]
    moving = SequenceSet([(source.held.last - 1, source.held.last)])
    before = state(node.replica)
    for ask in (
        lambda: node.replica.skip(QUEUE, 2),
        lambda: node.replica.enqueue(QUEUE, Batch.pack([b"1", b"2"])),
        lambda: node.replica.move(OTHER, moving, QUEUE),
    ):
        with pytest.raises(CallerError, match="declare another queue"):
            ask()
    assert state(node.replica) == before
    node.replica.enqueue(QUEUE, ONE)
    assert queue.held.last == MESSAGE_ID_MAX
    with pytest.raises(CallerError, match="declare another queue"):
        node.replica.enqueue(QUEUE, ONE)
    node.check()


def test_a_replica_is_made_of_the_right_parts() -> None:
    call: Any = Replica
    right = {"node": "me", "boot": BOOT, "image": IMAGE}
    for wrong in ({"node": ""}, {"node": 7}):
        with pytest.raises(SettingsError, match="node id"):
            call(**{**right, **wrong})
    for name, value in (("boot", "b"), ("image", None), ("settings", {})):
        with pytest.raises(ArgumentError, match=name):
            call(**{**right, name: value})
    made = call(**right, settings=SMALL)
    assert made.settings is SMALL
    for found_as in (None, "uuid", 7):
        with pytest.raises(ArgumentError, match="found_as"):
            made.promote(found_as=found_as)
