"""Queue listeners: told everything once and in order, cut off when they raise, asked for again when that is wanted."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import Inserted, Removed
from qpidha.node.listeners import Listeners
from qpidha.node.runtime import Runtime
from qpidha.types import QueueId, QueueSpec

QUEUE = UUID(int=1)


class Broker:
    """Follows every queue, and fails at one message if it is told to."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[int]]] = []
        self.fails_at: int | None = None
        self.asked = 0
        self.follows = True

    def on_queue(self, queue: QueueId, spec: QueueSpec) -> Any:
        self.asked += 1
        return self if self.follows else None

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        if self.fails_at is not None and self.fails_at in ids:
            raise RuntimeError("cannot take it")
        self.told.append(("inserted", list(ids)))

    def removed(self, ids: SequenceSet) -> None:
        self.told.append(("removed", list(ids)))


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def queue() -> ReplicatedQueue:
    made = ReplicatedQueue(QUEUE, QueueSpec(name="q"), ((1, 1),), 1)
    made.append(Batch.pack([b"1", b"2"]))
    made.append(Batch.pack([b"3"]))
    return made


def listening(broker: object, queue: ReplicatedQueue) -> tuple[Listeners, Runtime]:
    runtime = Runtime("a", Settings(), None)
    runtime.replica.state.queues[queue.queue] = queue
    return Listeners(runtime, broker), runtime


def load(listeners: Listeners, queue: ReplicatedQueue) -> None:
    for _ in listeners.load(queue):
        pass


def test_content_of_before_is_told_first_then_what_changes(broker: Broker, queue: ReplicatedQueue) -> None:
    listeners, _ = listening(broker, queue)
    load(listeners, queue)
    listeners.changed(Removed(QUEUE, SequenceSet([1])))
    listeners.changed(Inserted(QUEUE, SequenceSet([4]), Batch.pack([b"4"])))
    assert broker.told == [("inserted", [1, 2]), ("inserted", [3]), ("removed", [1]), ("inserted", [4])]


def test_a_queue_that_is_not_followed_costs_nothing(broker: Broker, queue: ReplicatedQueue) -> None:
    broker.follows = False
    listeners, _ = listening(broker, queue)
    load(listeners, queue)
    listeners.changed(Removed(QUEUE, SequenceSet([1])))
    assert broker.told == []


def test_a_broker_without_listeners_is_not_asked(queue: ReplicatedQueue) -> None:
    listeners, runtime = listening(object(), queue)
    load(listeners, queue)
    assert runtime.troubles.standing() == []


def test_a_listener_that_raises_is_cut_off_and_reported(broker: Broker, queue: ReplicatedQueue) -> None:
    broker.fails_at = 3
    listeners, runtime = listening(broker, queue)
    load(listeners, queue)
    listeners.changed(Removed(QUEUE, SequenceSet([1])))
    assert broker.told == [("inserted", [1, 2])], "it would miss what it failed at"
    (trouble,) = runtime.troubles.standing()
    assert (trouble.cause, "cannot take it" in trouble.text) == ("listener of queue q", True)


def test_a_renewed_listener_is_told_everything_again(broker: Broker, queue: ReplicatedQueue) -> None:
    broker.fails_at = 3
    listeners, runtime = listening(broker, queue)
    load(listeners, queue)
    broker.fails_at, broker.told = None, []
    assert listeners.renew(queue)
    assert broker.told == [("inserted", [1, 2]), ("inserted", [3])]
    assert runtime.troubles.standing() == []


def test_renewing_what_works_asks_nothing(broker: Broker, queue: ReplicatedQueue) -> None:
    listeners, _ = listening(broker, queue)
    load(listeners, queue)
    assert listeners.renew(queue)
    assert broker.asked == 1


class Ending(Broker):
    """Also wants to know when a queue is gone, and may fail at that."""

    fails_at_the_end = False

    def deleted(self) -> None:
        self.told.append(("deleted", []))
        if self.fails_at_the_end:
            raise RuntimeError("cannot let it go")


def test_the_end_of_a_queue_is_the_last_call_and_told_once(queue: ReplicatedQueue) -> None:
    broker = Ending()
    listeners, _ = listening(broker, queue)
    load(listeners, queue)
    listeners.ended(QUEUE)
    listeners.ended(QUEUE)
    listeners.changed(Removed(QUEUE, SequenceSet([1])))
    assert broker.told == [("inserted", [1, 2]), ("inserted", [3]), ("deleted", [])]


def test_a_listener_without_the_method_is_dropped(broker: Broker, queue: ReplicatedQueue) -> None:
    listeners, _ = listening(broker, queue)
    load(listeners, queue)
    broker.told.clear()
    listeners.ended(QUEUE)
    listeners.changed(Removed(QUEUE, SequenceSet([1])))
    assert broker.told == []


@pytest.mark.parametrize("fails_at", [None, 1])
def test_a_listener_that_fails_at_the_end_or_failed_before_is_no_trouble_any_more(
    queue: ReplicatedQueue, fails_at: int | None
) -> None:
    """One that was cut off is not called: it has missed a change."""
    broker = Ending()
    broker.fails_at, broker.fails_at_the_end = fails_at, True
    listeners, runtime = listening(broker, queue)
    load(listeners, queue)
    broker.told.clear()
    listeners.ended(QUEUE)
    assert runtime.troubles.standing() == []
    assert broker.told == ([] if fails_at else [("deleted", [])])


def test_a_listener_that_fails_at_a_change_of_a_queue_that_the_core_dropped_since_is_cut_off(
    broker: Broker, queue: ReplicatedQueue
) -> None:
    """A publish and the deletion of its queue may come in one batch of effects: the node continues."""
    listeners, runtime = listening(broker, queue)
    load(listeners, queue)
    del runtime.replica.state.queues[QUEUE]
    broker.fails_at = 4
    listeners.changed(Inserted(QUEUE, SequenceSet([4]), Batch.pack([b"4"])))
    assert [trouble.cause for trouble in runtime.troubles.standing()] == ["listener of queue q"]


def test_the_trouble_of_a_queue_that_was_declared_again_stays(queue: ReplicatedQueue) -> None:
    """The primary tells of the new queue at once, and of the deletion when that is durable."""
    broker = Ending()
    broker.fails_at = 1
    listeners, runtime = listening(broker, queue)
    load(listeners, queue)
    again = ReplicatedQueue(UUID(int=2), QueueSpec(name="q"), ((1, 1),), 1)
    again.append(Batch.pack([b"1"]))
    runtime.replica.state.queues[again.queue] = again
    load(listeners, again)
    listeners.ended(QUEUE)
    assert [trouble.cause for trouble in runtime.troubles.standing()] == ["listener of queue q"]
    listeners.ended(again.queue)
    assert runtime.troubles.standing() == []
