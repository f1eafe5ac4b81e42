"""A link on which a client publishes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proton import Condition, Delivery, Link, Receiver

from amqp_broker.publishing import Target, publish
from amqp_broker.refusals import EXCEEDED, Refused

if TYPE_CHECKING:
    from amqp_broker.connection import ClientConnection

CREDIT = 2000
"""Messages of a link that may be on their way: more than the rate times the time until they are safe."""
TRANSACTIONAL = 0x34
PART_BYTES = 64
"""What each part of a message takes besides its content."""


class Incoming:
    """Publishes what arrives, and settles it when it is safe."""

    def __init__(self, connection: ClientConnection, link: Receiver, target: Target) -> None:
        self._connection = connection
        self._link = link
        self._target = target
        self._parts: list[bytes] = []
        self._size = 0
        self._counted = 0
        self._closed = False
        self._owed = 0
        """Deliveries that are over, for which the client was not given credit again."""

    def begin(self) -> None:
        """The link is open."""
        self._link.flow(CREDIT)

    def delivery(self, delivery: Delivery) -> None:
        """Something of a message has arrived, or the client has settled one."""
        if delivery.readable and not self._read(delivery):
            return
        if delivery.aborted or (delivery.settled and not self._parts):
            self._forget()
            delivery.settle()

    def _read(self, delivery: Delivery) -> bool:
        """Take what is there. Returns False if that was all there is to do with it."""
        if delivery.aborted:
            return True
        if pending := delivery.pending:
            self._size += pending
            part = self._link.recv(pending)
            if self._size <= self._connection.message_bytes_max:
                self._parts.append(part or b"")
        if delivery.partial:
            self._count()
            return False
        data, size = b"".join(self._parts), self._size
        self._forget()
        self._link.advance()
        try:
            self._publish(delivery, data, size)
        except Refused as refused:
            self._reject(delivery, refused)
        return False

    def _count(self) -> None:
        """The connection counts what it keeps for all of its links. Raises `Refused`, which ends it."""
        kept = min(self._size, self._connection.message_bytes_max) + PART_BYTES * len(self._parts)
        more, self._counted = kept - self._counted, kept
        self._connection.came(more)

    def _forget(self) -> None:
        """A message is whole, or will never be."""
        self._connection.came(-self._counted)
        self._parts, self._size, self._counted = [], 0, 0

    def _publish(self, delivery: Delivery, data: bytes, size: int) -> None:
        connection = self._connection
        if size > connection.message_bytes_max:
            limit = connection.message_bytes_max
            raise Refused(EXCEEDED, f"a message of {size} bytes; {limit} is the limit")
        if delivery.remote_state == TRANSACTIONAL:
            transaction = connection.transactions.of(delivery)
            transaction.publish(self._target, data)
            transaction.accepted_for_now(delivery)
            self._over(1)
        elif delivery.settled:
            publish(connection.term, self._target, data, partial(self._over, 1))
            delivery.settle()
        else:
            publish(connection.term, self._target, data, partial(self._accept, delivery))

    def _accept(self, delivery: Delivery) -> None:
        if not self._connection.lost and not self._closed:
            delivery.update(Delivery.ACCEPTED)
            delivery.settle()
            self._over(1)

    def _reject(self, delivery: Delivery, refused: Refused) -> None:
        if not delivery.settled:
            delivery.local.condition = Condition(refused.condition, refused.description)
            delivery.update(Delivery.REJECTED)
        delivery.settle()
        self._over(1)

    def _over(self, messages: int) -> None:
        """So many more may be sent."""
        self._owed += messages
        if self._closed or self._connection.lost:
            return
        if self._owed >= CREDIT // 4 and self._link.state & Link.LOCAL_ACTIVE:
            self._link.flow(self._owed)
            self._owed = 0
        self._connection.flush_soon()

    def end(self) -> None:
        """The link is closed."""
        self._closed = True
        self._forget()
