"""A queue with everything that brokers offer: priorities, groups, limits, expiry, dead letters, consumers that differ.

What is replicated are messages and what happens to them: publishes, updates, accepts, moves. Which consumer has which
message is the primary's own affair: after a failover the new primary delivers all that was not accepted again (S5). It
has the index of the queue already, so it begins at once, however many messages there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Generic

from qpidha.checks import CALLBACK, implements, instance_of, optional
from qpidha.errors import ArgumentError
from qpidha.queues.arguments import Overflow, QueueArguments
from qpidha.queues.consumer import Consumer
from qpidha.queues.content import DeliveryContent, DeliveryNode, DeliveryTransaction, OpT
from qpidha.queues.dispatch import Dispatch
from qpidha.queues.index import MessageIndex
from qpidha.queues.lanes import Lanes
from qpidha.queues.limits import Leaving, Limits
from qpidha.queues.messages import Messages
from qpidha.queues.types import RING
from qpidha.seq import SequenceSet
from qpidha.types import BytesLike, MessageId
from qpidha.wire.batch import Batch

NODE = implements("node", plain=("transaction", "queue"))
QUEUE = implements("queue", plain=("select", "places", "dequeue", "move", "on_content", "announce", "claim"))
ARGUMENTS = optional(instance_of(QueueArguments))


class DeliveryQueue(Generic[OpT]):
    """Delivers one queue on the primary. Make one in every ``on_promote``. O(1), however many messages there are.

    It belongs to the term of its handle, and to the event loop of the node. The queue needs an index: see the node's
    ``queue_types``. Publish through it, not through the handle, if the queue has limits or keys.

        arguments = QueueArguments(dead_letters="dead", delivery_limit=5)
        orders = DeliveryQueue(node, node.declare("orders", kind="priority", arguments=arguments.encode()))
        consumer = orders.consumer()
        ids, batch = consumer.acquire()
        await consumer.accept(ids)
    """

    def __init__(
        self,
        node: DeliveryNode[OpT],
        queue: DeliveryContent[OpT],
        *,
        arguments: QueueArguments | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Deliver this queue, from its first message on.

        Args:
            arguments: None: those of its declaration. Give them for a queue of level NONE, which is declared without.
            clock: Seconds since the epoch (UTC), for the expiry of messages.

        Raises:
            ArgumentError: It has no index, or its arguments are not those of `QueueArguments`, or do not fit it.
            CallerError: Another object delivers this queue in this term already: use that one.
            NotPrimary, StaleHandle: The handle cannot change the queue.
        """
        NODE("node", node)
        QUEUE("queue", queue)
        CALLBACK("clock", clock)
        ARGUMENTS("arguments", arguments)
        index = queue.index
        if not isinstance(index, MessageIndex):
            raise ArgumentError(
                f"queue {queue.name!r} of kind {queue.spec.kind!r} has no index: give the node queue_types with this kind"
            )
        self.queue = queue
        wanted = QueueArguments.decode(queue.arguments) if arguments is None else arguments
        self.arguments = effective(queue.spec.kind, wanted)
        """How it is delivered and limited."""
        if self.arguments.dead_letters == queue.name:
            raise ArgumentError(
                f"queue {queue.name!r} must have another queue for its dead letters than itself"
            )
        self._index = index
        self._messages = Messages(node, queue, self.arguments.dead_letters)
        self._dispatch = Dispatch(self._messages, index, self.arguments, clock)
        self._limits = Limits(queue.name, self.arguments, index, self._dispatch.taken, self._messages.size_at)
        queue.claim("DeliveryQueue")
        queue.on_content(self._content_came)
        self._dispatch.drop_superseded()  # A consumer of an earlier primary had them.

    @property
    def acquired(self) -> int:
        """Messages that consumers have, or that wait for the owner of their group."""
        return len(self._dispatch.taken)

    @property
    def available(self) -> bool:
        """Whether some consumer could acquire something."""
        return self._dispatch.available()

    @property
    def depth(self) -> int:
        """How many messages this node holds, without what was published in this turn."""
        return len(self._index)

    @property
    def nbytes(self) -> int:
        """The size of their data."""
        return self._index.nbytes

    def _content_came(self) -> None:
        self._dispatch.drop_superseded()  # Messages may have been moved here, which `publish` has not seen.
        self._drop_oldest()
        self._dispatch.tell()

    def _drop_oldest(self) -> None:
        if self.arguments.overflow is Overflow.DROP_OLDEST:
            self._dispatch.drop(self._limits.leaving((), 0, 0).driven_out)

    # --- publishing ------------------------------------------------------------------------------

    def publish(self, data: BytesLike, props: BytesLike = b"") -> OpT:
        """Publish one message. What has to leave for it, leaves in the same operation (rule OV1).

        Raises:
            QueueFull: It does not fit, and nothing may be driven out for it.
            UnknownQueue: The queue for dead letters does not exist.
            NotPrimary, NotEnoughMembers, StaleHandle, ArgumentError, WrongThread: As for `Queue.enqueue`.
        """
        if not self._decides:
            return self.queue.enqueue(data, props)
        nbytes = data.nbytes if isinstance(data, memoryview) else len(data)
        leaving = self._leaving([bytes(props)], 1, nbytes)
        if not leaving:
            return self.queue.enqueue(data, props)
        return self._replace([(data, props)], leaving)

    def publish_many(self, batch: Batch) -> OpT:
        """Publish a batch, with one operation if messages have to leave for it. Raises what `publish` raises.

        Raises:
            ArgumentError: In a last-value queue, two messages have the same key: publish the last one only. Or messages
                would leave for the batch, and it has more than ``transaction_bytes_max`` bytes: publish parts of it.
                Nothing was stored, and nothing left.
        """
        if not self._decides:
            return self.queue.enqueue_many(batch)
        props = [batch.props(n) for n in range(len(batch))]
        leaving = self._leaving(props, len(batch), batch.data_nbytes)
        if not leaving:
            return self.queue.enqueue_many(batch)
        return self._replace(list(zip(batch, props, strict=True)), leaving)

    def make_room(self, transaction: DeliveryTransaction[OpT], props: Sequence[bytes], nbytes: int) -> None:
        """Let leave with a transaction what has to leave for the messages that it publishes to this queue.

        So a transaction keeps limits and keys as `publish` does. Call it once for each queue, before the publishes are
        named, and commit in the same turn: what leaves is decided here, and a message that is gone by then is refused.

        Args:
            props: Those of each message that the transaction publishes here.
            nbytes: The size of their data, together.

        Raises:
            QueueFull: They do not fit, and nothing may be driven out for them.
            ArgumentError: In a last-value queue, two messages have the same key: publish the last one only.
            UnknownQueue: The queue for dead letters does not exist.
        """
        if self._decides and (leaving := self._leaving(list(props), len(props), nbytes)):
            self._leave(transaction, leaving)

    @property
    def _decides(self) -> bool:
        """Whether a publish may be refused, or make messages leave."""
        return self._index.keys is not None or self.arguments.limited

    def _leaving(self, props: list[bytes], messages: int, nbytes: int) -> Leaving:
        self.queue.flush()
        keys = list[bytes]()
        if self._index.keys is not None:
            keys = [key for own in props if (key := self._index.read(own).key) is not None]
            if len(set(keys)) < len(keys):
                raise ArgumentError("batch must not have two messages of one key: publish the last one only")
        return self._limits.leaving(keys, messages, nbytes)

    def _replace(self, messages: list[tuple[BytesLike, BytesLike]], leaving: Leaving) -> OpT:
        transaction = self._messages.transaction()
        parts = [transaction.enqueue(self.queue, data, props) for data, props in messages]
        self._leave(transaction, leaving)
        op = transaction.commit()
        op.ids = range(parts[0].ids.start, parts[-1].ids.stop)  # type: ignore[attr-defined]
        return op

    def _leave(self, transaction: DeliveryTransaction[OpT], leaving: Leaving) -> None:
        dropped, dead = leaving.replaced, leaving.driven_out
        if self.arguments.overflow is not Overflow.DEAD_LETTER:
            dropped, dead = dropped | dead, SequenceSet()
        self._messages.leave(transaction, dropped, dead)

    # --- consuming -------------------------------------------------------------------------------

    def consumer(
        self,
        *,
        priority: int = 0,
        exclusive: bool = False,
        on_available: Callable[[], None] | None = None,
    ) -> Consumer[OpT]:
        """A new consumer.

        Args:
            priority: While consumers of a higher priority are ready, they get all messages.
            exclusive: No other consumer may come while this one is there.
            on_available: Called at the end of a turn in which something may have come that it could acquire, and never
                from inside a method. What it raises is logged.

        Raises:
            ConsumerRefused: There is an exclusive consumer; or it is exclusive itself, and there are others.
            ArgumentError: An argument of a wrong type or out of range.
        """
        return Consumer(self._dispatch, self._dispatch.consumers.add(priority, exclusive, on_available))

    def browse(self) -> Iterator[tuple[MessageId, bytes, bytes]]:
        """(id, data, props) of the messages, in the order in which they would be delivered, without acquiring any.

        It reads as it goes: it does not see messages that leave, and sees those that come, unless they come at a place
        that it has passed. Messages that consumers have are among them. A fair share has no effect.
        """
        self.queue.flush()
        lanes = Lanes(self._index.levels, SequenceSet())
        while (lane := lanes.next()) is not None:
            ids, batch = self._messages.first(lane.peek(BROWSED_AT_ONCE), BROWSED_BYTES)
            lane.take(self.queue.places(ids))
            for n, id in enumerate(ids):
                yield id, batch.data(n), batch.props(n)

    def expire(self) -> OpT | None:
        """Drop messages that have expired, or move them to the queue for dead letters. O(messages that are due).

        `Consumer.acquire` does this first. Call it now and then besides, so that a queue without consumers does not grow.
        Messages that consumers have are left alone. Returns the op, or None if nothing has expired.

        Raises:
            UnknownQueue: The queue for dead letters does not exist.
            NotPrimary, NotEnoughMembers, StaleHandle, WrongThread: As for `Queue.dequeue`.
        """
        return self._dispatch.expire()


BROWSED_AT_ONCE = 100
BROWSED_BYTES = 1 << 20


def effective(kind: str, arguments: QueueArguments) -> QueueArguments:
    """The arguments as they hold for this kind: a ring drops its oldest messages, unless they go to dead letters.

    Raises:
        ArgumentError: A ring without a limit.
    """
    if kind != RING or arguments.overflow is Overflow.DEAD_LETTER:
        return arguments
    if not arguments.limited:
        raise ArgumentError("a ring needs messages_max or bytes_max")
    return replace(arguments, overflow=Overflow.DROP_OLDEST)
