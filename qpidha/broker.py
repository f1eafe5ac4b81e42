"""What the embedder implements: `Broker`, and what it may add to it. Part of `qpidha.interfaces`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from qpidha.types import Discarded, Generation, Stopped

if TYPE_CHECKING:
    from qpidha.seq import SequenceSet
    from qpidha.types import QueueId, QueueSpec
    from qpidha.wire.batch import Batch


@runtime_checkable
class Broker(Protocol):
    """The embedding broker, told about changes of role. Calls never overlap each other.

    Each call has a time limit in `Settings`, after which it is cancelled. A call that raises, that is
    cancelled or that ends with ``CancelledError`` has failed. The failure is logged and shown in the status
    (``broker_error``), and stops neither the node nor later calls. ``SystemExit`` and ``KeyboardInterrupt`` are
    raised again from the event loop, so that the process ends.

    The node does not wait for a call that still runs after it was cancelled. This is the only case in which calls may
    overlap; the node is not promoted before that call has ended. A call that blocks the event loop blocks the node: other
    nodes consider it dead after ``session_ttl_s``.

    These methods may call every method of `qpidha.Node` except ``promote``, which would wait for the method that calls
    it. ``stop`` returns at once, and the node stops after the method has returned.
    """

    async def on_promote(self, generation: Generation) -> None:
        """This node is now primary; its queues hold what the old primary acknowledged.

        Open the client port here: the node serves once this returns. The method may publish from its
        first line on, but no publish completes before every member has the history of this generation.

        If it fails, or has not returned ``promote_timeout_s`` after the node became primary, another live member is
        promoted, and this node does not try again for ``unfit_delay_s``. If there is no other member, it is
        called again, after `on_demote` and a delay. If the generation ends before it returns, it is cancelled after
        a second.
        """

    async def on_demote(self, generation: Generation) -> None:
        """This node is no longer primary. Close the client port and drop clients before returning.

        Called once for each `on_promote`, also for one that failed half-way, with the same generation. Pending
        operations have already failed with `InDoubt`; none of them may be answered otherwise. Another node may be
        primary already. Limit: ``demote_timeout_s``.
        """

    async def on_discarded(self, messages: Sequence[Discarded]) -> None:
        """Messages that a rewind took out of this node's queues, once nothing can bring them back.

        None of them was acknowledged, with two exceptions: messages with ``Fate.UNKNOWN``, for which this is not known;
        and, with ``Settle.IMMEDIATE``, a message that a consumer accepted before it was replicated. Keep, publish
        again, dead-letter or drop them. Every node that held a message hands over its own copy: if you publish
        them again, remove duplicates by ``published_as``, and use the ``sequence`` of those that have one.

        They leave the node's quarantine when this returns. After an error, a crash, or ``discard_timeout_s``, they are
        handed over again: after ``discard_retry_s``, with the next generation that is established, or at the next start.
        """


class QueueListener(Protocol):
    """Optional: follows the content of one queue, on backups too, for brokers that keep their own structures.

    Called after the change is durable on this node, in order, never overlapping. Not called for messages that the broker
    itself publishes, accepts, updates or moves while this node is primary. The batch is shared and
    immutable: keep it or slice it, do not copy it.

    A listener that raises is disconnected, because it has missed a change: it is not called any more, which is logged and
    shown in the status (``troubles``). The node continues. `qpidha.Node.renew_listener`, or the next start of the node,
    asks ``on_queue`` for a new one, which is given the whole content.
    """

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        """Messages were added, usually at the end of the queue: the n-th of the batch has the n-th of these ids.

        A message that was updated comes with a new id, before the old one is removed. Its place is ``batch.order(n)``,
        the id that it had first; of others that is 0, and the id is the place.
        """

    def removed(self, ids: SequenceSet) -> None:
        """These messages are gone. Unknown ids are to be ignored."""


class EndingListener(QueueListener, Protocol):
    """A listener that also wants to be told when its queue is gone: detected by the presence of this method."""

    def deleted(self) -> None:
        """This node does not have the queue any more: drop what you keep for it. The last call of this listener.

        Called once, on the primary and on backups, after the deletion is durable on this node. Messages that were in the
        queue are not told to `removed` before. On a backup it is also called when a flip takes the queue away: it was
        deleted while the node was away, or its declaration was undone; then its messages come to `Broker.on_discarded`.
        If a deletion is undone, the queue comes back with the same id, and ``on_queue`` is asked again.

        Not called when the node stops, nor for a listener that was disconnected. An error that it raises is logged.
        """


class ListeningBroker(Broker, Protocol):
    """A broker that also wants a `QueueListener` for queues: detected by the presence of this method."""

    def on_queue(self, queue: QueueId, spec: QueueSpec) -> QueueListener | None:
        """A queue exists on this node, found in the store, declared or replicated. None: not interested.

        If it raises, the queue is created nevertheless, without a listener, as if the listener had raised.
        """


class EndingBroker(Broker, Protocol):
    """A broker that also wants to be told when its node has ended: detected by the presence of this method."""

    async def on_stopped(self, stopped: Stopped) -> None:
        """The node has stopped, on request or because of an error, and has released its resources. The last call.

        A node that stopped because of an error (``stopped.error``) is not in its cluster any more. End the process with
        an error, so that its supervisor starts it again. This method may take the rest of ``stop_timeout_s``.
        """
