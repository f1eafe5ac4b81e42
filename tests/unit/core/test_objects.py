"""Objects of the cluster and of this node alone: where they are found, and what a commit makes of them (LV2, LV4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpidha import Batch
from qpidha.core.births import OWN_OBJECTS, configuration_id
from qpidha.core.configuration import SPEC, object_key
from qpidha.core.keyed import KeyedQueue
from qpidha.core.objects import OWN_SPEC, Objects
from qpidha.core.ready import QueueAdded, Stored
from qpidha.core.replica import Replica
from qpidha.core.steps import (
    DeclareQueue,
    DeleteQueue,
    Erase,
    EraseObject,
    ObjectStep,
    Publish,
    Put,
    PutObject,
    Step,
)
from qpidha.errors import ArgumentError, CallerError, NotEnoughMembers, ObjectMismatch
from qpidha.journal import Insert, PutQueue, Remove
from qpidha.types import Level, QueueSpec, level_of
from tests.support.cores import BOOT, CLUSTER, GENERATION, QUEUE, SETTINGS, Node

X, Y = object_key("exchange", "x"), object_key("exchange", "y")
C = configuration_id(CLUSTER)
NONE, SHARED, MESSAGES = Level.NONE, Level.CONFIGURATION, Level.MESSAGES


def keyed(*entries: tuple[bytes, bytes], own: bool = False) -> KeyedQueue:
    made = KeyedQueue(OWN_OBJECTS if own else C, OWN_SPEC if own else SPEC, ((1, 1),), 1)
    for key, value in entries:
        made.append(Batch.pack([value], props=[key]))
    return made


def primary(**settings: int) -> Node:
    """A primary, with a queue that is not its own."""
    node = Node(replace(SETTINGS, queues_max=9, **settings)).promoted()
    node.work().forget()
    return node


def commit(node: Node, *steps: Step | ObjectStep) -> bool:
    """Make a commit. Returns whether it was about what this node has alone."""
    local = node.replica.commit(steps).local
    node.perform()
    return local


def test_a_name_means_the_object_of_the_cluster_or_else_the_one_of_this_node() -> None:
    cluster, own = keyed((X, b"1")), keyed((X, b"2"), (Y, b"3"), own=True)
    objects = Objects(cluster, own)
    assert [objects.of(key) for key in (X, Y, b"z")] == [cluster, own, None]
    assert objects.get(X) == b"1" and objects.get(X, NONE) == b"2" and objects.get(Y) == b"3"
    assert objects.get(X, MESSAGES) == b"1" and objects.get(X, SHARED) == b"1"
    assert objects.get(Y, MESSAGES) is None and objects.get(b"z", NONE) is None
    assert list(objects.items()) == [(X, b"1"), (Y, b"3")]
    assert list(objects.items(NONE)) == [(X, b"2"), (Y, b"3")]
    assert list(objects.items(SHARED)) == list(objects.items(MESSAGES)) == [(X, b"1")]
    empty = Objects(None, None)
    assert empty.of(X) is None and list(empty.items()) == []


@pytest.mark.parametrize(
    ("level", "default", "there", "queue"),
    [
        (None, MESSAGES, "", C),
        (None, NONE, "", OWN_OBJECTS),
        (None, NONE, "cluster", C),
        (None, MESSAGES, "own", OWN_OBJECTS),
        (None, NONE, "cluster own", C),
        (NONE, MESSAGES, "cluster", OWN_OBJECTS),
        (SHARED, NONE, "own", C),
        (MESSAGES, NONE, "", C),
    ],
)
def test_a_put_goes_to_the_level_that_is_named_or_that_the_object_has(
    level: Level | None, default: Level, there: str, queue: object
) -> None:
    cluster = keyed(*[(X, b"")] * ("cluster" in there))
    own = keyed((X, b""), own=True) if "own" in there else None
    steps = [PutObject(X, b"v", level, default), Publish((C,), Batch.pack([b""]))]
    assert Objects(cluster, own).located(C, steps) == (Put(queue, X, b"v"), steps[1])  # type: ignore[arg-type]
    erased = Objects(cluster, own).located(C, [EraseObject(X, level)])
    expected = queue if level is not None or there else C
    assert erased == (Erase(expected, X),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "step",
    [
        PutObject("x", b""),  # type: ignore[arg-type]
        PutObject(X, "v"),  # type: ignore[arg-type]
        PutObject(X, b"", "none"),  # type: ignore[arg-type]
        PutObject(X, b"", None, "none"),  # type: ignore[arg-type]
        EraseObject([]),  # type: ignore[arg-type]
        EraseObject(X, 0),  # type: ignore[arg-type]
        PutObject(object_key("queue", "q"), b"", NONE),
        PutObject(b"?", b"", NONE),
    ],
    ids=range(8),
)
def test_a_bad_step_is_refused_and_nothing_is_stored(step: ObjectStep) -> None:
    node = primary()
    with pytest.raises(ArgumentError):
        node.replica.commit([step])
    node.perform()
    assert node.persisted == [] and node.replica.queue(OWN_OBJECTS) is None


def test_the_first_own_object_makes_the_queue_that_holds_them_and_nothing_is_sent() -> None:
    """It waits for no member (LV2, LV5)."""
    node = primary()
    assert commit(node, PutObject(X, b"1", NONE))
    assert [type(change) for change in node.persisted[0]] == [PutQueue, Insert]
    assert QueueAdded(OWN_OBJECTS, OWN_SPEC) in node.notices and node.sent == []
    assert node.completed == [Stored(1, GENERATION, frozenset({"me"}))]
    assert commit(node, PutObject(X, b"2"), PutObject(Y, b"3", NONE))
    assert [type(change) for change in node.persisted[1]] == [Insert, Remove, Insert]
    assert list(node.replica.state.objects.items(NONE)) == [(X, b"2"), (Y, b"3")]
    assert commit(node, EraseObject(X)) and commit(node, EraseObject(X, NONE))
    assert not commit(node, EraseObject(X)), "there is none, which the members confirm (Q7)"
    assert node.replica.state.objects.get(X) is None and level_of(OWN_OBJECTS) is NONE
    node.check()


def test_own_objects_are_there_after_a_restart_and_after_a_demotion() -> None:
    node = primary()
    commit(node, PutObject(X, b"1", NONE), PutObject(Y, b"2"))
    image = node.contents.image()
    again = Replica(node="me", boot=BOOT, image=image, settings=SETTINGS)
    assert list(again.state.objects.items(NONE)) == [(X, b"1")]
    assert again.state.objects.own is not None and again.state.objects.own.take_touched() == ()
    node.replica.step_down("a test")
    assert node.replica.state.objects.get(X) == b"1"


def test_a_commit_of_both_levels_has_one_outcome_and_sends_one_of_its_parts() -> None:
    node = primary()
    before = node.replica.primary.position  # type: ignore[union-attr]
    assert not commit(
        node, PutObject(X, b"1", NONE), PutObject(Y, b"2"), Publish((QUEUE,), Batch.pack([b"m"]))
    )
    assert node.replica.primary.position == before + 1  # type: ignore[union-attr]
    changes = [change.queue for change in node.persisted[0] if isinstance(change, Insert)]
    assert changes == [OWN_OBJECTS, C, QUEUE]
    for bad in (DeleteQueue(OWN_OBJECTS), PutObject(Y, b"", NONE), PutObject(X, b"", SHARED)):
        with pytest.raises(CallerError):
            node.replica.commit([PutObject(X, b"never"), PutObject(Y, b"never"), bad])
    assert dict(node.replica.state.objects.items()).items() >= {(X, b"1"), (Y, b"2")}


def test_an_object_has_one_level_until_it_is_deleted() -> None:
    node = primary()
    commit(node, PutObject(X, b"1", NONE), PutObject(Y, b"2"))
    with pytest.raises(ObjectMismatch, match="exists with level NONE; it cannot be put with level MESSAGES"):
        node.replica.commit([PutObject(X, b"", MESSAGES)])
    with pytest.raises(ObjectMismatch, match="exists with level MESSAGES; it cannot be put with level NONE"):
        node.replica.commit([PutObject(Y, b"", NONE)])
    with pytest.raises(ObjectMismatch):
        node.replica.commit([Put(C, X, b"")])
    commit(node, EraseObject(X), PutObject(X, b"3", MESSAGES))
    commit(node, EraseObject(Y), PutObject(Y, b"4", NONE))
    objects = node.replica.state.objects
    assert list(objects.items(NONE)) == [(Y, b"4")] and objects.get(X, SHARED) == b"3"


def test_the_object_of_another_primary_hides_the_one_of_this_node() -> None:
    node = primary()
    commit(node, PutObject(X, b"own", NONE))
    configuration = node.replica.state.configuration
    assert configuration is not None
    configuration.append(Batch.pack([b"theirs"], props=[X]))
    commit(node, PutObject(X, b"new"))
    objects = node.replica.state.objects
    assert objects.get(X) == b"new" and objects.get(X, NONE) == b"own"
    with pytest.raises(ObjectMismatch):
        node.replica.commit([PutObject(X, b"", NONE)])
    assert commit(node, EraseObject(X, NONE)) and objects.get(X) == b"new" and objects.get(X, NONE) is None


def test_own_objects_take_no_name_and_no_place_among_the_queues() -> None:
    node = primary()
    queues = node.replica.settings.queues_max - len(node.replica.message_queues)
    commit(node, PutObject(X, b"1", NONE))
    assert node.replica.find("$objects") is None and len(node.replica.state.local) == 1
    for number in range(queues):
        commit(node, DeclareQueue(QueueSpec(name=f"n{number}"), level=NONE))
    with pytest.raises(CallerError, match="queues_max"):
        commit(node, DeclareQueue(QueueSpec(name="more"), level=NONE))
    assert node.replica.state.local.own == node.replica.state.local.declared == queues


def test_own_objects_are_put_while_there_are_too_few_members() -> None:
    node = primary(min_in_sync=3)
    assert commit(node, PutObject(X, b"1", NONE)) and commit(node, PutObject(X, b"2"))
    with pytest.raises(NotEnoughMembers):
        commit(node, PutObject(X, b"3"), PutObject(Y, b"4"))
    assert node.replica.state.objects.get(X) == b"2"
