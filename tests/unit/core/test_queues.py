"""All queues of one node: each is made of the class that its kind needs, new ones and those of a store alike."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from qpidha.core.indexed import IndexedQueue
from qpidha.core.keyed import CONFIGURATION, TABLE, ConfigurationQueue, KeyedQueue
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.errors import ArgumentError
from qpidha.journal import QueueImage
from qpidha.seq import SequenceSet
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch
from tests.unit.core.test_indexed import Sizes

QUEUE = UUID(int=7)
HELD = [(SequenceSet([2, 4]), Batch.pack([b"1", b"22"], props=[b"a", b"b"]))]


def queues() -> Queues:
    return Queues({"sized": lambda spec: Sizes()})


def test_the_kind_says_which_class_a_queue_is_of() -> None:
    classes = {
        "fifo": ReplicatedQueue, TABLE: KeyedQueue, CONFIGURATION: ConfigurationQueue, "sized": IndexedQueue,
    }  # fmt: skip
    for kind, cls in classes.items():
        assert type(queues().make(QUEUE, QueueSpec(name="x", kind=kind), (), 1)) is cls


def test_a_queue_that_is_made_is_not_among_the_queues_yet() -> None:
    some = queues()
    some.make(QUEUE, QueueSpec(name="x"), (), 1)
    assert not some


def test_a_table_is_loaded_as_the_store_has_it_and_nothing_has_changed() -> None:
    some = queues()
    some[QUEUE] = some.load(QueueImage(QUEUE, QueueSpec(name="t", kind=TABLE), ((1, 1),), 9, HELD))
    loaded = some[QUEUE]
    assert isinstance(loaded, KeyedQueue)
    assert (loaded.get(b"b"), loaded.next, loaded.take_touched()) == (b"22", 9, ())


def test_a_queue_is_loaded_with_its_index() -> None:
    some = queues()
    some[QUEUE] = some.load(QueueImage(QUEUE, QueueSpec(name="q", kind="sized"), ((1, 1),), 9, HELD))
    loaded = some[QUEUE]
    assert isinstance(loaded, IndexedQueue) and isinstance(loaded.index, Sizes)
    assert (loaded.index.sizes, loaded.index.nbytes) == ({2: 1, 4: 2}, 3)


class Name(str, Enum):
    """Equal to a text, with another hash."""

    X = "x"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"queue": str(QUEUE)}, "queue must be a UUID"),
        ({"spec": QueueSpec(name=Name.X)}, "queue name must be text"),
        ({"lineage": [(1, 1)]}, "lineage must be a tuple"),
        ({"next": None}, "next must be an integer"),
        ({"next": 0}, "next must be an integer from 1"),
        ({"held": iter(HELD)}, "held must be a sequence"),
    ],
)
def test_what_a_store_gives_is_checked(wrong: dict[str, Any], said: str) -> None:
    """Each of these would end a node later, or hide messages."""
    image = replace(QueueImage(QUEUE, QueueSpec(name="x"), ((1, 1),), 9, HELD), **wrong)
    with pytest.raises(ArgumentError, match=said):
        queues().load(image)


def test_without_types_no_queue_has_an_index() -> None:
    assert type(Queues().make(QUEUE, QueueSpec(name="x", kind="sized"), (), 1)) is ReplicatedQueue
