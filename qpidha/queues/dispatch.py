"""Which consumer gets which message, and what becomes of it: the primary's own affair, not replicated.

Invariants:
  - ``taken`` has the places that consumers have and those that wait for the owner of their group, and no other
  - a place is with one consumer at most (U2); it follows its message through updates
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Generic

from qpidha.checks import integer
from qpidha.errors import MessagesGone, NotEnoughMembers, NotPrimary, StaleHandle, UnknownQueue
from qpidha.queues.arguments import QueueArguments
from qpidha.queues.consumers import Subscription, Subscriptions
from qpidha.queues.content import OpT
from qpidha.queues.expiring import Expiring
from qpidha.queues.failures import Failures
from qpidha.queues.groups import Groups
from qpidha.queues.index import MessageIndex
from qpidha.queues.lanes import Lanes
from qpidha.queues.messages import Messages
from qpidha.seq import SequenceSet
from qpidha.wire.batch import Batch

LIMIT = integer(1, 2**63 - 1)


class Dispatch(Generic[OpT]):
    """The deliveries of one queue in one term. O(messages of a call) for each call."""

    def __init__(
        self,
        messages: Messages[OpT],
        index: MessageIndex,
        arguments: QueueArguments,
        clock: Callable[[], float],
    ) -> None:
        self._messages = messages
        self._index = index
        self._delivery_limit = arguments.delivery_limit
        self._expires = arguments.expires
        self.taken = SequenceSet()
        self._lanes = Lanes(index.levels, self.taken, arguments.fair_share)
        self._groups: Groups[Subscription] | None = Groups() if arguments.groups else None
        self.consumers = Subscriptions(messages.queue.name)
        self._expiring = Expiring(index.expiry, self.taken, clock)
        self._failures = Failures(messages, index)

    def available(self) -> bool:
        """Whether some consumer could acquire something."""
        self._follow_moves()
        return self._lanes.next() is not None

    def _available_for(self, one: Subscription) -> bool:
        return self._lanes.next() is not None or (self._groups is not None and self._groups.waits_for(one))

    def wake(self) -> None:
        """Have consumers told, at the end of the turn, that there may be something to acquire.

        Not at once: their callbacks acquire, and settle, and would do so inside another call of theirs.
        """
        if self.consumers.present:
            self._messages.queue.announce()

    def tell(self) -> None:
        """Tell consumers that are ready that there is something to acquire. Called at the end of a turn."""
        self._follow_moves()
        if self._groups is not None or self._lanes.next() is not None:
            self.consumers.wake(self._available_for)

    def drop_superseded(self) -> None:
        """Drop messages of a last-value queue that a newer one of their key has replaced, and that no consumer has."""
        keys = self._index.keys
        if keys is not None:
            self.drop(keys.superseded - self.taken)

    def drop(self, places: SequenceSet) -> None:
        """Drop the messages at these places if that is possible now. Otherwise it is tried again, or not needed."""
        if places:
            with suppress(NotPrimary, StaleHandle, NotEnoughMembers, UnknownQueue):
                self._messages.drop(places)

    # --- delivering ------------------------------------------------------------------------------

    def acquire(
        self, one: Subscription, messages_max: int, bytes_max: int
    ) -> tuple[SequenceSet, Batch] | None:
        """See `Consumer.acquire`."""
        LIMIT("messages_max", messages_max)
        LIMIT("bytes_max", bytes_max)
        self.consumers.require_open(one)
        self.expire()
        if not self.consumers.preferred(one):
            return None
        self._follow_moves()
        if self._groups is not None:
            self._free(self._groups.take_waiting(one))
        taken = None
        while taken is None and (lane := self._lanes.next()) is not None:
            ids, batch = self._messages.first(lane.peek(self._lanes.room(messages_max)), bytes_max)
            places = self._messages.queue.places(ids)
            lane.take(places)
            self.taken |= places
            taken = self._admit(one, places, ids, batch)
        return taken

    def _admit(
        self, one: Subscription, places: SequenceSet, ids: SequenceSet, batch: Batch
    ) -> tuple[SequenceSet, Batch] | None:
        """Give a consumer what it may have of these messages. The others wait for the owners of their groups."""
        if self._groups is not None:
            kept = list[tuple[int, int, int]]()
            for n, (place, id) in enumerate(zip(places, ids, strict=True)):
                group = self._index.read(batch.props(n)).group
                owner = None if group is None else self._groups.take(group, place, one)
                if owner is None:
                    kept.append((place, id, n))
            if len(kept) < len(batch):
                self.wake()  # The owners.
                if not kept:
                    return None
                batch = batch.gather([(n, n + 1) for _, _, n in kept])
                places, ids = (SequenceSet([row[column] for row in kept]) for column in (0, 1))
        one.give(places, ids)
        self._lanes.delivered(len(batch))
        return ids, batch

    def _follow_moves(self) -> None:
        """Deliver messages whose priority has changed in their new lanes."""
        moved = self._index.moved
        if moved:
            self._lanes.give_back(moved - self.taken)
            moved.clear()

    # --- settling --------------------------------------------------------------------------------

    def accept(self, one: Subscription, ids: SequenceSet) -> OpT:
        """See `Consumer.accept`."""
        self.consumers.require_open(one)
        places = self._places(one, ids)
        if foreign := self._index.held(places - one.places):
            ids = self._without(ids, foreign)
        try:
            op = self._messages.queue.dequeue(ids)
        except MessagesGone as error:
            self._settled(one, self._places(one, SequenceSet(error.ids)))
            raise
        self._settled(one, places)
        return op

    def release(self, one: Subscription, ids: SequenceSet) -> None:
        """See `Consumer.release`."""
        self.consumers.require_open(one)
        self._give_back(one, self._places(one, ids))

    def fail(self, one: Subscription, ids: SequenceSet) -> OpT | None:
        """See `Consumer.fail`."""
        places = self._held_by(one, ids)
        if not places:
            return None
        transaction = self._messages.transaction()
        dead = self._failures.count(transaction, places, self._delivery_limit)
        self._messages.leave(transaction, SequenceSet(), dead)
        op = transaction.commit()
        self._settled(one, dead)
        self._give_back(one, places - dead)
        return op

    def reject(self, one: Subscription, ids: SequenceSet) -> OpT | None:
        """See `Consumer.reject`."""
        places = self._held_by(one, ids)
        if not places:
            return None
        op = self._messages.bury(places)
        self._settled(one, places)
        return op

    def close(self, one: Subscription) -> None:
        """See `Consumer.close`."""
        self.consumers.remove(one)
        self._give_back(one, one.places.copy())

    def _places(self, one: Subscription, ids: SequenceSet) -> SequenceSet:
        """The places of these messages, also of those that the consumer has and the queue does not hold any more."""
        return self._messages.queue.places(ids) | one.places_of(ids)

    def _without(self, ids: SequenceSet, foreign: SequenceSet) -> SequenceSet:
        """These ids without those of messages that the queue holds at these places."""
        ids = ids - self._messages.ids_at(foreign) - foreign
        places = self._messages.queue.places
        if places(ids).isdisjoint(foreign):
            return ids
        return SequenceSet([id for id in ids if places(SequenceSet([id])).isdisjoint(foreign)])

    def _held_by(self, one: Subscription, ids: SequenceSet) -> SequenceSet:
        """The places of those of these messages that the consumer has and the queue holds."""
        self.consumers.require_open(one)
        places = self._places(one, ids) & one.places
        held = self._index.held(places)
        self._settled(one, places - held)
        return held

    def _settled(self, one: Subscription, places: SequenceSet) -> None:
        """These messages left the queue."""
        gone = one.take_back(places)
        self.taken -= gone
        self._failures.gone(gone)
        self._leave_groups(gone)

    def _give_back(self, one: Subscription, places: SequenceSet) -> None:
        """These messages are delivered again, unless they have expired or were replaced meanwhile."""
        back = one.take_back(places)
        self._free(back)
        self._leave_groups(back)
        self.drop_superseded()
        self.wake()

    def _leave_groups(self, places: SequenceSet) -> None:
        if self._groups is not None:
            free = self._groups.release(places)
            if free:
                self._free(free)
                self.drop_superseded()
                self.wake()

    def _free(self, places: SequenceSet) -> None:
        """These places are with nobody, and do not wait."""
        self.taken -= places
        self._lanes.give_back(places)
        self._expiring.again(places)

    # --- expiry ----------------------------------------------------------------------------------

    def expire(self) -> OpT | None:
        """See `DeliveryQueue.expire`."""
        self._messages.queue.flush()
        if not self._expires or not self._expiring.is_due:
            return None
        expired = self._expiring.take()
        if not expired:
            return None
        try:
            return self._messages.bury(expired)
        except BaseException:
            self._expiring.again(expired)
            raise
