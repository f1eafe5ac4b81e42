"""Links from which clients consume: they take messages of a queue, or look at them (`Browser`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from proton import Condition, Delivery, Link, Sender

from amqp_broker.publishing import refusal
from amqp_broker.queues import BrokerQueue
from amqp_broker.refusals import DELETED, Refused
from amqp_broker.sections import with_delivery_count
from qpidha import Op, QpidhaError, SequenceSet
from qpidha.queues import MSGPACK

if TYPE_CHECKING:
    from amqp_broker.connection import ClientConnection

ACQUIRE_MESSAGES_MAX = 500
ACQUIRE_BYTES_MAX = 1 << 20
"""Given to the engine in one turn. A client that reads slowly, or whose session has a small window, gets no more than
that ahead: what it has credit for stays in the queue until then, and takes no memory twice."""
TRANSACTIONAL = 0x34
OUTCOMES = (Delivery.ACCEPTED, Delivery.REJECTED, Delivery.RELEASED, Delivery.MODIFIED)


def content(data: bytes, props: bytes) -> bytes:
    """A message as it is delivered: with the number of its failed deliveries."""
    if not props:
        return data
    deliveries = MSGPACK.read(props).deliveries
    return with_delivery_count(data, deliveries) if deliveries else data


class Outgoing:
    """Delivers the messages of one queue to one consumer, as many as it has credit for."""

    def __init__(
        self, connection: ClientConnection, link: Sender, queue: BrokerQueue, priority: int = 0
    ) -> None:
        """Raises `Refused`."""
        queue.require_consumer(connection)
        self._connection = connection
        self._link = link
        self.queue = queue
        try:
            self.consumer = queue.delivery.consumer(priority=priority, on_available=self.wake)
        except QpidhaError as error:
            raise refusal(error) from error
        self.consumer.ready = False
        self.closed = False
        queue.links.add(self.deleted)
        if queue.ends_with_link and queue.link is None:
            queue.link = self
        self._settled_at_once = link.snd_settle_mode == Link.SND_SETTLED
        self._ids: dict[str, int] = {}
        """Delivered and not settled: the id of the message, by the tag of its delivery."""
        self._tag = 0
        self._outcomes: dict[Any, list[Delivery]] = {}
        """By outcome, what the client has said in this turn."""

    def begin(self) -> None:
        """The link is open."""

    # --- delivering ------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something may be there, or the client has more credit."""
        if not self.closed and not self._connection.lost:
            self._deliver()

    def _deliver(self) -> None:
        link, room = self._link, ACQUIRE_BYTES_MAX
        try:
            while (credit := link.credit) > 0 and not self._connection.congested:
                if self._connection.must_wait(link, room, self.wake):
                    return
                got = self.consumer.acquire(min(credit, ACQUIRE_MESSAGES_MAX), room)
                if got is None:
                    break
                ids, batch = got
                room -= batch.nbytes
                for n, id in enumerate(ids):
                    self._send(id, content(batch.data(n), batch.props(n)))
                if self._settled_at_once:
                    _ = self.consumer.accept(ids)
            if link.credit > 0 and link.drain_mode:
                link.drained()
        except QpidhaError:
            return  # This node is not primary any more, or its disk has failed: the connection ends.
        self.consumer.ready = link.credit > 0 and not self._connection.congested
        self._connection.flush_soon()

    def _send(self, id: int, data: bytes) -> None:
        self._tag += 1
        tag = str(self._tag)
        delivery = self._link.delivery(tag)
        self._link.stream(data)
        self._link.advance()
        if self._settled_at_once:
            delivery.settle()
        else:
            self._ids[tag] = id

    # --- settling --------------------------------------------------------------------------------

    def delivery(self, delivery: Delivery) -> None:
        """The client has said what becomes of a message."""
        if self.closed:
            return
        state = delivery.remote_state
        if state == TRANSACTIONAL:
            self._in_transaction(delivery)
            return
        if state not in OUTCOMES:
            if not delivery.settled:
                return  # It says how much it has received.
            state = Delivery.RELEASED
        if state == Delivery.MODIFIED:
            remote = delivery.remote
            state = (
                Delivery.REJECTED if remote.undeliverable else state if remote.failed else Delivery.RELEASED
            )
        if not self._outcomes:
            self._connection.at_end_of_turn(self._settle)
        self._outcomes.setdefault(state, []).append(delivery)

    def _settle(self) -> None:
        """Do what the client has said in this turn: one operation for each kind of outcome."""
        outcomes, self._outcomes = self._outcomes, {}
        if self.closed:
            return
        for state, deliveries in outcomes.items():
            ids = self.take(deliveries)
            try:
                op = self._apply(state, ids)
            except QpidhaError as error:
                self._connection.refuse(refusal(error))
                return
            waiting = [delivery for delivery in deliveries if not delivery.settled]
            for delivery in deliveries:
                if delivery.settled:
                    delivery.settle()
            if waiting and op is not None:
                op.add_safe_callback(partial(self._confirm, waiting, state))
            elif waiting:
                self._confirm(waiting, state, None, None)
        self._connection.flush_soon()

    def take(self, deliveries: list[Delivery]) -> SequenceSet:
        """The messages of these deliveries, which are settled now."""
        return SequenceSet([id for each in deliveries if (id := self._ids.pop(each.tag, None)) is not None])

    def _apply(self, state: Any, ids: SequenceSet) -> Op | None:
        if state == Delivery.ACCEPTED:
            return self.consumer.accept(ids)
        if state == Delivery.REJECTED:
            return self.consumer.reject(ids)
        if state == Delivery.MODIFIED:
            return self.consumer.fail(ids)
        self.consumer.release(ids)
        return None

    def _confirm(
        self, deliveries: list[Delivery], state: Any, _: Op | None, error: QpidhaError | None
    ) -> None:
        if error is None and not self._connection.lost and not self.closed:
            for delivery in deliveries:
                delivery.update(state)
                delivery.settle()
            self._connection.flush_soon()

    def _in_transaction(self, delivery: Delivery) -> None:
        try:
            transaction = self._connection.transactions.of(delivery)
            if (id := self._ids.pop(delivery.tag, None)) is not None:
                transaction.settle(self, id, delivery)
        except Refused as refused:
            self._link.condition = Condition(refused.condition, refused.description)
            self._link.close()

    def deleted(self) -> None:
        """The queue is gone, with what this client has not settled."""
        self.closed = True
        _detach(self._connection, self._link, self.queue)

    def end(self) -> None:
        """The link is closed: what is not settled goes back to the queue."""
        self.closed = True
        self.queue.links.discard(self.deleted)
        self.consumer.close()
        if self.queue.link is self and not self._connection.lost:
            self._connection.broker.release(self._connection, self.queue)


class Browser:
    """Shows the messages of a queue to one client, without taking them."""

    def __init__(self, connection: ClientConnection, link: Sender, queue: BrokerQueue) -> None:
        """Raises `Refused`."""
        queue.require_consumer(connection)
        self._connection = connection
        self._link = link
        self.queue = queue
        self._seen = SequenceSet()
        self._tag = 0
        queue.browsers.add(self.wake)
        queue.links.add(self.deleted)

    def begin(self) -> None:
        """The link is open."""

    def wake(self) -> None:
        """Something may be there, or the client has more credit."""
        link, room = self._link, ACQUIRE_BYTES_MAX
        if self._connection.lost or link.credit <= 0 or not link.state & Link.LOCAL_ACTIVE:
            return
        for id, data, props in self.queue.delivery.browse():
            if link.credit <= 0 or self._connection.congested:
                break
            if self._connection.must_wait(link, room, self.wake):
                return
            if id not in self._seen:
                room -= len(data)
                self._seen.add(id)
                self._tag += 1
                delivery = link.delivery(str(self._tag))
                link.stream(content(data, props))
                link.advance()
                delivery.settle()
        if link.credit > 0 and link.drain_mode:
            link.drained()
        self._connection.flush_soon()

    def delivery(self, delivery: Delivery) -> None:
        """What a browser says of a message changes nothing."""
        delivery.settle()

    def deleted(self) -> None:
        """The queue is gone."""
        self.queue.browsers.discard(self.wake)
        _detach(self._connection, self._link, self.queue)

    def end(self) -> None:
        """The link is closed."""
        self.queue.browsers.discard(self.wake)
        self.queue.links.discard(self.deleted)


def _detach(connection: ClientConnection, link: Sender, queue: BrokerQueue) -> None:
    """Tell a client that its queue was deleted. It answers, and then the link is freed."""
    if not connection.lost:
        link.condition = Condition(DELETED, f"queue {queue.name!r} was deleted")
        link.close()
        connection.flush_soon()
