"""The rules of a `qpidha.interfaces.QueueListener`, which keeps another data structure up to date."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from qpidha.interfaces import QueueListener
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.check import Check, Rules, Runner, Trial
from qpidha.wire.batch import Batch

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
