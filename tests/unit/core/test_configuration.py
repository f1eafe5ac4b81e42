"""Objects of the configuration: their keys and contents, and the births of queues whose uuids do not tell them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from uuid import UUID

import msgpack
import pytest

from qpidha import Batch
from qpidha.checks import QUEUE_KIND, QUEUE_NAME
from qpidha.core.births import ID_MAX, born
from qpidha.core.configuration import (
    SPEC,
    QueueObject,
    births_of_old_queues,
    check_objects,
    object_key,
    queue_object,
    queue_objects,
    read_key,
)
from qpidha.core.keyed import CONFIGURATION, OBJECTS, KeyedQueue
from qpidha.errors import RemoteProtocolError
from qpidha.types import (
    GENERATION_MAX,
    QUEUE_KIND_BYTES_MAX,
    QUEUE_NAME_BYTES_MAX,
    Level,
    QueueSpec,
    Settle,
)

NEW = QueueObject(queue=born(1, 1), spec=QueueSpec(name="orders", settle=Settle.IMMEDIATE, kind="ring"))
OLD = QueueObject(
    queue=UUID("12345678-1234-4678-9234-567812345678"),
    spec=QueueSpec(name="älter"),
    level=Level.CONFIGURATION,
    arguments=b"\x80",
    birth=(3, 7),
)


def configuration(*objects: QueueObject) -> KeyedQueue:
    made = KeyedQueue(UUID(int=1), SPEC, ((1, 1),), 1)
    made.append(Batch.pack([b"topic"], props=[object_key("exchange", "orders")]))
    for found in objects:
        made.append(Batch.pack([found.encode()], props=[found.key]))
    return made


def test_a_key_names_kind_and_name() -> None:
    assert read_key(object_key("exchange", "topic.orders")) == ("exchange", "topic.orders")
    assert object_key("a", "b.c") != object_key("a.b", "c")


def test_a_queue_object_comes_back_equal() -> None:
    for made in (NEW, OLD):
        assert QueueObject.decode(made.key, made.encode()) == made


def test_queues_are_found_among_other_objects() -> None:
    made = configuration(NEW, OLD)
    assert queue_objects(made) == [NEW, OLD]
    assert queue_object(made, "orders") == NEW
    assert queue_object(made, "unknown") is None


def test_only_old_queues_need_a_birth_of_their_own() -> None:
    assert births_of_old_queues(configuration(NEW, OLD)) == {OLD.queue: (3, 7)}
    assert births_of_old_queues(None) == {}


def test_an_object_whose_uuid_has_not_16_bytes_is_refused() -> None:
    content = msgpack.packb([bytes(15), 1, "fifo", 2, b"", None])
    with pytest.raises(RemoteProtocolError, match="malformed object"):
        check_objects(Batch.pack([content], [object_key("queue", "orders")]))


@pytest.mark.parametrize(
    "birth",
    [
        ["a", "b"],
        [None, None],
        [1.5, 2],
        [True, 1],
        [0, 1],
        [1, 0],
        [2**63, 1],
        [1, 2**63],
        [-1, 1],
        [1],
        [1, 1, 1],
        [],
    ],
)
def test_a_birth_that_is_not_that_of_a_message_is_refused(birth: list[object]) -> None:
    content = msgpack.packb([OLD.queue.bytes, 1, "fifo", 2, b"", birth])
    with pytest.raises(RemoteProtocolError, match="malformed object"):
        check_objects(Batch.pack([content], [object_key("queue", "orders")]))


@pytest.mark.parametrize("birth", [None, (1, 1), (GENERATION_MAX, ID_MAX)])
def test_a_birth_of_a_message_is_accepted(birth: tuple[int, int] | None) -> None:
    made = replace(OLD, level=Level.MESSAGES, birth=birth)
    check_objects(Batch.pack([made.encode()], [made.key]))


@pytest.mark.parametrize(
    ("name", "kind", "accepted"),
    [
        ("n", "", True),
        ("n" * QUEUE_NAME_BYTES_MAX, "k" * QUEUE_KIND_BYTES_MAX, True),
        ("", "fifo", False),
        ("n" * (QUEUE_NAME_BYTES_MAX + 1), "fifo", False),
        ("ä" * (QUEUE_NAME_BYTES_MAX // 2 + 1), "fifo", False),
        ("n", "k" * (QUEUE_KIND_BYTES_MAX + 1), False),
        ("n", "ä" * (QUEUE_KIND_BYTES_MAX // 2 + 1), False),
    ],
    ids=range(7),
)
def test_names_and_kinds_of_queues_are_those_that_a_store_keeps(name: str, kind: str, accepted: bool) -> None:
    spec = QueueSpec(name=name, kind=kind)
    assert (QUEUE_NAME.fits(name) and QUEUE_KIND.fits(kind)) is accepted
    made = QueueObject(queue=born(1, 1), spec=spec)
    with nullcontext() if accepted else pytest.raises(RemoteProtocolError, match="malformed object"):
        check_objects(Batch.pack([made.encode()], [made.key]))


@pytest.mark.parametrize("kind", [CONFIGURATION, OBJECTS])
def test_no_object_declares_another_configuration(kind: str) -> None:
    made = replace(NEW, spec=replace(NEW.spec, kind=kind))
    with pytest.raises(RemoteProtocolError, match="malformed object"):
        check_objects(Batch.pack([made.encode()], [made.key]))


@pytest.mark.parametrize("level", [Level.CONFIGURATION, Level.MESSAGES])
def test_the_level_in_an_object_is_that_of_its_queue(level: Level) -> None:
    made = QueueObject(queue=born(3, 17, level), spec=QueueSpec(name="orders"), level=level)
    assert QueueObject.level_in(made.encode()) is level
    assert QueueObject.decode(made.key, made.encode()) == made
