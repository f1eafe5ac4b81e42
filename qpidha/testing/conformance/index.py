"""The rules of a `qpidha.core.indexed.QueueIndex`: a pure function of the messages that its queue holds.

The index is told what a node tells it: the bench changes a real queue of the core.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from qpidha.core.indexed import IndexedQueue, QueueIndex
from qpidha.errors import InvariantError
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.check import Check, Rules, Runner, Trial
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch

MakeIndex: TypeAlias = Callable[[QueueSpec], QueueIndex]
"""Makes the index, still empty: the `IndexFactory` under trial."""
View: TypeAlias = Callable[[Any], object]
"""Everything that an index says of its messages, as a value that can be compared."""
DrawProps: TypeAlias = Callable[[random.Random], bytes]
"""Draws the props of a message, as publishers of such a queue send them."""
SPEC = QueueSpec(name="indexed", kind="indexed")
QUEUE = UUID(int=0xA1)
UNREADABLE = [b"\x00", b"\xff" * 9, b"\xc1", "é".encode("latin-1"), b"{", bytes(range(256)) * 4]
"""Props that no publisher of such a queue would send, but a client can."""


class IndexBench(Trial):
    """A queue with the index under trial."""

    def __init__(self, make: MakeIndex, view: View, props: DrawProps, **trial: Any) -> None:
        super().__init__(**trial)
        self._make = make
        self._view = view
        self._props = props
        self.rng = random.Random(5)
        self.queue = self._new()

    def _new(self) -> IndexedQueue:
        return IndexedQueue(QUEUE, SPEC, ((1, 1),), 1, self._make(SPEC))

    def draw(self, count: int) -> list[bytes]:
        """Draw the props of so many messages."""
        return [self._props(self.rng) for _ in range(count)]

    def insert(self, ids: Iterable[int], props: Sequence[bytes] | None = None) -> None:
        """Insert messages with these ids, and with these props or drawn ones."""
        of = SequenceSet(sorted(ids))
        props = self.draw(len(of)) if props is None else props
        data = [b"x" * self.rng.randrange(9) for _ in of]
        self.did(f"inserted {list(of)}")
        self.queue.insert(of, Batch.pack(data, list(props)))

    def update(self, *ids: int) -> None:
        """Replace the props of these messages: new ones take their places, then they go."""
        self.did(f"updated {ids}")
        of = SequenceSet(sorted(ids))
        places = self.queue.places
        kept = [id if places is None else places.of(id) for id in of]
        new = SequenceSet.from_range(self.queue.next, self.queue.next + len(of) - 1)
        self.queue.insert(new, Batch.pack([b"updated"] * len(of), self.draw(len(of)), kept))
        self.queue.remove(of)

    def remove(self, *ids: int) -> None:
        """Remove these messages."""
        self.did(f"removed {ids}")
        self.queue.remove(SequenceSet(sorted(ids)))

    def rewind(self, first: int) -> None:
        """Remove all messages from this id on; the ids are given out again, to other messages."""
        self.did(f"rewound to {first}")
        self.queue.remove(SequenceSet(id for id in self.queue.held if id >= first))
        self.queue.next = first

    @property
    def held(self) -> list[int]:
        """The ids of the messages that are held."""
        return list(self.queue.held)

    def compare(self) -> None:
        """Check that the index is equal to new ones, which got just the messages that are held."""
        try:
            self.queue.check()
        except InvariantError as error:
            self.broken("an index that has all messages", repr(error))
        seen = self._view(self.queue.index)
        for what, batches in (("at once", self._content()), ("one by one", self._one_by_one())):
            fresh = self._new()
            for ids, batch in batches:
                fresh.insert(ids, batch)
            self.same(f"what a new index says that got all {what}", self._view(fresh.index), seen)

    def _content(self) -> list[tuple[SequenceSet, Batch]]:
        pieces = list(self.queue.select(self.queue.held))
        return [(self.queue.held.copy(), Batch.join([batch for _, batch in pieces]))] if pieces else []

    def _one_by_one(self) -> list[tuple[SequenceSet, Batch]]:
        return [
            (SequenceSet([id]), batch.cut(n, n + 1))
            for ids, batch in self._content()
            for n, id in enumerate(ids)
        ]

    def misses(self, ids: SequenceSet, batch: Batch) -> bool:
        """Whether an empty index notices that it lacks these messages."""
        try:
            self._make(SPEC).check(ids, batch)
        except InvariantError:
            return True
        return False


INDEX_RULES = Rules[IndexBench]("QueueIndex")


def index_checks(
    make: MakeIndex,
    view: View,
    props: DrawProps,
    *,
    runner: Runner = asyncio.run,
    without: Iterable[str] = (),
) -> list[Check[IndexBench]]:
    """Return one check for each rule of `QueueIndex`.

    Args:
        make: The index of a queue, still empty.
        view: Everything that the index says of its messages, as a value that can be compared. Leave out what depends on
            more than the messages, for instance what a consumer was told.
        props: Draws the props of a message: all kinds that make a difference to the index.
        runner: Runs the check.
        without: Names of checks to leave out.
    """
    return INDEX_RULES.checks(
        lambda **trial: IndexBench(make, view, props, **trial), runner=runner, without=without
    )


@INDEX_RULES
def messages_are_indexed_in_any_cut(bench: IndexBench) -> None:
    """Messages of one batch and of many, at consecutive ids or not, leave the same index."""
    bench.insert(range(1, 30))
    bench.insert([31, 35, 36, 90])
    for id in range(100, 110):
        bench.insert([id])
    bench.compare()


@INDEX_RULES
def what_is_gone_leaves_nothing(bench: IndexBench) -> None:
    """An index whose messages were all removed is equal to a new one."""
    bench.insert(range(1, 40))
    bench.update(*range(5, 15))
    bench.remove(*range(20, 30))
    bench.compare()
    bench.remove(*bench.held)
    bench.compare()


@INDEX_RULES
def an_update_takes_the_place_of_its_message(bench: IndexBench) -> None:
    """U1: a message with an order key stands at that place, with its own props; the old one leaves nothing."""
    bench.insert(range(1, 21))
    for _ in range(5):
        bench.update(*bench.rng.sample(bench.held, 6))
        bench.compare()


@INDEX_RULES
def messages_may_fall_between_others(bench: IndexBench) -> None:
    """C6: after a catch-up messages fall between those that are there."""
    bench.insert(range(10, 100, 10))
    bench.insert(range(5, 100, 10))
    bench.insert([1, 2, 3])
    bench.compare()


@INDEX_RULES
def an_id_may_come_back_with_other_props(bench: IndexBench) -> None:
    """C5: a failover takes messages away, and gives their ids to other messages."""
    for _ in range(5):
        bench.insert(range(1, 21))
        bench.update(*bench.rng.sample(bench.held, 5))
        bench.rewind(15)
        bench.insert(range(15, 25))
        bench.compare()
        bench.rewind(1)
        bench.compare()


@INDEX_RULES
def no_props_raise(bench: IndexBench) -> None:
    """Clients send what they like: props that cannot be read raise nothing, and the index depends on them alone."""
    bench.insert(range(1, len(UNREADABLE) + 1), UNREADABLE)
    bench.insert(range(50, 55), [b""] * 5)
    bench.compare()
    bench.remove(*bench.held)
    bench.compare()


@INDEX_RULES
def what_is_given_is_not_changed(bench: IndexBench) -> None:
    """Sets and batches are shared with the queue: the index neither changes them nor keeps a set."""
    ids = SequenceSet.from_range(1, 20)
    batch = Batch.pack([b"data"] * 20, bench.draw(20))
    bench.did("inserted 1-20")
    bench.queue.index.inserted(ids, batch)
    bench.same("the set that was inserted", list(range(1, 21)), list(ids))
    before = bench._view(bench.queue.index)
    bench.did("the queue changes its set")
    ids.discard(1, 10)
    bench.same("what the index says", before, bench._view(bench.queue.index))


@INDEX_RULES
def a_missing_message_is_noticed(bench: IndexBench) -> None:
    """Check raises InvariantError for a message that the index lacks."""
    drawn = bench.draw(50)
    found = [bench.misses(SequenceSet([7]), Batch.pack([b"data"], [props])) for props in drawn]
    bench.true(any(found), "InvariantError for one of 50 messages that an empty index was asked for", "none")


@INDEX_RULES
def random_lives_leave_a_function_of_the_messages(bench: IndexBench) -> None:
    """Whatever comes and goes, in whatever order: the index is a function of what is held."""
    rng = bench.rng
    for n in range(300):
        some = rng.sample(bench.held, min(len(bench.held), rng.randint(1, 5)))
        draw = rng.random()
        if draw < 0.4 or not some:
            low = max(1, bench.queue.next - 10)
            free = [id for id in range(low, bench.queue.next + 10) if not _taken(bench, id)]
            bench.insert(rng.sample(free, rng.randint(1, 5)))
        elif draw < 0.65:
            bench.update(*some)
        elif draw < 0.95:
            bench.remove(*some)
        else:
            bench.rewind(max(1, bench.queue.next - rng.randint(1, 8)))
        if n % 10 == 0:
            bench.compare()
    bench.compare()


def _taken(bench: IndexBench, id: int) -> bool:
    """Whether a message is held at this id, or stands at this place."""
    places = bench.queue.places
    return id in bench.queue.held or (places is not None and id in places.taken)
