"""The state that the parts of a core share begins with the content of the store, and its generation never falls."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.births import born, own_id
from qpidha.core.state import NodeState
from qpidha.errors import InvariantError
from qpidha.journal import QueueImage, StoreImage, StoreStatus
from qpidha.types import Level, Member, QueueSpec, Record, Versioned

CLUSTER, BOOT, EPOCH, QUEUE = (UUID(int=n) for n in range(1, 5))


def state() -> NodeState:
    held = SequenceSet.from_range(1, 2)
    queue = QueueImage(QUEUE, QueueSpec(name="q"), ((2, 1),), 3, [(held, Batch.pack([b"x", b"y"]))])
    image = StoreImage(StoreStatus(node="a", epoch=EPOCH, cluster=CLUSTER, generation=2), [queue])
    return NodeState(node="a", boot=BOOT, image=image, settings=Settings())


def test_the_state_begins_with_what_the_store_holds() -> None:
    made = state()
    assert (made.me, made.cluster, made.generation) == (Member("a", EPOCH), CLUSTER, 2)
    assert list(made.queues[QUEUE].held) == [1, 2]
    assert made.outbox.empty


def test_the_record_is_the_newest_that_was_seen() -> None:
    made = state()
    assert made.record is None
    record = Record(cluster=CLUSTER, generation=2, primary=None, members=frozenset({made.me}))
    made.manager.seen(Versioned(record, 4))
    assert made.record == record


def test_a_generation_may_begin_again_but_never_fall() -> None:
    made = state()
    made.begin_generation(2, CLUSTER)
    made.begin_generation(5, CLUSTER)
    assert made.generation == 5
    with pytest.raises(InvariantError, match="generations never fall"):
        made.begin_generation(4, CLUSTER)


def test_queues_whose_messages_are_not_replicated_are_kept_apart() -> None:
    """So no description, plan or comparison names them (LV1)."""
    kept = [born(2, 7, Level.CONFIGURATION), own_id(2, 1)]
    held = [(SequenceSet([1]), Batch.pack([b"x"]))]
    images = [QueueImage(id, QueueSpec(name="q"), ((2, 1),), 2, held) for id in (QUEUE, *kept)]
    image = StoreImage(StoreStatus(node="a", epoch=EPOCH, cluster=CLUSTER, generation=2), images)
    made = NodeState(node="a", boot=BOOT, image=image, settings=Settings())
    assert list(made.queues) == [QUEUE] and [queue.queue for queue in made.local] == kept
    assert [len(queue) for queue in made.local] == [1, 1] and made.queue_count == 1
    assert made.message_queues == [made.queues[QUEUE]]
    assert [made.find(id) for id in (QUEUE, *kept, own_id(9, 9))] == [made.queues[QUEUE], *made.local, None]
    assert made.histories.of(kept[0]) is None
