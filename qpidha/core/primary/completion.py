"""Delayed completion: which publishes of one queue may be answered OK (rules O4–O6).

A publish is complete when the *safe* watermark, the lowest position that every member acknowledged,
reaches its covering position. Completions leave in id order, as one watermark per queue.

Consumed before it was complete:
  immediate    the last accept completes it at once (O6)
  replicated   it completes *with the dequeue*, not before: its covering position moves to the dequeue's.
               A member may have got a plan without it; answering on the enqueue alone would tell the
               publisher OK while the consumer is not confirmed and no node holds it (model rule `cons`).

Moved before it was complete: a move is not an accept, and completes nothing. The message lives on in another
queue, so its publish also waits for the position that covers the publish which the move made there.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from operator import attrgetter, itemgetter
from typing import NamedTuple

from qpidha.core.primary.recent import Recent
from qpidha.errors import ensure
from qpidha.seq import SequenceSet
from qpidha.types import MessageId, Position, QueueId, Settle

TRIM_AT = 1024
"""Finished entries are removed from the front this many at a time, so that finishing one costs O(1)."""


_first = attrgetter("first")
_position = itemgetter(0)


class PendingPublish:
    """One publish that is not complete yet."""

    __slots__ = ("committed", "consumed", "cover", "first", "last", "left", "moved")

    def __init__(self, first: MessageId, last: MessageId, cover: Position, committed: bool) -> None:
        self.first = first
        self.last = last
        self.cover = cover
        """The position that the safe watermark must reach (O4)."""
        self.left = last - first + 1
        """How many of its messages were not consumed yet, except in commits."""
        self.committed = committed
        """Part of a commit, which has other effects: that its messages were consumed does not complete it (TX7)."""
        self.moved: list[PendingPublish] | None = None
        """The pending publishes that moves made of its messages (O3)."""
        self.consumed: SequenceSet | None = None
        """The ids that were consumed."""

    @property
    def is_consumed(self) -> bool:
        """All its messages were consumed, and it is no part of a commit: with settle immediate it is complete (O6)."""
        return self.left == 0 and not self.committed

    def blocked_by(self, safe: Position) -> Position:
        """The position that keeps this publish from being complete, or 0 if nothing does.

        The watermark must cover it, the publishes that moves made of its messages, those that moves made of these in
        turn, and so on. Publishes that are found to be covered are dropped, so that no call looks at them again.
        """
        if self.cover > safe:
            return self.cover
        if self.moved is None:
            return 0
        chain = [self]
        while chain:
            newest = chain[-1]
            if newest.cover > safe:
                return newest.cover
            if newest.moved:
                chain.append(newest.moved[-1])
                continue
            chain.pop()
            if chain:
                made = chain[-1].moved
                assert made is not None
                made.pop()
        return 0


class PendingAt(NamedTuple):
    """A publish that is not complete."""

    first: MessageId
    last: MessageId
    position: Position
    """The publish is complete when everything up to this position is safe."""


class QueueGuard:
    """The pending publishes of one queue, in id order.

    Invariants (`check`):
      - entries are disjoint and ascending by id
      - an entry that is complete is not at the front
    """

    __slots__ = ("_head", "_pending", "_settle", "consumed", "held_until", "upto")

    def __init__(self, settle: Settle, upto: MessageId) -> None:
        self._settle = settle
        self._pending: list[PendingPublish] = []
        self._head = 0
        self.upto = upto
        """Every publish with an id up to here is complete."""
        self.consumed: SequenceSet | None = None
        """Of the messages whose publishes the last `advance` completed: those that had been consumed before."""
        self.held_until: Position = 0
        """No call of `advance` below this position completes anything, unless something is consumed first."""

    def __len__(self) -> int:
        return len(self._pending) - self._head

    def published(
        self, first: MessageId, last: MessageId, position: Position, *, committed: bool = False
    ) -> None:
        """A publish of these ids is covered by the operation at this position (O1)."""
        self._pending.append(PendingPublish(first, last, position, committed))

    def dequeued(self, ids: SequenceSet, position: Position, *, committed: bool = False) -> None:
        """Messages were accepted by the operation at this position; some may still be pending (O6).

        ``committed``: the accepts are part of a commit, so they are settled replicated, whatever the queue says (TX6).
        """
        for entry, taken in self._with(ids):
            part = ids.slice(entry.first, entry.last)
            entry.consumed = part if entry.consumed is None else entry.consumed | part
            if committed or self._settle is Settle.REPLICATED:
                entry.cover = max(entry.cover, position)  # Of a local queue, an accept may have a lower one.
            if not committed:
                entry.left -= taken

    def moved(self, ids: SequenceSet, target: QueueGuard) -> None:
        """Messages were moved by the newest publish of ``target``; some may still be pending (O3, U3)."""
        made = target._pending[-1]
        for entry, _ in self._with(ids):
            if entry.moved is None:
                entry.moved = []
            entry.moved.append(made)

    def _with(self, ids: SequenceSet) -> Iterator[tuple[PendingPublish, int]]:
        """The pending publishes that have any of these ids, each with how many."""
        pending = self._pending
        if len(pending) == self._head or not ids or ids.last < pending[self._head].first:
            return
        index = max(bisect_right(pending, ids.first, lo=self._head, key=_first) - 1, self._head)
        while index < len(pending) and pending[index].first <= ids.last:
            entry = pending[index]
            if count := ids.count(entry.first, entry.last):
                yield entry, count
            index += 1

    def advance(self, safe: Position) -> MessageId | None:
        """Complete what the watermark covers. Returns the new id watermark if it moved."""
        pending, head = self._pending, self._head
        immediate = self._settle is Settle.IMMEDIATE
        consumed: SequenceSet | None = None
        while head < len(pending):
            entry = pending[head]
            if (blocker := entry.blocked_by(safe)) and not (immediate and entry.is_consumed):
                self.held_until = blocker
                break
            if entry.consumed is not None:
                consumed = entry.consumed if consumed is None else consumed | entry.consumed
            head += 1
        self.consumed = consumed
        if head == self._head:
            return None
        self.upto = pending[head - 1].last
        if head >= TRIM_AT or head == len(pending):
            del pending[:head]
            head = 0
        self._head = head
        return self.upto

    def pending(self, id: MessageId, safe: Position) -> PendingAt | None:
        """The pending publish of this message; None: it is complete, or not of this generation. O(pending publishes).

        Publishes complete in their order, so it also waits for those before it.
        """
        position: Position = 0
        for entry in islice(self._pending, self._head, None):
            if id < entry.first:
                break
            if not (entry.is_consumed and self._settle is Settle.IMMEDIATE):
                position = max(position, entry.blocked_by(safe))
            if id <= entry.last:
                return PendingAt(entry.first, entry.last, position) if position else None
        return None

    def oldest(self, safe: Position) -> PendingAt | None:
        """The first publish that is not complete; None if there is none."""
        return self.pending(self._pending[self._head].first, safe) if len(self) else None

    def holds_back(self, safe: Position) -> Position:
        """What keeps the first pending publish from being complete; 0 if nothing does."""
        return self._pending[self._head].blocked_by(safe)

    def check(self, safe: Position) -> None:
        """Raise `InvariantError` if an invariant does not hold. For tests."""
        live = self._pending[self._head :]
        ensure(all(a.last < b.first for a, b in pairwise(live)), "entries out of order")
        ensure(not live or bool(live[0].blocked_by(safe)), "a complete publish is held")


class Guards:
    """The guards of all queues of one generation, and the position at which each has to be visited.

    A queue that has pending publishes is *due* at one position: none of them can complete below it. So a rising
    watermark visits only the queues whose due position it reaches, however many others wait.

    Invariants (`check`):
      - a queue with pending publishes is due once, not above the position that holds back its first publish
    """

    __slots__ = ("_consumed", "_due", "_guards", "recent")

    def __init__(self) -> None:
        self._guards: dict[QueueId, QueueGuard] = {}
        """Guards of the queues that have pending publishes, or had some at their last visit. Each is in ``_due``."""
        self._due: list[tuple[Position, QueueId]] = []
        """A heap."""
        self._consumed: set[QueueId] = set()
        """Queues of which a pending publish may be complete because it was consumed (O6)."""
        self.recent = Recent()
        """Only for those who ask."""

    def published(
        self,
        queue: QueueId,
        settle: Settle,
        first: MessageId,
        last: MessageId,
        position: Position,
        *,
        committed: bool = False,
    ) -> None:
        """See `QueueGuard.published`."""
        guard = self._guards.get(queue)
        if guard is None:
            guard = self._guards[queue] = QueueGuard(settle, first - 1)
            heapq.heappush(self._due, (position, queue))
        guard.published(first, last, position, committed=committed)

    def dequeued(
        self, queue: QueueId, ids: SequenceSet, position: Position, *, committed: bool = False
    ) -> None:
        """See `QueueGuard.dequeued`."""
        self.recent.accepted(queue, ids, position)
        guard = self._guards.get(queue)
        if guard is not None:
            guard.dequeued(ids, position, committed=committed)
            self._consumed.add(queue)

    def moved(self, source: QueueId, ids: SequenceSet, target: QueueId) -> None:
        """See `QueueGuard.moved`."""
        guard = self._guards.get(source)
        if guard is not None:
            guard.moved(ids, self._guards[target])

    def is_complete(self, queue: QueueId, id: MessageId) -> bool:
        """Whether the publish that was given this id is complete. O(1)."""
        guard = self._guards.get(queue)
        return guard is None or id <= guard.upto

    def advance(self, safe: Position) -> Iterable[tuple[QueueId, MessageId, SequenceSet | None]]:
        """Complete what the watermark covers, or what was consumed.

        Returns each queue with its new id watermark and those of its messages that were consumed before
        (`QueueGuard.consumed`). Iterate over it at once: that completes them.
        """
        self.recent.begin(safe)
        if not self._consumed and (not self._due or self._due[0][0] > safe):
            return ()  # Nearly every second call.
        return self._advanced(safe)

    def _advanced(self, safe: Position) -> Iterator[tuple[QueueId, MessageId, SequenceSet | None]]:
        recent = self.recent
        for queue in self._consumed:
            guard = self._guards[queue]
            before = guard.upto
            if (upto := guard.advance(safe)) is not None:
                recent.completed(queue, before, upto)
                yield queue, upto, guard.consumed
        self._consumed.clear()
        due = self._due
        while due and due[0][0] <= safe:
            _, queue = heapq.heappop(due)
            guard = self._guards[queue]
            before = guard.upto
            if (upto := guard.advance(safe)) is not None:
                recent.completed(queue, before, upto)
                yield queue, upto, guard.consumed
            if len(guard):
                heapq.heappush(due, (guard.held_until, queue))
            else:
                del self._guards[queue]  # Most queues are idle, and there may be many.

    # --- what an operator asks -------------------------------------------------------------------

    @property
    def queue_count(self) -> int:
        """How many queues have publishes that may be pending."""
        return len(self._guards)

    def pending(self, queue: QueueId, id: MessageId, safe: Position) -> PendingAt | None:
        """See `QueueGuard.pending`."""
        guard = self._guards.get(queue)
        return None if guard is None else guard.pending(id, safe)

    def oldest(self, queue: QueueId, safe: Position) -> PendingAt | None:
        """See `QueueGuard.oldest`."""
        guard = self._guards.get(queue)
        return None if guard is None else guard.oldest(safe)

    def waiting_longest(self, queues_max: int) -> list[QueueId]:
        """The queues with pending publishes, at most so many, those that are due first. O(such queues)."""
        return [queue for _, queue in heapq.nsmallest(queues_max, self._due, key=_position)]

    def check(self, safe: Position) -> None:
        """Raise `InvariantError` if an invariant of a guard or of the due positions does not hold. O(content)."""
        self.recent.check(safe)
        due = {queue: position for position, queue in self._due}
        ensure(len(due) == len(self._due) and due.keys() == self._guards.keys(), "a queue is due once")
        for queue, guard in self._guards.items():
            guard.check(safe)
            ensure(not len(guard) or safe < due.get(queue, 0) <= guard.holds_back(safe), "queue due too late")
