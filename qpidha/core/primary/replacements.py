"""What became of ids that were replaced: a client that names one means the successor of its message (rule U2).

A message that was updated keeps its *place*, the id that it had first (`qpidha.core.places`). So the first id is found by
the queue itself, on every node and in every term. What is remembered here, for one term of a primary, are the ids in
between, and the ids of messages that were moved away: an accept of those is refused, because they live on elsewhere.
An id that is neither held nor moved away was consumed: accepting it again is true, and is ignored.

Invariants (`check`):
  - of a queue in which nothing was replaced, nothing is remembered
  - an id in between is below the next id, and not held
  - of each queue there are at most ``replaced_ids_max`` runs of ids of messages that were moved away; and, when an id is
    added, at most that many ids in between, besides one for each message that it holds
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import MessagesGone, ensure
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import MessageId, QueueId


class Moved(NamedTuple):
    """A run of messages that were moved to another queue."""

    first: MessageId
    last: MessageId
    target: QueueId
    now: MessageId
    """What the first of them became. The others follow it."""


class Replaced:
    """What is remembered of one queue."""

    __slots__ = ("away", "between", "moves", "places")

    def __init__(self, moves_max: int) -> None:
        self.moves: deque[Moved] = deque(maxlen=moves_max)
        """Where runs of messages went. Oldest first; what is too old is left out."""
        self.away = SequenceSet()
        """Ids and places of messages that were moved to other queues. It may have ids of messages that are held."""
        self.places: dict[MessageId, MessageId] = {}
        """By id in between: the place of its message. Oldest replacement first."""
        self.between = SequenceSet()
        """The keys of ``places``."""


class Replacements:
    """The replacements of one term. O(ids that were replaced) for each call; O(1) if its queue has none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queues: dict[QueueId, Replaced] = {}

    # --- what happens ----------------------------------------------------------------------------

    def updated(self, queue: ReplicatedQueue, ids: SequenceSet) -> None:
        """These messages are about to go: their successors are in the queue already, at the same places."""
        places = queue.places
        if places is None or ids.isdisjoint(places.ids):
            return  # Each has its first id, which is its place.
        known = self._known(queue)
        for id in ids & places.ids:
            known.places[id] = places.of(id)
            known.between.add(id)
        self._forget(queue, known)

    def moved(
        self, queue: ReplicatedQueue, ids: SequenceSet, *, to: tuple[QueueId, MessageId] | None = None
    ) -> None:
        """These messages are about to go: they live on in another queue. ``to``: what the first of them became."""
        known = self._known(queue)
        if to is not None:
            target, now = to
            for first, last in ids.runs():
                known.moves.append(Moved(first, last, target, now))
                now += last - first + 1
        known.away |= ids
        if queue.places is not None:
            known.away |= queue.places.of_all(ids)
        self._shorten(known.away)

    def _known(self, queue: ReplicatedQueue) -> Replaced:
        known = self._queues.get(queue.queue)
        if known is None:
            known = self._queues[queue.queue] = Replaced(self._settings.replaced_ids_max)
        return known

    def dropped(self, queue: QueueId) -> None:
        """The queue is gone."""
        self._queues.pop(queue, None)

    def _forget(self, queue: ReplicatedQueue, known: Replaced) -> None:
        """Keep the ids in between of messages that are held; if those are too many, leave out the oldest of them.

        An id that is left out is treated like one that was moved away: it is refused, never confirmed.
        """
        most = self._settings.replaced_ids_max + len(queue)
        if len(known.places) <= most:
            return
        assert queue.places is not None, "the successors that were just made have places"
        taken = queue.places.taken
        live = {id: place for id, place in known.places.items() if place in taken}
        oldest = list(islice(live, max(0, len(live) - most * 3 // 4)))
        known.away |= SequenceSet(id for id, place in known.places.items() if place in known.away)
        known.away |= SequenceSet(oldest)
        for id in oldest:
            del live[id]
        known.places, known.between = live, SequenceSet(live)
        self._shorten(known.away)

    def _shorten(self, away: SequenceSet) -> None:
        """With too many runs, join the lower half: ids between them count as moved away, too, once they are not held."""
        most = self._settings.replaced_ids_max
        if away.run_count > most:
            lower = list(islice(away.runs(), most // 2 + 1))
            away.add(lower[0][0], lower[-1][1])

    # --- what clients mean -----------------------------------------------------------------------

    @property
    def none(self) -> bool:
        """Nothing is remembered, of no queue."""
        return not self._queues

    def successors(self, queue: ReplicatedQueue, ids: SequenceSet) -> dict[MessageId, MessageId]:
        """The successors of those of these ids that are not held, by id, as far as the queue holds one. Ascending."""
        places, known = queue.places, self._queues.get(queue.queue)
        if places is None:
            return {}
        missing = ids - queue.held
        named = {id: id for id in missing & places.taken}
        if known is not None:
            named.update((id, known.places[id]) for id in missing & known.between)
        return {id: now for id in sorted(named) if (now := places.holder(named[id])) is not None}

    def destination(self, queue: QueueId, id: MessageId) -> tuple[QueueId, MessageId] | None:
        """What a message with this id became when it was moved; None: no move of it is remembered. O(moves)."""
        known = self._queues.get(queue)
        for move in known.moves if known is not None else ():
            if move.first <= id <= move.last:
                return move.target, move.now + id - move.first
        return None

    def accepted(self, queue: ReplicatedQueue, ids: SequenceSet) -> SequenceSet:
        """What an accept of these ids means: successors in place of those that were replaced.

        Raises:
            MessagesGone: One of them was moved away, or is not known any more.
        """
        if queue.places is None and (not self._queues or queue.queue not in self._queues):
            return ids
        if ids <= queue.held:
            return ids
        found = self.successors(queue, ids)
        missing = ids - queue.held - SequenceSet(found)
        if gone := self._gone(queue, missing):
            raise messages_gone(queue, gone)
        return (ids - missing - SequenceSet(found)) | SequenceSet(found.values())

    def _gone(self, queue: ReplicatedQueue, missing: SequenceSet) -> SequenceSet:
        """Those of these ids, which are not held and have no successor here, whose messages were not consumed here."""
        known = self._queues.get(queue.queue)
        if known is None:
            return SequenceSet()
        dead = SequenceSet(id for id in missing & known.between if known.places[id] in known.away)
        return (missing & known.away) | dead

    def places(self, queue: ReplicatedQueue, ids: SequenceSet) -> SequenceSet:
        """The places of these messages, also of replaced ids. O(1) if nothing in the queue was updated."""
        if queue.places is None and not self._queues:
            return ids
        known = self._queues.get(queue.queue)
        if queue.places is not None:
            ids = queue.places.of_all(ids)
        if known is not None and (between := ids & known.between):
            ids = (ids - between) | SequenceSet(known.places[id] for id in between)
        return ids

    def check(self, queues: Iterable[ReplicatedQueue]) -> None:
        """Raise `InvariantError` if an invariant does not hold. For tests."""
        most, there = self._settings.replaced_ids_max, {queue.queue: queue for queue in queues}
        for id, known in self._queues.items():
            queue = there.get(id)
            ensure(queue is not None, "replaced ids of a queue that is gone")
            assert queue is not None
            ensure(known.between == SequenceSet(known.places), "ids in between")
            ensure(known.between.isdisjoint(queue.held), "a replaced id is held")
            ensure(not known.between or known.between.last < queue.next, "a replaced id at or above next")
            ensure(known.away.run_count <= most, "runs of ids that were moved away")
            moved = all(0 < m.first <= m.last < queue.next and m.now > 0 for m in known.moves)
            ensure(moved, "moves of ids that were never given out")


def messages_gone(queue: ReplicatedQueue, gone: SequenceSet) -> MessagesGone:
    """The error of a call that names messages which are not here any more."""
    name = queue.spec.name
    return MessagesGone(f"messages {gone!r} of {name!r} are not held any more", queue=name, ids=gone)
