"""Queues whose messages are not replicated: what a node keeps of them, and how they follow their objects (LV1, LV4)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch
from qpidha.core.births import born, own_id
from qpidha.core.configuration import SPEC, QueueObject, object_key
from qpidha.core.keyed import TABLE, KeyedQueue
from qpidha.core.local import LocalQueues
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.core.ready import QueueAdded, QueueRemoved
from qpidha.journal import Audit, DropQueue, PutQueue
from qpidha.types import Level, QueueId, QueueSpec, level_of

SHARED, OWN = born(3, 7, Level.CONFIGURATION), own_id(3, 1)
ONE = Batch.pack([b"1"])


def queue(id: QueueId, name: str = "q", kind: str = "fifo") -> ReplicatedQueue:
    return Queues().make(id, QueueSpec(name=name, kind=kind), ((3, 1),), 1)


def local_queues(*queues: ReplicatedQueue) -> LocalQueues:
    made = LocalQueues(Queues().make)
    for each in queues:
        made.add(each)
    return made


def objects(*some: QueueObject) -> KeyedQueue:
    made = KeyedQueue(UUID(int=5), SPEC, ((1, 1),), 1)
    for each in some:
        made.append(Batch.pack([each.encode()], props=[each.key]))
    return made


def of(id: QueueId, name: str = "q", kind: str = "fifo") -> QueueObject:
    return QueueObject(queue=id, spec=QueueSpec(name=name, kind=kind), level=level_of(id))


def test_a_queue_is_found_by_its_id_and_by_level_and_name() -> None:
    shared, own = queue(SHARED), queue(OWN)
    local = local_queues(shared, own)
    assert (len(local), local.own, list(local)) == (2, 1, [shared, own])
    assert local[SHARED] is local.get(SHARED) is shared and OWN in local and born(3, 7) not in local
    assert local.named("q", Level.NONE) is own and local.named("q", Level.CONFIGURATION) is shared
    assert local.named("other", Level.NONE) is None and local.get(born(3, 7)) is None
    assert local.drop(OWN) is own and (len(local), local.own) == (1, 0)
    assert local.named("q", Level.NONE) is None and local.named("q", Level.CONFIGURATION) is shared
    with pytest.raises(KeyError):
        local.drop(OWN)


def test_a_queue_comes_with_its_object_and_goes_with_it_and_what_it_holds() -> None:
    local, key = local_queues(), object_key("queue", "q")
    (change, notice), *more = local.follow(objects(of(SHARED)), [key, key], 4)
    assert (change, more) == (PutQueue(SHARED, QueueSpec(name="q"), ((4, 1),), 1), [])
    assert notice == QueueAdded(SHARED, QueueSpec(name="q"))
    local[SHARED].append(ONE)
    assert list(local.follow(objects(of(SHARED)), [key], 5)) == [], "a put that changes nothing of the queue"
    assert list(local.follow(objects(), [object_key("queue", "r"), object_key("kind", "q")], 5)) == []
    made = list(local.follow(objects(), [key], 5))
    assert made == [
        (Audit("erased", 5, "q", "with its object: 1 messages"), None),
        (DropQueue(SHARED), QueueRemoved(SHARED)),
    ]
    assert len(local) == 0


def test_a_name_that_means_another_queue_now_ends_the_one_before() -> None:
    other, key = born(3, 9, Level.CONFIGURATION), object_key("queue", "q")
    local = local_queues(queue(SHARED), queue(OWN))
    changes = [change for change, _ in local.follow(objects(of(other, kind=TABLE)), [key], 5)]
    assert changes[1:] == [DropQueue(SHARED), PutQueue(other, QueueSpec(name="q", kind=TABLE), ((5, 1),), 1)]
    assert isinstance(local[other], KeyedQueue) and OWN in local
    changes = [change for change, _ in local.follow(objects(of(born(3, 10))), [key], 5)]
    assert changes[1:] == [DropQueue(other)] and list(local) == [local[OWN]], "the new one is replicated"
