"""The state that the parts of a core share begins with the content of the store, and its generation never falls."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.state import NodeState
from qpidha.errors import InvariantError
from qpidha.journal import QueueImage, StoreImage, StoreStatus
from qpidha.types import Member, QueueSpec, Record, Versioned

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
