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

    Each call may take as long as a limit in `Settings` says; then it is cancelled. A call that raises, that is
    cancelled or that ends with ``CancelledError`` has failed. That is logged, stands in the status
    (``broker_error``), and stops neither the node nor later calls. ``SystemExit`` and ``KeyboardInterrupt`` are
    raised again from the event loop, so that the process ends.

    A call that goes on after it was cancelled is left behind, and only then calls may overlap; the node is not promoted
    before it has ended. A call that blocks the event loop blocks the node: others take it for dead after
    ``session_ttl_s``.

    Every method of `qpidha.Node` may be used in here, but ``promote``, which would wait for the method that calls it;
    ``stop`` returns at once, and the node ends after the method.
    """

    async def on_promote(self, generation: Generation) -> None:
        """This node is now primary; its queues hold what the old primary acknowledged.

        Open the client port here: the node serves once this returns. Publishes are accepted from the
        first line on, but none completes before every member has the history of this generation.

        If it fails, or has not returned ``promote_timeout_s`` after the node became primary, the place is given to
        another live member, and this node does not try again for ``unfit_delay_s``. If there is no other, it is
        called again, after `on_demote` and a delay. When the generation ends before it returns, it is cancelled after
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

        None of them was acknowledged, with two exceptions: ``Fate.UNKNOWN``, of which this cannot be known; and
        with ``Settle.IMMEDIATE`` a message that a consumer accepted before it was replicated. Keep, publish
        again, dead-letter or drop them. Every node that held a message hands over its own copy: whoever
        publishes them again removes duplicates by (queue, generation, id).

        They leave the node's quarantine when this returns. After an error, a crash, or ``discard_timeout_s``, they are
        handed over again: after ``discard_retry_s``, with the next generation that is established, or at the next start.
        """


class QueueListener(Protocol):
    """Optional: follows the content of one queue, on backups too, for brokers that keep their own structures.

    Called after the change is durable on this node, in order, never overlapping; but not for what the broker itself
    publishes, accepts or moves while this node is primary, for it knows that already. The batch is shared and
    immutable: keep it or slice it, do not copy it.

    A listener that raises is cut off, for it has missed something: it is told nothing more, which is logged and stands
    in the status (``troubles``). The node goes on. `qpidha.Node.renew_listener`, or the next start of the node, asks
    ``on_queue`` for another one, which is told the whole content.
    """

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        """The n-th message of the batch now has the n-th of these ids. Usually at the end, not always."""

    def removed(self, ids: SequenceSet) -> None:
        """These messages are gone. Unknown ids are to be ignored."""


class ListeningBroker(Broker, Protocol):
    """A broker that also wants a `QueueListener` for queues: detected by the presence of this method."""

    def on_queue(self, queue: QueueId, spec: QueueSpec) -> QueueListener | None:
        """A queue exists on this node, found in the store, declared or replicated. None: not interested.

        If it raises, the queue is there all the same, without a listener, as if the listener had raised.
        """


class EndingBroker(Broker, Protocol):
    """A broker that also wants to be told when its node has ended: detected by the presence of this method."""

    async def on_stopped(self, stopped: Stopped) -> None:
        """The node has ended, because it was asked to or by itself, and has released what it held. The last call.

        A node that ended by itself (``stopped.error``) is in no cluster any more. End the process with an error, so
        that its supervisor starts it again. It may take what is left of ``stop_timeout_s``.
        """
