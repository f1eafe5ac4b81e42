"""The rules of a queue that gives messages to consumers, as `qpidha.queues.FifoQueue` does.

Such a queue orders and gives out the messages of a node's `Queue`; here `MemoryContent` takes its place.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

from qpidha.errors import MessagesGone
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.check import Check, Rules, Runner, Trial
from qpidha.testing.conformance.content import MemoryContent
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


MakeQueue: TypeAlias = Callable[[MemoryContent], Consumable]
"""Makes a queue on this content, as `on_promote` does."""


class QueueBench(Trial):
    """A content, and the queue under trial on it."""

    def __init__(self, make: MakeQueue, **trial: Any) -> None:
        super().__init__(**trial)
        self._make = make
        self.content = MemoryContent()
        self.queue = make(self.content)
        self.calls = self.taken = 0
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
        self.taken += len(ids)
        self.did(f"acquire({messages_max}) = {ids}")
        if got is not None:
            self.true(ids, "at least one message, or None", "an empty set")
            self.same("messages", [self.content.held.get(id) for id in ids], list(got[1]))
        return ids

    def update(self, *ids: int) -> list[int]:
        """Update these messages in the content, and return their new ids."""
        new = list(self.content.update(*ids))
        self.did(f"update {ids} = {new}")
        return new

    def places(self, *ids: int) -> set[int]:
        """The places of these messages: the ids that they had first."""
        return set(self.content.places(SequenceSet(ids)))

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
        self.content.end_turn()


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
    bench.same("ids", [], bench.acquire(0) + bench.acquire(5, 0))
    bench.same("messages left", len(bench.content.held) - bench.taken, len(bench.drain()))


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
def a_hold_follows_its_message_through_updates(bench: QueueBench) -> None:
    """What a consumer has is not given out again when it is updated; an accept by an old id is an accept (U2)."""
    bench.publish(b"a", b"b", b"c", b"d")
    bench.acquire(3)
    [again] = bench.update(*bench.update(2))
    bench.same("ids", [4], bench.drain())
    bench.accept(2)
    bench.same("left in the content", [1, 3, 4], sorted(bench.content.held))
    bench.true(again not in bench.content.held, "no message 2", bench.content.held)


@RULES
def an_updated_message_is_released_at_its_place(bench: QueueBench) -> None:
    """A release by an old id gives the message out again, once, with its present id, where it stood (U2)."""
    bench.publish(b"a", b"b", b"c", b"d")
    bench.acquire(3)
    [now] = bench.update(2)
    bench.release_ids(1, 2, 3)
    bench.same("ids", [1, now, 3, 4], bench.drain())
    [now, last] = bench.update(now, 4)
    bench.release_ids(2, last)
    bench.same("ids", [now, last], bench.drain())


@RULES
def updates_keep_the_order(bench: QueueBench) -> None:
    """Messages that were updated come at their old places, before and after a failover (U1, S4)."""
    bench.publish(b"a", b"b", b"c", b"d", b"e")
    [fourth] = bench.update(4)
    [second] = bench.update(2)
    bench.same("ids", [1, second], bench.acquire(1) + bench.acquire(1))
    [first] = bench.update(1)
    bench.same("ids", [3, fourth, 5], bench.drain())
    bench.another()
    bench.same("ids", [first, second, 3, fourth, 5], bench.drain())


@RULES
def what_was_moved_away_is_not_accepted(bench: QueueBench) -> None:
    """The accept of a message that lives on in another queue is refused, and no other message with it (U2)."""
    bench.publish(b"a", b"b")
    bench.drain()
    bench.did("move 1 away")
    bench.content.move_away(1)
    with bench.raises(MessagesGone, "accept 1, 2"):
        bench.queue.accept(SequenceSet([1, 2]))
    bench.same("left in the content", [2], sorted(bench.content.held))
    bench.release_ids(1, 2)
    bench.same("ids", [2], bench.drain())


@RULES
def random_use_loses_and_repeats_nothing(bench: QueueBench) -> None:
    """Whatever consumers do: each message is free, or with one consumer, or accepted."""
    rng = random.Random(7)
    out: set[int] = set()
    for n in range(400):
        kind = rng.choice(["publish", "acquire", "accept", "release", "update"])
        if kind == "publish":
            bench.publish(*(b"%d.%d" % (n, i) for i in range(rng.randint(1, 4))))
        elif kind == "acquire":
            got = bench.places(*bench.acquire(rng.randint(1, 5)))
            bench.true(not out & got, f"none of {sorted(out)}", sorted(got))
            out |= got
        elif kind == "update" and bench.content.held:
            bench.update(
                *rng.sample(sorted(bench.content.held), rng.randint(1, min(3, len(bench.content.held))))
            )
        elif out:
            some = rng.sample(sorted(out), rng.randint(1, len(out)))
            (bench.accept if kind == "accept" else bench.release_ids)(*some)
            out.difference_update(some)
    free = bench.places(*bench.content.held) - out
    bench.same("places that were free", sorted(free), sorted(bench.places(*bench.drain())))
