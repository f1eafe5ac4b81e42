"""Delayed completion: which publishes of one queue may be answered OK (rules O4–O6).

A publish is complete when the *safe* watermark, the lowest position that every member acknowledged,
reaches its covering position. Completions leave in id order, as one watermark per queue.

Consumed before it was complete:
  immediate    the last accept completes it at once (O6)
  replicated   it completes *with the dequeue*, not before: its covering position moves to the dequeue's.
               A member may have got a plan without it; answering on the enqueue alone would tell the
               publisher OK while the consumer is not confirmed and nobody holds it (model rule `cons`).

Moved before it was complete: a move is no accept, and completes nothing. The message lives on in another
queue, so its publish completes with the publish that the move made there, whatever becomes of that.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter
from typing import Any

from qpidha.errors import ensure
from qpidha.seq import SequenceSet
from qpidha.types import MessageId, Position, QueueId, Settle

_first = itemgetter(0)
FIRST, LAST, COVER, LEFT, MOVED, TAKEN = range(6)
"""A pending publish is [first id, last id, covering position, messages not yet consumed, the pending
publishes that moves made of its messages, or None, the ids that were consumed, or None]."""

TRIM_AT = 1024
"""Finished entries are cut off the front in lots, so that finishing one is O(1)."""


class QueueGuard:
    """The pending publishes of one queue, in id order.

    Invariants (`check`):
      - entries are disjoint and ascending by id
      - an entry that is complete is not at the front
    """

    __slots__ = ("_head", "_pending", "_settle", "consumed", "held_until", "upto")

    def __init__(self, settle: Settle, upto: MessageId) -> None:
        self._settle = settle
        self._pending: list[list[Any]] = []
        self._head = 0
        self.upto = upto
        """Every publish with an id up to here is complete."""
        self.consumed: SequenceSet | None = None
        """The messages of the publishes that `advance` completed last that had been consumed before that."""
        self.held_until: Position = 0
        """No call of `advance` below this position completes anything, unless something is consumed first."""

    def __len__(self) -> int:
        return len(self._pending) - self._head

    def published(self, first: MessageId, last: MessageId, position: Position) -> None:
        """A publish of these ids is covered by the operation at this position (O1)."""
        self._pending.append([first, last, position, last - first + 1, None, None])

    def dequeued(self, ids: SequenceSet, position: Position) -> None:
        """Messages were accepted by the operation at this position; some may still be pending (O6)."""
        for entry, taken in self._with(ids):
            entry[LEFT] -= taken
            part = ids.slice(entry[FIRST], entry[LAST])
            entry[TAKEN] = part if entry[TAKEN] is None else entry[TAKEN] | part
            if self._settle is Settle.REPLICATED:
                entry[COVER] = position

    def moved(self, ids: SequenceSet, target: QueueGuard) -> None:
        """Messages were moved by the newest publish of ``target``; some may still be pending (O3)."""
        made = target._pending[-1]
        for entry, _ in self._with(ids):
            if entry[MOVED] is None:
                entry[MOVED] = []
            entry[MOVED].append(made)

    def _with(self, ids: SequenceSet) -> Iterator[tuple[list[Any], int]]:
        """The pending publishes that have any of these ids, each with how many."""
        pending = self._pending
        if len(pending) == self._head or not ids or ids.last < pending[self._head][FIRST]:
            return
        index = max(bisect_right(pending, ids.first, lo=self._head, key=_first) - 1, self._head)
        while index < len(pending) and pending[index][FIRST] <= ids.last:
            entry = pending[index]
            if count := ids.count(entry[FIRST], entry[LAST]):
                yield entry, count
            index += 1

    def advance(self, safe: Position) -> MessageId | None:
        """Complete what the watermark covers. Returns the new id watermark if it moved."""
        pending, head = self._pending, self._head
        immediate = self._settle is Settle.IMMEDIATE
        consumed: SequenceSet | None = None
        while head < len(pending):
            entry = pending[head]
            if (blocker := blocked_by(entry, safe)) and not (immediate and entry[LEFT] == 0):
                self.held_until = blocker
                break
            if entry[TAKEN] is not None:
                consumed = entry[TAKEN] if consumed is None else consumed | entry[TAKEN]
            head += 1
        self.consumed = consumed
        if head == self._head:
            return None
        self.upto = pending[head - 1][LAST]
        if head >= TRIM_AT or head == len(pending):
            del pending[:head]
            head = 0
        self._head = head
        return self.upto

    def holds_back(self, safe: Position) -> Position:
        """What keeps the first pending publish from being complete; 0 if nothing does."""
        return blocked_by(self._pending[self._head], safe)

    def check(self, safe: Position) -> None:
        live = self._pending[self._head :]
        ensure(all(a[LAST] < b[FIRST] for a, b in pairwise(live)), "entries out of order")
        ensure(not live or bool(blocked_by(live[0], safe)), "a complete publish is held")


class Guards:
    """The guards of all queues of one generation, and when to look at which of them.

    A queue that has pending publishes is *due* at one position: none of them can complete below it. So a watermark
    that rises visits the queues that it reaches, however many others wait.

    Invariants (`check`):
      - a queue with pending publishes is due once, not above the position that holds back its first publish
    """

    __slots__ = ("_consumed", "_due", "_guards")

    def __init__(self) -> None:
        self._guards: dict[QueueId, QueueGuard] = {}
        """Of the queues that have pending publishes, or had some when they were looked at last: each is due some time."""
        self._due: list[tuple[Position, QueueId]] = []
        """A heap."""
        self._consumed: set[QueueId] = set()
        """Queues of which a pending publish may be complete because it was consumed (O6)."""

    def published(
        self, queue: QueueId, settle: Settle, first: MessageId, last: MessageId, position: Position
    ) -> None:
        """See `QueueGuard.published`."""
        guard = self._guards.get(queue)
        if guard is None:
            guard = self._guards[queue] = QueueGuard(settle, first - 1)
            heapq.heappush(self._due, (position, queue))
        guard.published(first, last, position)

    def dequeued(self, queue: QueueId, ids: SequenceSet, position: Position) -> None:
        """See `QueueGuard.dequeued`."""
        guard = self._guards.get(queue)
        if guard is not None:
            guard.dequeued(ids, position)
            self._consumed.add(queue)

    def moved(self, source: QueueId, ids: SequenceSet, target: QueueId) -> None:
        """See `QueueGuard.moved`."""
        guard = self._guards.get(source)
        if guard is not None:
            guard.moved(ids, self._guards[target])

    def advance(self, safe: Position) -> Iterator[tuple[QueueId, MessageId, SequenceSet | None]]:
        """Complete what the watermark covers, or what was consumed.

        Gives queues, their new id watermarks, and what of it was consumed before (`QueueGuard.consumed`).
        """
        for queue in self._consumed:
            guard = self._guards[queue]
            if (upto := guard.advance(safe)) is not None:
                yield queue, upto, guard.consumed
        self._consumed.clear()
        due = self._due
        while due and due[0][0] <= safe:
            _, queue = heapq.heappop(due)
            guard = self._guards[queue]
            if (upto := guard.advance(safe)) is not None:
                yield queue, upto, guard.consumed
            if len(guard):
                heapq.heappush(due, (guard.held_until, queue))
            else:
                del self._guards[queue]  # Most queues are idle, and there may be many.

    def check(self, safe: Position) -> None:
        """Raise `InvariantError` if an invariant of a guard or of the due positions does not hold. O(content)."""
        due = {queue: position for position, queue in self._due}
        ensure(len(due) == len(self._due) and due.keys() == self._guards.keys(), "a queue is due once")
        for queue, guard in self._guards.items():
            guard.check(safe)
            ensure(not len(guard) or safe < due.get(queue, 0) <= guard.holds_back(safe), "queue due too late")


def blocked_by(entry: list[Any], safe: Position) -> Position:
    """The position that keeps a publish from being complete, or 0 if nothing does.

    The watermark must cover it, what moves made of its messages, what moves made of those, and so on.
    """
    chain = [entry]
    while chain:
        if (cover := chain[-1][COVER]) > safe:
            return int(cover)
        if moved := chain[-1][MOVED]:
            chain.append(moved[-1])
            continue
        chain.pop()
        if chain:
            chain[-1][MOVED].pop()
    return 0
