"""A commit on a primary: one operation of all its steps, or an error and nothing at all (TX1, TX4, Q1–Q3, U1, U6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import ID_MAX, birth_of
from qpidha.core.configuration import object_key, queue_object
from qpidha.core.keyed import CONFIGURATION, TABLE, KeyedQueue
from qpidha.core.steps import (
    Accept,
    Committed,
    DeclareQueue,
    DeleteQueue,
    Erase,
    Move,
    Publish,
    Put,
    Step,
    Update,
)
from qpidha.errors import ArgumentError, CallerError, MessagesGone, UnknownQueue
from qpidha.types import MESSAGE_ID_MAX, Level, QueueSpec
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue, Operation, Operations
from tests.support.cores import GENERATION, OTHER, QUEUE, SETTINGS, Node

ONE = Batch.pack([b"one"])
GONE = UUID(int=99)


def primary(**settings: Any) -> Node:
    node = Node(replace(SETTINGS, **settings)).promoted()
    node.perform()
    return node


def commit(node: Node, *steps: Step) -> tuple[Committed, Operation]:
    """The commit, and the one operation that it is."""
    core = node.replica.primary
    assert core is not None
    before = core.position
    made = node.replica.commit(steps)
    assert made.position == core.position == before + 1
    assert len(made.made) == len(steps)
    return made, core._unsealed[-1]


def refused(node: Node, steps: Sequence[Step], error: type[Exception], why: str) -> None:
    """Nothing is stored or sent."""
    core = node.replica.primary
    assert core is not None
    before = {q.queue: (q.next, list(q.held.runs())) for q in node.replica.queues.values()}
    position = core.position
    with pytest.raises(error, match=why):
        node.replica.commit(steps)
    assert core.position == position
    assert {q.queue: (q.next, list(q.held.runs())) for q in node.replica.queues.values()} == before
    node.check()


def content(node: Node, queue: UUID) -> dict[int, bytes]:
    q = node.replica.queues[queue]
    return {i: d for ids, piece in q.select(q.held) for i, d in zip(ids, piece, strict=True)}


def objects(node: Node) -> KeyedQueue:
    found = node.replica.state.configuration
    assert found is not None
    return found


# --- queues and objects --------------------------------------------------------------------------


def test_a_declaration_is_one_operation_with_its_object_and_its_uuid_is_its_birth() -> None:
    node = primary()
    next = objects(node).next
    made, operation = commit(node, DeclareQueue(QueueSpec(name="new", kind="ring"), b"args"))
    assert [type(part) for part in operation] == [Enqueue, Declare]
    queue = made.made[0].queue
    assert queue is not None and birth_of(queue) == (GENERATION, next)
    found = queue_object(objects(node), "new")
    assert found is not None and (found.queue, found.arguments, found.spec.kind) == (queue, b"args", "ring")
    assert node.replica.queues[queue].lineage == ((GENERATION, 1),)
    node.check()


def test_a_queue_without_messages_is_an_object_only() -> None:
    node = primary()
    before = set(node.replica.queues)
    made, operation = commit(node, DeclareQueue(QueueSpec(name="new"), level=Level.CONFIGURATION))
    assert [type(part) for part in operation] == [Enqueue]
    assert set(node.replica.queues) == before
    found = queue_object(objects(node), "new")
    assert found is not None and (found.queue, found.level) == (made.made[0].queue, Level.CONFIGURATION)


def test_a_deletion_is_one_operation_with_its_object() -> None:
    node = primary()
    _, operation = commit(node, DeleteQueue(QUEUE))
    assert [type(part) for part in operation] == [Dequeue, Drop]
    assert QUEUE not in node.replica.queues and queue_object(objects(node), "full") is None
    refused(node, [Publish((QUEUE,), ONE)], UnknownQueue, "no queue")
    node.check()


def test_what_is_left_in_a_deleted_queue_may_be_moved_first() -> None:
    node = primary()
    _, operation = commit(node, DeleteQueue(QUEUE, OTHER))
    assert [type(part) for part in operation] == [Copy, Dequeue, Dequeue, Drop]
    assert len(content(node, OTHER)) == 8 and QUEUE not in node.replica.queues
    node.check()


def test_a_queue_declared_again_is_another_queue() -> None:
    node = primary()
    first = node.replica.declare(QueueSpec(name="new"))[0]
    node.replica.delete(first)
    second = node.replica.declare(QueueSpec(name="new"))[0]
    assert second != first and node.replica.find("new") == second


def test_each_queue_that_a_commit_declares_is_born_with_its_own_object() -> None:
    """Q3: the uuid is the identity of the object's message, so no two queues share it."""
    node = primary()
    first = objects(node).next
    made, _ = commit(node, *(DeclareQueue(QueueSpec(name=name)) for name in ("a", "b")))
    births = [birth_of(made.declared(step)) for step in (0, 1)]
    assert births == [(GENERATION, first), (GENERATION, first + 1)]
    assert [objects(node).id_of(object_key("queue", name)) for name in ("a", "b")] == [first, first + 1]
    node.check()


def test_a_commit_may_publish_to_the_queue_that_it_declares() -> None:
    node = primary()
    made, operation = commit(node, DeclareQueue(QueueSpec(name="new")), Publish((0, OTHER), ONE))
    assert [type(part) for part in operation] == [Enqueue, Declare, Enqueue, Copy]
    queue = made.made[0].queue
    assert queue is not None and content(node, queue) == {1: b"one"}
    node.check()


def test_a_put_replaces_and_an_erase_removes() -> None:
    node = primary()
    key = object_key("exchange", "orders")
    _, first = commit(node, Put(objects(node).queue, key, b"direct"))
    assert [type(part) for part in first] == [Enqueue]
    _, second = commit(node, Put(objects(node).queue, key, b"topic"))
    assert [type(part) for part in second] == [Enqueue, Dequeue]
    assert objects(node).get(key) == b"topic"
    commit(node, Put(objects(node).queue, key, b"x"), Erase(objects(node).queue, key))
    assert objects(node).get(key) is None
    assert node.replica.primary is not None
    position = node.replica.primary.position
    assert node.replica.commit([Erase(objects(node).queue, key)]).position == position, "nothing to do"
    node.check()


def test_a_table_is_a_queue_with_keys() -> None:
    node = primary()
    table, _ = node.replica.declare(QueueSpec(name="retained", kind=TABLE))
    commit(node, Put(table, b"a", b"1"), Put(table, b"b", b"2"), Put(table, b"a", b"3"))
    found = node.replica.queues[table]
    assert isinstance(found, KeyedQueue) and list(found.items()) == [(b"b", b"2"), (b"a", b"3")]
    for steps in (
        [Publish((table,), ONE)],
        [Accept(table, SequenceSet([1]))],
        [Move(table, SequenceSet([1]), QUEUE)],
    ):
        refused(node, steps, ArgumentError, "is a table")
    for call in (lambda: node.replica.enqueue(table, ONE), lambda: node.replica.skip(table, 1)):
        with pytest.raises(ArgumentError, match="has keys"):
            call()
    node.check()


# --- messages ------------------------------------------------------------------------------------


def test_steps_over_several_queues_are_one_operation() -> None:
    node = primary()
    made, operation = commit(
        node,
        Publish((OTHER,), Batch.pack([b"a", b"b"])),
        Accept(QUEUE, SequenceSet([1])),
        Move(QUEUE, SequenceSet([2]), OTHER),
    )
    assert [type(part) for part in operation] == [Enqueue, Dequeue, Copy, Dequeue]
    assert [list(m.ids) for m in made.made] == [[1, 2], [1], [3]]
    assert list(content(node, QUEUE)) == [3, 4, 5, 6, 8, 9]
    node.check()


@pytest.mark.parametrize(
    "step",
    [
        Accept(QUEUE, SequenceSet([1, 7])),
        Move(QUEUE, SequenceSet([7]), OTHER),
        Update(QUEUE, SequenceSet([6, 7]), (b"", b"")),
    ],
)
def test_a_commit_that_names_a_message_that_is_gone_is_refused_as_a_whole(step: Step) -> None:
    """It does not leave that part out: who committed believes that the message is settled (TX9)."""
    node = primary()
    with pytest.raises(MessagesGone, match=r"messages .*7.* of 'full' are not held any more") as caught:
        node.replica.commit([Publish((OTHER,), ONE), step])
    assert (caught.value.queue, caught.value.ids) == ("full", SequenceSet([7]))
    assert node.replica.still
    node.check()


@pytest.mark.parametrize(
    "key", [object_key("queue", "full"), b"", b"full", b"\x92\x01\x02", b"\x93", object_key("k", "n") + b"x"]
)
def test_only_declarations_and_deletions_change_the_object_of_a_queue(key: bytes) -> None:
    """Else a queue would be without its object on every node (Q2). What is no key of an object is refused as well."""
    node = primary()
    objects = node.replica.state.configuration
    assert objects is not None
    for step in (Put(objects.queue, key, b"x"), Erase(objects.queue, key)):
        with pytest.raises(ArgumentError, match="key must be"):
            node.replica.commit([step])
    assert node.replica.still
    node.check()


def test_a_move_by_itself_ignores_what_is_gone() -> None:
    node = primary()
    made, _ = commit(node, Move(QUEUE, SequenceSet([6, 7]), OTHER, gone_ignored=True))
    assert list(made.made[0].ids) == [1]
    assert node.replica.move(QUEUE, SequenceSet([7, 8]), OTHER)[1] == SequenceSet([2])


def test_an_update_gets_a_new_id_and_keeps_its_place() -> None:
    node = primary()
    made, operation = commit(node, Update(QUEUE, SequenceSet([2, 9]), (b"once", b"twice")))
    assert [type(part) for part in operation] == [Copy, Dequeue]
    assert list(made.made[0].ids) == [10, 11]
    ((_, batch),) = node.replica.queues[QUEUE].select(SequenceSet([10, 11]))
    assert [(batch.props(i), batch.order(i)) for i in range(2)] == [(b"once", 2), (b"twice", 9)]
    node.check()


@pytest.mark.parametrize("second", ["accept", "move", "update"])
@pytest.mark.parametrize("first", ["accept", "move", "update"])
def test_a_message_is_named_by_one_step_of_a_commit(first: str, second: str) -> None:
    """The second step is the caller's mistake, and must not look as if another client had been faster."""
    node = primary()
    node.replica.commit(
        [Update(QUEUE, SequenceSet([2]), (b"before",))]
    )  # It has the id 10 now, and 2 means it, too.
    steps = {
        "accept": lambda id: Accept(QUEUE, SequenceSet([id])),
        "move": lambda id: Move(QUEUE, SequenceSet([id]), OTHER),
        "update": lambda id: Update(QUEUE, SequenceSet([id]), (b"now",)),
    }
    for one, other in ((9, 9), (10, 10), (2, 10), (10, 2), (2, 2)):
        why = rf"messages .*\b{other}\b.* of 'full' are accepted, moved or updated by an earlier call"
        refused(node, [steps[first](one), steps[second](other)], ArgumentError, why)
    refused(node, [steps[first](9), steps[second](99)], CallerError, "never given out")
    node.replica.commit([steps[first](9), steps[second](10)])
    node.check()


def test_an_update_that_no_frame_could_carry_is_refused() -> None:
    node = primary()
    with pytest.raises(ArgumentError, match="with its new props"):
        node.replica.commit(
            [Update(QUEUE, SequenceSet([2]), (bytes(node.replica.settings.frame_bytes_max),))]
        )
    assert node.replica.still


def test_a_large_publish_is_several_parts_of_one_operation() -> None:
    node = primary(
        frame_bytes_max=65_536, message_bytes_max=16_384, plan_chunk_bytes=64, operations_bytes=8_192
    )
    batch = Batch.pack([bytes(15_000)] * 6)
    core = node.replica.primary
    assert core is not None
    made = node.replica.commit([Publish((QUEUE,), batch)])
    assert made.position == core.position and len(made.made[0].ids) == 6
    assert core._unsealed == [], "no frame holds it: the plan of each backup carries it (TX2)"
    node.perform()
    assert not any(isinstance(event, Operations) for event in node.sent)
    node.check()


@pytest.mark.parametrize(
    ("steps", "error", "why"),
    [
        ([Publish((GONE,), ONE)], UnknownQueue, "no queue"),
        ([Publish((3,), ONE)], UnknownQueue, "no queue 3"),
        ([Publish((), ONE)], ArgumentError, "at least one"),
        ([Publish((QUEUE,), ONE), Accept(QUEUE, SequenceSet([10]))], CallerError, "never given out"),
        ([Publish((QUEUE,), ONE), Move(QUEUE, SequenceSet([1]), QUEUE)], ArgumentError, "another queue"),
        ([Publish((QUEUE,), ONE), Update(QUEUE, SequenceSet([7]), (b"",))], CallerError, "not held"),
        ([Update(QUEUE, SequenceSet([1]), ())], ArgumentError, "0 for 1"),
        (
            [Accept(QUEUE, SequenceSet([1])), Update(QUEUE, SequenceSet([1]), (b"",))],
            CallerError,
            "by an earlier",
        ),
        ([DeleteQueue(QUEUE), Publish((QUEUE,), ONE)], UnknownQueue, "deleted by the same commit"),
        (
            [Publish((QUEUE,), ONE), DeleteQueue(QUEUE, OTHER)],
            ArgumentError,
            "the same commit has put messages",
        ),
        ([DeclareQueue(QueueSpec(name="t", kind=TABLE)), DeleteQueue(0, OTHER)], ArgumentError, "is a table"),
        ([DeclareQueue(QueueSpec(name="full"))], CallerError, "exists already"),
        (
            [DeclareQueue(QueueSpec(name="x")), DeclareQueue(QueueSpec(name="x"))],
            CallerError,
            "exists already",
        ),
        (
            [DeclareQueue(QueueSpec(name=f"x{n}")) for n in range(3)],
            CallerError,
            "queues_max of this node is 4",
        ),
        ([DeclareQueue(QueueSpec(name="x", kind=CONFIGURATION))], ArgumentError, "reserved"),
        ([Put(QUEUE, b"k", b"v")], ArgumentError, "has no keys"),
        ([Publish((QUEUE,), Batch.pack([bytes(5000)] * 3))], ArgumentError, "transaction_bytes_max"),
        ("abc", ArgumentError, "steps"),
        ([b"x"], ArgumentError, "step"),
    ],
)
def test_a_commit_that_is_refused_has_stored_nothing(steps: Any, error: type[Exception], why: str) -> None:
    refused(primary(transaction_bytes_max=10_000), steps, error, why)


def test_the_configuration_is_not_deleted() -> None:
    node = primary()
    refused(node, [DeleteQueue(objects(node).queue)], ArgumentError, "cannot be deleted")


def test_ids_that_run_out_refuse_the_whole_commit() -> None:
    node = primary()
    queue = node.replica.queues[QUEUE]
    node.replica.skip(QUEUE, MESSAGE_ID_MAX - queue.next)
    two = Batch.pack([b"1", b"2"])
    refused(node, [Publish((OTHER,), ONE), Publish((QUEUE,), two)], CallerError, "ids left")
    node.replica.enqueue(OTHER, two)
    refused(node, [Move(OTHER, SequenceSet([1, 2]), QUEUE)], CallerError, "ids left")


def test_a_configuration_without_ids_declares_nothing() -> None:
    """The uuid of a queue holds the id of its object in 8 bytes."""
    node = primary()
    objects = node.replica.state.configuration
    assert objects is not None
    objects.skip(ID_MAX)
    with pytest.raises(CallerError, match="no ids left"):
        node.replica.declare(QueueSpec(name="new"))
