"""The rules of a queue that gives messages to consumers, as `qpidha.queues.FifoQueue` does, and of a listener.

Such a queue orders and gives out the messages of a node's `Queue`; here a simple content in memory takes the node's
place. A `qpidha.interfaces.QueueListener` keeps another data structure up to date.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from qpidha.interfaces import QueueListener
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.check import Check, Rules, Runner, Trial
from qpidha.wire.batch import Batch


class Consumable(Protocol):
    """The methods of a queue that the checks call: those of `FifoQueue`."""

    def acquire(self, messages_max: int = ..., bytes_max: int = ...) -> tuple[SequenceSet, Batch] | None:
        """Take the next messages, at most this many and this many bytes; None if there are none."""

    def accept(self, ids: SequenceSet) -> object:
        """Dequeue acquired messages."""

    def release(self, ids: SequenceSet) -> None:
        """Give acquired messages back."""

    def on_available(self, callback: Callable[[], None]) -> None:
        """Register a function to call when messages can be acquired."""


class MemoryContent:
    """The methods of a node's `Queue` that a queue type uses (`qpidha.queues.fifo.Content`), without a node."""

    def __init__(self) -> None:
        self.held: dict[int, bytes] = {}
        self.next_id = 1
        self._ends: list[int] = []
        """The last id of each publish: like a store's batches, publishes are read one at a time."""
        self._watchers: list[Callable[[], None]] = []

    def publish(self, *messages: bytes) -> range:
        """Add messages and return their ids."""
        ids = range(self.next_id, self.next_id + len(messages))
        self.held.update(zip(ids, messages, strict=True))
        self.next_id = ids.stop
        self._ends.append(ids.stop - 1)
        for watcher in list(self._watchers):
            watcher()
        return ids

    def read(
        self, first_id: int, *, messages_max: int = 1000, bytes_max: int = 1 << 20
    ) -> tuple[SequenceSet, Batch] | None:
        """Return messages of one publish from this id on, within the limits; None if there are none."""
        taken: list[int] = []
        size = 0
        for id in sorted(id for id in self.held if id >= first_id):
            size += len(self.held[id])
            crosses = taken and bisect_left(self._ends, id) != bisect_left(self._ends, taken[0])
            if len(taken) == messages_max or (taken and size > bytes_max) or crosses:
                break
            taken.append(id)
        return (SequenceSet(taken), Batch.pack([self.held[id] for id in taken])) if taken else None

    def dequeue(self, ids: SequenceSet, /) -> SequenceSet:
        """Remove these messages, and return the ids."""
        for id in ids:
            self.held.pop(id, None)
        return ids

    def on_content(self, callback: Callable[[], None]) -> None:
        """Register a function to call after each publish."""
        self._watchers.append(callback)


MakeQueue: TypeAlias = Callable[[MemoryContent], Consumable]
"""Makes a queue on this content, as `on_promote` does."""


class QueueBench(Trial):
    """A content, and the queue under trial on it."""

    def __init__(self, make: MakeQueue, **trial: Any) -> None:
        super().__init__(**trial)
        self._make = make
        self.content = MemoryContent()
        self.queue = make(self.content)
        self.calls = 0
        self.queue.on_available(self._called)

    def _called(self) -> None:
        self.calls += 1

    def publish(self, *messages: bytes) -> None:
        """Publish messages to the content."""
        self.did(f"publish {len(messages)}")
        self.content.publish(*messages)

    def another(self) -> None:
        """Fail over: make a new queue on the content."""
        self.did("failover")
        self.queue = self._make(self.content)
        self.queue.on_available(self._called)

    def acquire(self, messages_max: int = 1000, bytes_max: int = 1 << 20) -> list[int]:
        """Acquire messages, check their data, and return their ids."""
        got = self.queue.acquire(messages_max, bytes_max)
        ids = [] if got is None else list(got[0])
        self.did(f"acquire({messages_max}) = {ids}")
        if got is not None:
            self.true(ids, "at least one message, or None", "an empty set")
            self.same("messages", [self.content.held.get(id) for id in ids], list(got[1]))
        return ids

    def drain(self) -> list[int]:
        """Acquire until there are no more messages, and return their ids."""
        ids: list[int] = []
        while got := self.acquire():
            ids += got
            self.true(len(ids) <= 10_000, "an end", "messages without end")
        return ids

    def accept(self, *ids: int) -> None:
        """Accept these messages."""
        self.did(f"accept {ids}")
        self.queue.accept(SequenceSet(sorted(ids)))

    def release_ids(self, *ids: int) -> None:
        """Release these messages."""
        self.did(f"release {ids}")
        self.queue.release(SequenceSet(sorted(ids)))


RULES = Rules[QueueBench]("Queue")


def queue_checks(
    make: MakeQueue, *, runner: Runner = asyncio.run, without: Iterable[str] = ()
) -> list[Check[QueueBench]]:
    """Return one check for each rule of a queue that is first in, first out.

    Args:
        make: The queue on this content, as `on_promote` makes it.
        runner: Runs the check.
        without: Names of checks to leave out: those about order, for a queue that has another one.
    """
    return RULES.checks(lambda **trial: QueueBench(make, **trial), runner=runner, without=without)


@RULES
def messages_come_in_the_order_of_the_publishes(bench: QueueBench) -> None:
    """Messages are given out in the order of their ids, each with its own data."""
    for n in range(5):
        bench.publish(*(b"%d.%d" % (n, i) for i in range(4)))
    bench.same("ids", list(range(1, 21)), bench.drain())


@RULES
def a_message_has_one_consumer_at_a_time(bench: QueueBench) -> None:
    """What was acquired is not given out again before it is released."""
    bench.publish(b"a", b"b", b"c")
    first = bench.acquire(2)
    bench.publish(b"d")
    bench.same("ids", [1, 2, 3, 4], first + bench.drain())
    bench.same("ids", [], bench.drain())


@RULES
def limits_are_kept(bench: QueueBench) -> None:
    """Acquire gives at most messages_max messages and bytes_max bytes, and one message however large."""
    bench.publish(*(b"x" * 100 for _ in range(10)))
    bench.same("messages", 3, len(bench.acquire(3)))
    bench.true(len(bench.acquire(1000, 250)) <= 2, "at most 2 messages of 100 bytes", bench.done[-1])
    bench.same("messages", 1, len(bench.acquire(1000, 10)))


@RULES
def released_messages_come_again_at_their_place(bench: QueueBench) -> None:
    """What is released is given out again, in order, before what was never given out."""
    bench.publish(*(b"%d" % i for i in range(6)))
    bench.acquire(4)
    bench.release_ids(2, 3)
    bench.same("ids", [2, 3, 5, 6], bench.drain())
    bench.release_ids(1, 2, 3, 4, 5, 6)
    bench.same("ids", [1, 2, 3, 4, 5, 6], bench.drain())


@RULES
def accepted_messages_are_dequeued(bench: QueueBench) -> None:
    """Accept dequeues just these messages, in any order; releasing them later brings nothing back."""
    bench.publish(*(b"%d" % i for i in range(4)))
    bench.drain()
    bench.accept(3)
    bench.accept(1, 4)
    bench.same("left in the content", [2], sorted(bench.content.held))
    bench.release_ids(1, 2, 3, 4)
    bench.same("ids", [2], bench.drain())


@RULES
def what_is_gone_is_not_given_out(bench: QueueBench) -> None:
    """Messages that left the queue otherwise (expired, purged) are passed over, also among released ones."""
    bench.publish(*(b"%d" % i for i in range(8)))
    bench.acquire(4)
    bench.release_ids(1, 2, 3)
    bench.did("purge 1, 2, 5, 6")
    bench.content.dequeue(SequenceSet([1, 2, 5, 6]))
    bench.same("ids", [3, 7, 8], bench.drain())


@RULES
def somebody_is_told_when_there_is_something(bench: QueueBench) -> None:
    """on_available calls back after a publish and after a release: no consumer waits for ever."""
    bench.drain()
    steps: tuple[Callable[[], None], ...] = (lambda: bench.publish(b"a"), lambda: bench.release_ids(1))
    for step in steps:
        before = bench.calls
        step()
        bench.true(bench.calls > before, "a call of on_available", "none")
        bench.same("ids", [1], bench.drain())


@RULES
def after_a_failover_all_that_was_not_accepted_comes_again(bench: QueueBench) -> None:
    """A new queue on the same content gives out all of it, in order: acquiring is not replicated."""
    bench.publish(*(b"%d" % i for i in range(6)))
    bench.acquire(4)
    bench.accept(2)
    bench.another()
    bench.same("ids", [1, 3, 4, 5, 6], bench.drain())


@RULES
def random_use_loses_and_repeats_nothing(bench: QueueBench) -> None:
    """Whatever consumers do: each message is free, or with one consumer, or accepted."""
    rng = random.Random(7)
    out: set[int] = set()
    for n in range(400):
        kind = rng.choice(["publish", "acquire", "accept", "release"])
        if kind == "publish":
            bench.publish(*(b"%d.%d" % (n, i) for i in range(rng.randint(1, 4))))
        elif kind == "acquire":
            got = bench.acquire(rng.randint(1, 5))
            bench.true(not out & set(got), f"none of {sorted(out)}", got)
            out.update(got)
        elif out:
            some = rng.sample(sorted(out), rng.randint(1, len(out)))
            (bench.accept if kind == "accept" else bench.release_ids)(*some)
            out.difference_update(some)
    bench.same("ids that were free", sorted(set(bench.content.held) - out), sorted(bench.drain()))


# --- listeners -------------------------------------------------------------------------------------

MakeListener: TypeAlias = "Callable[[], tuple[QueueListener, Callable[[], Sequence[tuple[int, bytes]]]]]"
"""Makes a listener, and a function that returns what its structure holds now: (id, data) in order."""


class ListenerBench(Trial):
    """A listener, and calls of it as a node makes them."""

    def __init__(self, make: MakeListener, **trial: Any) -> None:
        super().__init__(**trial)
        self._listener, self._content = make()
        self._model: dict[int, bytes] = {}

    def insert(self, ids: Sequence[int], label: str = "") -> None:
        """Tell the listener that messages with these ids were inserted."""
        self.did(f"inserted {list(ids)}")
        data = [b"%s%d" % (label.encode(), id) for id in ids]
        self._listener.inserted(SequenceSet(ids), Batch.pack(data))
        self._model.update(zip(ids, data, strict=True))

    def remove(self, *ids: int) -> None:
        """Tell the listener that these messages were removed."""
        self.did(f"removed {ids}")
        self._listener.removed(SequenceSet(sorted(ids)))
        for id in ids:
            self._model.pop(id, None)

    def compare(self) -> None:
        """Check that the structure of the listener holds the messages that were inserted and not removed."""
        self.same("content", sorted(self._model.items()), list(self._content()))


LISTENER_RULES = Rules[ListenerBench]("QueueListener")


def listener_checks(
    make: MakeListener, *, runner: Runner = asyncio.run, without: Iterable[str] = ()
) -> list[Check[ListenerBench]]:
    """Return one check for each rule of `QueueListener`, for a structure in the order of ids."""
    return LISTENER_RULES.checks(lambda **t: ListenerBench(make, **t), runner=runner, without=without)


@LISTENER_RULES
def it_follows_the_end_of_the_queue(bench: ListenerBench) -> None:
    """Inserted messages are there, in order; removed ones are gone, from any place."""
    bench.insert([1, 2, 3])
    bench.insert([4, 7])
    bench.compare()
    bench.remove(2, 7)
    bench.compare()


@LISTENER_RULES
def messages_may_fall_between_others(bench: ListenerBench) -> None:
    """After a resync ids may have holes and fall between those that are there (C6): the id is the place."""
    bench.insert([10, 20, 30])
    bench.insert([5, 15, 25, 35])
    bench.compare()


@LISTENER_RULES
def unknown_ids_are_ignored(bench: ListenerBench) -> None:
    """Removed may name ids that never came, or are gone already."""
    bench.remove(1, 2)
    bench.insert([3, 4])
    bench.remove(1, 3, 99)
    bench.remove(3)
    bench.compare()


@LISTENER_RULES
def an_id_may_come_back_with_other_content(bench: ListenerBench) -> None:
    """A flip takes out what was rewound; another generation gives the same ids to other messages (C5)."""
    bench.insert([1, 2, 3, 4])
    bench.remove(3, 4)
    bench.insert([3, 4, 5], "new ")
    bench.compare()


@LISTENER_RULES
def random_content_is_followed(bench: ListenerBench) -> None:
    """Any sequence of inserts and removes leaves what it should."""
    rng = random.Random(3)
    for n in range(300):
        free = sorted(set(range(60)) - set(bench._model))
        if free and rng.random() < 0.5:
            bench.insert(sorted(rng.sample(free, rng.randint(1, min(4, len(free))))), f"{n}.")
        else:
            bench.remove(*rng.sample(range(60), rng.randint(1, 6)))
    bench.compare()
