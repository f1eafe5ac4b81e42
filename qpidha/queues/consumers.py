"""The consumers of one queue: who may have the next message, and who is told that there is one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Final

from qpidha.checks import CALLBACK, FLAG, integer, optional
from qpidha.errors import ConsumerRefused, LocalProtocolError
from qpidha.seq import SequenceSet
from qpidha.types import MessageId

PRIORITY: Final = integer(-(2**31), 2**31 - 1)
NOTIFY: Final = optional(CALLBACK)


class Subscription:
    """What the queue knows of one consumer.

    Invariants:
      - ``_id_at`` has the ids of messages that were updated before they were delivered, by place; only of those that it
        has. ``_place_of`` is the reverse of it, and ``_updated`` has its keys
    """

    __slots__ = (
        "_id_at",
        "_place_of",
        "_updated",
        "closed",
        "exclusive",
        "notify",
        "places",
        "priority",
        "ready",
    )

    def __init__(self, priority: int, exclusive: bool, notify: Callable[[], None] | None) -> None:
        self.priority = priority
        self.exclusive = exclusive
        self.notify = notify
        self.ready = True
        """It takes messages if there are some."""
        self.places = SequenceSet()
        """What it has."""
        self.closed = False
        self._id_at: dict[MessageId, MessageId] = {}
        self._place_of: dict[MessageId, MessageId] = {}
        self._updated = SequenceSet()

    def give(self, places: SequenceSet, ids: SequenceSet) -> None:
        """It has these messages now, under these ids."""
        self.places |= places
        if ids != places:
            for place, id in zip(places, ids, strict=True):
                if place != id:
                    self._id_at[place], self._place_of[id] = id, place
                    self._updated.add(id)

    def take_back(self, places: SequenceSet) -> SequenceSet:
        """It does not have these messages any more. Returns the places of those that it had."""
        back = places & self.places
        self.places -= back
        if self._id_at:
            for place in back:
                id = self._id_at.pop(place, None)
                if id is not None:
                    del self._place_of[id]
                    self._updated.discard(id)
        return back

    def places_of(self, ids: SequenceSet) -> SequenceSet:
        """The places of messages that were delivered to it under these ids, which are not the first ones.

        The queue knows that, too, but only while it holds the message.
        """
        return SequenceSet(self._place_of[id] for id in ids & self._updated)


class Subscriptions:
    """All consumers of one queue, the highest priority first; of one priority in the order in which they came."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._all: list[Subscription] = []

    @property
    def present(self) -> bool:
        """Whether there is any."""
        return bool(self._all)

    def add(self, priority: int, exclusive: bool, notify: Callable[[], None] | None) -> Subscription:
        """A new consumer.

        Raises:
            ConsumerRefused: There is an exclusive consumer; or it is exclusive itself, and there are others.
            ArgumentError: An argument of a wrong type or out of range.
        """
        PRIORITY("priority", priority)
        FLAG("exclusive", exclusive)
        NOTIFY("on_available", notify)
        if self._all and (exclusive or self._all[0].exclusive):
            raise ConsumerRefused(
                f"queue {self._name!r} has {len(self._all)} consumers, and one of them would be exclusive"
                if exclusive
                else f"queue {self._name!r} has an exclusive consumer"
            )
        made = Subscription(priority, exclusive, notify)
        self._all.append(made)
        self._all.sort(key=lambda one: -one.priority)  # Stable.
        return made

    def remove(self, subscription: Subscription) -> None:
        """A consumer is gone."""
        self._all.remove(subscription)
        subscription.closed = True

    def require_open(self, subscription: Subscription) -> None:
        """Raise `LocalProtocolError` if this consumer was closed."""
        if subscription.closed:
            raise LocalProtocolError(f"the consumer of queue {self._name!r} was closed")

    def preferred(self, subscription: Subscription) -> bool:
        """Whether no consumer of a higher priority takes messages now."""
        higher = takewhile(lambda one: one.priority > subscription.priority, self._all)
        return not any(one.ready for one in higher)

    def wake(self, available: Callable[[Subscription], bool]) -> None:
        """Tell the consumers that are ready, and for which there is something to have.

        Each has a turn to be the first of its priority: the one that is told first goes to the end. What a callback
        raises is raised when all were told; of several exceptions the first.
        """
        failed: BaseException | None = None
        for one in list(self._all):
            if one.ready and not one.closed and self.preferred(one) and available(one):
                try:
                    if one.notify is not None:
                        one.notify()
                except BaseException as error:  # noqa: BLE001 - the callbacks of others are called first.
                    failed = failed or error
                self._rotate(one)
        if failed is not None:
            raise failed

    def _rotate(self, one: Subscription) -> None:
        if one in self._all:
            self._all.remove(one)
            self._all.append(one)
            self._all.sort(key=lambda each: -each.priority)
