"""The consumers of one queue: who may have the next message, and who is told that there is one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Final

from qpidha.checks import CALLBACK, FLAG, integer, optional
from qpidha.errors import ConsumerRefused, LocalProtocolError
from qpidha.seq import SequenceSet

PRIORITY: Final = integer(-(2**31), 2**31 - 1)
NOTIFY: Final = optional(CALLBACK)


class Subscription:
    """What the queue knows of one consumer."""

    __slots__ = ("closed", "exclusive", "notify", "places", "priority", "ready")

    def __init__(self, priority: int, exclusive: bool, notify: Callable[[], None] | None) -> None:
        self.priority = priority
        self.exclusive = exclusive
        self.notify = notify
        self.ready = True
        """It takes messages if there are some."""
        self.places = SequenceSet()
        """What it has."""
        self.closed = False


class Subscriptions:
    """All consumers of one queue, the highest priority first; of one priority in the order in which they came."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._all: list[Subscription] = []

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

    def wake(self, available: Callable[[], bool]) -> None:
        """Tell the consumers that are ready, while there is something to have.

        Each has a turn to be the first of its priority: the one that is told first goes to the end.
        """
        for one in list(self._all):
            if not available():
                return
            if one.ready and not one.closed and self.preferred(one):
                if one.notify is not None:
                    one.notify()
                self._rotate(one)

    def _rotate(self, one: Subscription) -> None:
        if one in self._all:
            self._all.remove(one)
            self._all.append(one)
            self._all.sort(key=lambda each: -each.priority)
