"""One message on its way: from where a client publishes to the queues that take it, as one operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from amqp_broker.exchanges import Exchange
from amqp_broker.queues import BrokerQueue, props_of
from amqp_broker.refusals import DECODE, EXCEEDED, NOT_ALLOWED, NOT_FOUND, PRECONDITION, Refused
from amqp_broker.sections import Sections, read
from qpidha import ArgumentError, Op, QpidhaError, SequenceGap, Transaction
from qpidha.errors import NotEnoughMembers, QueueFull

if TYPE_CHECKING:
    from amqp_broker.term import Term

Confirm = Callable[[], None]


class Into(Protocol):
    """What publishes: a transaction of a client collects."""

    def publish(self, queues: list[BrokerQueue], data: bytes, props: bytes) -> None:
        """Publish one message."""


class Target:
    """Where a client publishes: a queue, an exchange, or whatever each message names (``to``)."""

    def __init__(self, term: Term, address: str | None, subject: str = "") -> None:
        """Raises `Refused`: there is nothing of this name."""
        self._term = term
        self.address = address
        self._subject = subject
        if address is not None:
            self._resolve(address)

    def _resolve(self, address: str) -> BrokerQueue | Exchange:
        found = self._term.queues.get(address) or self._term.exchanges.get(address)
        if found is None:
            raise Refused(NOT_FOUND, f"there is no queue or exchange {address!r}")
        return found

    def queues(self, message: Sections) -> list[BrokerQueue]:
        """The queues that take a message. Raises `Refused` if there are none."""
        term, subject = self._term, message.subject or self._subject
        address = self.address if self.address is not None else message.to
        if address is None:
            raise Refused(NOT_FOUND, "a message to no address must have one in its property 'to'")
        place = term.queues.get(address)
        if place is not None:
            return [place]
        exchange = term.exchanges.get(address)
        if exchange is None:
            name, slash, key = address.partition("/")
            if not slash or (exchange := term.exchanges.get(name)) is None:
                raise Refused(NOT_FOUND, f"there is no queue or exchange {address!r}")
            subject = message.subject or key
        names = term.exchanges.route(exchange, subject, message.application)
        found = [queue for name in names if (queue := term.queues.get(name)) is not None]
        if not found:
            raise Refused(
                NOT_FOUND, f"no queue takes the subject {subject!r} from exchange {exchange.name!r}"
            )
        return found


def parsed(data: bytes) -> Sections:
    """The sections of a message. Raises `Refused`."""
    try:
        return read(data)
    except (ValueError, TypeError) as error:
        raise Refused(DECODE, f"the message cannot be read: {error}") from error


def publish(term: Term, target: Target, data: bytes, confirm: Confirm) -> None:
    """Publish one message; ``confirm`` is called when it is safe in all of its queues.

    Raises:
        Refused: Nothing was stored.
    """
    message = parsed(data)
    try:
        number = message.number
        if number is not None:
            _publish_numbered(term, target, message, data, number, confirm)
            return
        queues = target.queues(message)
        props = props_of(message, queues)
        if len(queues) == 1:
            queues[0].publish(data, props, confirm)
        else:
            with term.node.transaction() as t:
                fan_out(t, queues, data, props)
            t.op.add_safe_callback(confirming(confirm))
    except (QpidhaError, ValueError, TypeError) as error:
        raise refusal(error) from error


def fan_out(transaction: Transaction, queues: list[BrokerQueue], data: bytes, props: bytes) -> None:
    """Publish one message to some queues: it is stored and sent once. What has to leave for it leaves with it."""
    for queue in queues:
        if not queue.plain:
            queue.delivery.make_room(transaction, [props], len(data))
    transaction.publish([queue.queue for queue in queues], data, props)


def _publish_numbered(
    term: Term, target: Target, message: Sections, data: bytes, number: tuple[str, int], confirm: Confirm
) -> None:
    """Publish a message that may have come before: it is looked up first, because its queues may be gone."""
    producer = term.numbers.producer(*number)
    op: Op | None = producer.answer(number[1])
    if op is None:
        queues = target.queues(message)
        props = props_of(message, queues)
        if len(queues) == 1 and queues[0].plain:
            op = producer.enqueue(queues[0].queue, data, props, sequence=number[1])
        else:
            with producer.transaction(sequence=number[1]) as t:
                fan_out(t, queues, data, props)
            op = t.op
    op.add_safe_callback(confirming(confirm))


def confirming(confirm: Confirm) -> Callable[[Op, QpidhaError | None], None]:
    """As a callback of an op: what is in doubt is never confirmed, and its connection ends."""

    def told(_: Op, error: QpidhaError | None) -> None:
        if error is None:
            confirm()

    return told


def refusal(error: Exception) -> Refused:
    """What the client is told of an error of the library."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, (QueueFull, NotEnoughMembers)):
        return Refused(EXCEEDED, str(error))
    if isinstance(error, SequenceGap):
        return Refused(PRECONDITION, str(error))
    if isinstance(error, (ArgumentError, ValueError, TypeError)):
        return Refused(DECODE, str(error))
    return Refused(NOT_ALLOWED, str(error))
