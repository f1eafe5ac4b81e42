"""One consumer of a `DeliveryQueue`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from qpidha.checks import FLAG, instance_of
from qpidha.queues.consumers import Subscription
from qpidha.queues.content import OpT
from qpidha.seq import SequenceSet
from qpidha.wire.batch import Batch

if TYPE_CHECKING:
    from qpidha.queues.dispatch import Dispatch

IDS = instance_of(SequenceSet)


class Consumer(Generic[OpT]):
    """Takes messages and settles them. Made by `DeliveryQueue.consumer`; it ends with `close`, or with the term.

    Every method raises `LocalProtocolError` after `close`. Ids of messages that it does not have are ignored; an id
    that an update has replaced means the same message.
    """

    def __init__(self, dispatch: Dispatch[OpT], subscription: Subscription) -> None:
        self._dispatch = dispatch
        self._subscription = subscription

    @property
    def priority(self) -> int:
        """Consumers of a higher priority get messages first."""
        return self._subscription.priority

    @property
    def acquired(self) -> int:
        """How many messages it has."""
        return len(self._subscription.places)

    @property
    def ready(self) -> bool:
        """Whether it takes messages now. Set it to False while its client has no credit: others have their turn then."""
        return self._subscription.ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        FLAG("ready", ready)
        self._subscription.ready = ready
        self._dispatch.wake()

    def acquire(self, messages_max: int = 1000, bytes_max: int = 1 << 20) -> tuple[SequenceSet, Batch] | None:
        """Take the next messages: ids and batch, or None if there are none for this consumer now.

        Messages that have expired are dropped first. Raises what `DeliveryQueue.expire` raises.
        """
        return self._dispatch.acquire(self._subscription, messages_max, bytes_max)

    def accept(self, ids: SequenceSet) -> OpT:
        """Dequeue messages. If settling is replicated, confirm it to the client when the op is safe.

        Raises:
            MessagesGone: Some were moved to another queue, and it does not have them any more. The others are as before.
            NotPrimary, NotEnoughMembers, StaleHandle, ArgumentError, WrongThread: As for `Queue.dequeue`.
        """
        IDS("ids", ids)
        return self._dispatch.accept(self._subscription, ids)

    def release(self, ids: SequenceSet) -> None:
        """Give messages back, as if they had not been delivered: they are delivered again, at their place."""
        IDS("ids", ids)
        self._dispatch.release(self._subscription, ids)

    def fail(self, ids: SequenceSet) -> OpT | None:
        """Give messages back whose delivery has failed: it is counted, in their props, on all nodes.

        Those that reach the ``delivery_limit`` are rejected, in the same operation. Returns its op, or None if the
        consumer has none of these messages. Raises what `reject` raises.
        """
        IDS("ids", ids)
        return self._dispatch.fail(self._subscription, ids)

    def reject(self, ids: SequenceSet) -> OpT | None:
        """Refuse messages for good: they move to the queue for dead letters, or are dropped if there is none.

        Returns the op, or None if the consumer has none of these messages.

        Raises:
            UnknownQueue: The queue for dead letters does not exist. Nothing has changed.
            NotPrimary, NotEnoughMembers, StaleHandle, ArgumentError, WrongThread: As for `Queue.dequeue`.
        """
        IDS("ids", ids)
        return self._dispatch.reject(self._subscription, ids)

    def close(self) -> None:
        """Give back all that it has, and end. May be called twice, and after the step-down."""
        if not self._subscription.closed:
            self._dispatch.close(self._subscription)
