"""FifoQueue keeps the rules of a queue; queues and listeners that break one are found by the check for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from qpidha.errors import MessagesGone
from qpidha.queues import FifoQueue
from qpidha.seq import SequenceSet
from qpidha.testing import conformance
from qpidha.testing.conformance import Check, RuleBroken
from qpidha.wire.batch import Batch


@pytest.mark.parametrize("check", conformance.queue_checks(FifoQueue), ids=str)
def test_fifo(check: Check) -> None:
    check()


class Stack(FifoQueue[Any]):
    """Released messages go to the end."""

    def acquire(self, messages_max: int = 1000, bytes_max: int = 1 << 20) -> Any:
        released, self._released = self._released, SequenceSet()
        taken = super().acquire(messages_max, bytes_max)
        self._released = self._released | released
        return taken or super().acquire(messages_max, bytes_max)


class Backwards(FifoQueue[Any]):
    """Changes the order of what is published together."""

    def acquire(self, messages_max: int = 1000, bytes_max: int = 1 << 20) -> Any:
        taken = super().acquire(messages_max, bytes_max)
        return taken and (taken[0], Batch.pack(list(taken[1])[::-1]))


class Shared(FifoQueue[Any]):
    """Delivers every message to every consumer."""

    def acquire(self, messages_max: int = 1000, bytes_max: int = 1 << 20) -> Any:
        taken = super().acquire(messages_max, bytes_max)
        if taken is not None:
            self._cursor = taken[0].first + len(taken[0]) - 1
        return taken


class Unlimited(FifoQueue[Any]):
    """Does not look at limits."""

    def acquire(self, messages_max: int = 1000, bytes_max: int = 1 << 20) -> Any:
        return super().acquire()


class Silent(FifoQueue[Any]):
    """A release wakes nobody."""

    def _wake(self) -> None:
        if self.queue.next_id > self._cursor:
            super()._wake()


class Resurrects(FifoQueue[Any]):
    """Forgets to dequeue."""

    def accept(self, ids: SequenceSet) -> Any:
        self._acquired -= ids


class Remembers(FifoQueue[Any]):
    """Keeps its place over a failover."""

    places: dict[int, int]

    def __init__(self, queue: Any) -> None:
        super().__init__(queue)
        self._cursor = getattr(queue, "place", 0)

    def acquire(self, messages_max: int = 1000, bytes_max: int = 1 << 20) -> Any:
        taken = super().acquire(messages_max, bytes_max)
        self.queue.place = self._cursor  # type: ignore[attr-defined]
        return taken


class ById(FifoQueue[Any]):
    """Remembers what consumers hold by the ids that they were given."""

    def __init__(self, queue: Any) -> None:
        super().__init__(queue)
        self.queue.places = lambda ids, /: ids  # type: ignore[method-assign]


class Deaf(FifoQueue[Any]):
    """Takes a release for a hold by id only."""

    def release(self, ids: SequenceSet) -> None:
        super().release(ids & self._acquired)


class Literal(FifoQueue[Any]):
    """Accepts ids, not messages."""

    def accept(self, ids: SequenceSet) -> Any:
        return super().accept(SequenceSet(id for id in ids if id in self.queue.held))  # type: ignore[attr-defined]


class Trusting(FifoQueue[Any]):
    """Confirms the accept of a message that was moved away."""

    def accept(self, ids: SequenceSet) -> Any:
        with suppress(MessagesGone):
            return super().accept(ids)


class Hasty(FifoQueue[Any]):
    """Takes "nothing was asked for" for "nothing is there"."""

    def acquire(self, messages_max: int = 1000, bytes_max: int = 1 << 20) -> Any:
        taken = super().acquire(messages_max, bytes_max)
        if taken is None:
            self._cursor = self.queue.next_id
        return taken


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Stack, "released-messages-come-again-at-their-place"),
        (Backwards, "messages-come-in-the-order-of-the-publishes"),
        (Shared, "a-message-has-one-consumer-at-a-time"),
        (Unlimited, "limits-are-kept"),
        (Silent, "somebody-is-told-when-there-is-something"),
        (Resurrects, "accepted-messages-are-dequeued"),
        (Literal, "a-hold-follows-its-message-through-updates"),
        (ById, "updates-keep-the-order"),
        (ById, "random-use-loses-and-repeats-nothing"),
        (Deaf, "an-updated-message-is-released-at-its-place"),
        (Trusting, "what-was-moved-away-is-not-accepted"),
        (Hasty, "limits-are-kept"),
        (Remembers, "after-a-failover-all-that-was-not-accepted-comes-again"),
    ],
)
def test_each_broken_queue_is_found(kind: type[FifoQueue[Any]], check: str) -> None:
    [found] = [c for c in conformance.queue_checks(kind) if str(c) == check]
    with pytest.raises(RuleBroken):
        found()


# --- listeners -------------------------------------------------------------------------------------


class Mirror:
    """A dictionary that follows a queue."""

    def __init__(self) -> None:
        self.messages: dict[int, bytes] = {}

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        self.messages.update(zip(ids, batch, strict=True))

    def removed(self, ids: SequenceSet) -> None:
        for id in ids:
            self.messages.pop(id, None)

    def content(self) -> Sequence[tuple[int, bytes]]:
        return sorted(self.messages.items())


class Appends(Mirror):
    """Takes every insert for one at the end."""

    def content(self) -> Sequence[tuple[int, bytes]]:
        return list(self.messages.items())


class Strict(Mirror):
    """Fails for an id that it does not know."""

    def removed(self, ids: SequenceSet) -> None:
        for id in ids:
            del self.messages[id]


class KeepsTheFirst(Mirror):
    """Takes a second message of an id for a repetition of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, bytes] = {}

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        for id, data in zip(ids, batch, strict=True):
            self.messages[id] = self.known.setdefault(id, data)


class Watermark(Mirror):
    """Removes everything up to the last id."""

    def removed(self, ids: SequenceSet) -> None:
        for id in list(self.messages):
            if ids and id <= ids.last:
                del self.messages[id]


def made(kind: type[Mirror]) -> Callable[[], Any]:
    def make() -> Any:
        mirror = kind()
        return mirror, mirror.content

    return make


@pytest.mark.parametrize("check", conformance.listener_checks(made(Mirror)), ids=str)
def test_a_mirror(check: Check) -> None:
    check()


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Appends, "messages-may-fall-between-others"),
        (Strict, "unknown-ids-are-ignored"),
        (KeepsTheFirst, "an-id-may-come-back-with-other-content"),
        (Watermark, "it-follows-the-end-of-the-queue"),
    ],
)
def test_each_broken_listener_is_found(kind: type[Mirror], check: str) -> None:
    [found] = [c for c in conformance.listener_checks(made(kind)) if str(c) == check]
    with pytest.raises(RuleBroken):
        found()
