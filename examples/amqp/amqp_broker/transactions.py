"""Transactions of clients (AMQP 1.0, part 4): publishes and settlements that happen together, or not at all.

A transaction collects, and becomes one operation when it is discharged: a failover keeps all of it, or nothing. The
client is told that it is committed when every member has it. If this node stops being primary before that, it is in
doubt: the connection ends without an answer, because neither answer would be certain to be true.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from proton import Condition, Delivery, Message, Receiver, ulong
from proton import Described as ProtonDescribed

from amqp_broker.publishing import Target, parsed, refusal
from amqp_broker.queues import BrokerQueue, props_of
from amqp_broker.refusals import DECODE, EXCEEDED, NOT_IMPLEMENTED, ROLLBACK, UNKNOWN_TRANSACTION, Refused
from qpidha import Op, QpidhaError, SequenceSet, Transaction

if TYPE_CHECKING:
    from amqp_broker.connection import ClientConnection
    from amqp_broker.outgoing import Outgoing

DECLARED, TRANSACTIONAL, ACCEPTED = 0x33, 0x34, 0x24
DECLARE, DISCHARGE = 0x31, 0x32
NAMES = {"amqp:declare:list": DECLARE, "amqp:discharge:list": DISCHARGE}
OPEN_MAX = 1000
CREDIT = 100
MESSAGE_BYTES = 256
"""What a message takes besides its content."""


@dataclass
class ClientTransaction:
    """What one transaction has collected."""

    id: bytes
    connection: ClientConnection
    publishes: list[tuple[list[BrokerQueue], bytes, bytes]] = field(default_factory=list)
    settled: list[tuple[Outgoing, int, Any, Delivery]] = field(default_factory=list)
    nbytes: int = 0

    def publish(self, target: Target, data: bytes) -> None:
        """Collect a publish. Raises `Refused` if no queue takes it."""
        message = parsed(data)
        if message.number is not None:
            raise Refused(NOT_IMPLEMENTED, "a message in a transaction cannot have a number")
        queues = target.queues(message)
        self.connection.transactions.keep(self, len(data))
        try:
            self.publishes.append((queues, data, props_of(message, queues)))
        except QpidhaError as error:
            raise refusal(error) from error

    def accepted_for_now(self, delivery: Delivery) -> None:
        """Answer a publish: it is accepted if the transaction is committed."""
        set_state(delivery, self.id, ProtonDescribed(ulong(ACCEPTED), []))
        delivery.update(TRANSACTIONAL)
        delivery.settle()

    def settle(self, outgoing: Outgoing, id: int, delivery: Delivery) -> None:
        """Collect a settlement."""
        self.settled.append((outgoing, id, _outcome(delivery), delivery))

    # --- the end ---------------------------------------------------------------------------------

    def commit(self) -> Op | None:
        """Make one operation of it; None if it is empty. What is refused is raised, and nothing has changed."""
        if any(outgoing.closed for outgoing, _, _, _ in self.settled):
            raise Refused(ROLLBACK, "a link whose messages it accepts was closed")
        accepted = self._ids(ACCEPTED)
        if self.publishes or accepted:
            with self.connection.term.node.transaction() as t:
                self._collect(t, accepted)
            op: Op | None = t.op
        else:
            op = None
        for outgoing, ids in accepted.items():
            _ = outgoing.consumer.accept(ids)  # They are gone: this ends that the consumer has them.
        for outgoing, ids in self._ids(None).items():
            outgoing.consumer.release(ids)
        return op

    def _collect(self, t: Transaction, accepted: dict[Outgoing, SequenceSet]) -> None:
        limited: dict[BrokerQueue, list[tuple[bytes, int]]] = {}
        for queues, data, props in self.publishes:
            for queue in queues:
                if not queue.plain:
                    limited.setdefault(queue, []).append((props, len(data)))
        for outgoing, ids in accepted.items():
            t.dequeue(outgoing.queue.queue, ids)
        for queue, messages in limited.items():
            queue.delivery.make_room(t, [props for props, _ in messages], sum(size for _, size in messages))
        for queues, data, props in self.publishes:
            if len(queues) == 1:
                t.enqueue(queues[0].queue, data, props)
            else:
                t.publish([queue.queue for queue in queues], data, props)

    def rollback(self) -> None:
        """Drop what was published; what was to be settled goes back to the consumer's queue."""
        for outgoing, id, _, _ in self.settled:
            if not outgoing.closed:
                outgoing.consumer.release(SequenceSet([id]))
        self.finish(Delivery.RELEASED)

    def _ids(self, outcome: Any) -> dict[Outgoing, SequenceSet]:
        """By link, the messages with this outcome; None: with any other than accepted."""
        found: dict[Outgoing, SequenceSet] = {}
        for outgoing, id, said, _ in self.settled:
            if (said == ACCEPTED) == (outcome == ACCEPTED):
                found.setdefault(outgoing, SequenceSet()).add(id)
        return found

    def finish(self, accepted: int = Delivery.ACCEPTED) -> None:
        """Tell the consumer what has become of its messages."""
        if not self.connection.lost:
            for outgoing, _, said, delivery in self.settled:
                if not outgoing.closed:
                    delivery.update(accepted if said == ACCEPTED else Delivery.RELEASED)
                    delivery.settle()


def state(delivery: Delivery) -> list[Any]:
    """The fields of a transactional state, which may be anything: an id, and perhaps an outcome."""
    data: Any = delivery.remote.data
    return [*data, None, None] if isinstance(data, list) else [None, None]


def set_state(delivery: Delivery, *values: Any) -> None:
    """The content of a state that the engine does not know."""
    delivery.local.data = list(values)


def _outcome(delivery: Delivery) -> Any:
    """The outcome in a transactional state: its descriptor."""
    descriptor = getattr(state(delivery)[1], "descriptor", None)
    return ACCEPTED if descriptor in (ACCEPTED, "amqp:accepted:list") else descriptor


class Transactions:
    """The open transactions of one connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._open: dict[bytes, ClientTransaction] = {}
        self._numbers = count(1)
        self._nbytes = 0

    def declare(self) -> ClientTransaction:
        """Begin one. Raises `Refused`."""
        if len(self._open) >= OPEN_MAX:
            raise Refused(EXCEEDED, f"{OPEN_MAX} transactions are open on this connection")
        id = str(next(self._numbers)).encode()
        made = self._open[id] = ClientTransaction(id, self._connection)
        return made

    def keep(self, transaction: ClientTransaction, nbytes: int) -> None:
        """A transaction keeps a message. Raises `Refused`: all of this connection have as much as one commit may."""
        limit = self._connection.term.settings.transaction_bytes_max
        if self._nbytes + nbytes + MESSAGE_BYTES > limit:
            raise Refused(EXCEEDED, f"the open transactions of this connection have more than {limit} bytes")
        self._nbytes += nbytes + MESSAGE_BYTES
        transaction.nbytes += nbytes + MESSAGE_BYTES

    def of(self, delivery: Delivery) -> ClientTransaction:
        """The transaction that a delivery names. Raises `Refused`."""
        return self.require(state(delivery)[0])

    def require(self, id: Any) -> ClientTransaction:
        """The transaction with this id. Raises `Refused`."""
        found = self._open.get(bytes(id) if isinstance(id, (bytes, bytearray, memoryview)) else b"")
        if found is None:
            raise Refused(UNKNOWN_TRANSACTION, "there is no such transaction on this connection")
        return found

    def take(self, id: Any) -> ClientTransaction:
        """The transaction with this id, which is over now. Raises `Refused`."""
        transaction = self.require(id)
        del self._open[transaction.id]
        self._nbytes -= transaction.nbytes
        return transaction

    def commit(self, transaction: ClientTransaction) -> Op | None:
        """Commit it. Returns the op; None if there was nothing in it. Raises `Refused` if it was rolled back instead."""
        try:
            return transaction.commit()
        except (QpidhaError, Refused) as error:
            transaction.rollback()
            raise Refused(ROLLBACK, f"rolled back: {error}") from error

    def end(self) -> None:
        """The connection is lost: what was not discharged never happened."""
        for transaction in self._open.values():
            transaction.rollback()
        self._open.clear()


class Coordinator:
    """The link on which a client declares and discharges transactions."""

    def __init__(self, connection: ClientConnection, link: Receiver) -> None:
        self._connection = connection
        self._link = link
        self._closed = False

    def begin(self) -> None:
        """The link is open."""
        self._link.flow(CREDIT)

    def delivery(self, delivery: Delivery) -> None:
        """A request has arrived."""
        if not self._connection.whole(delivery):
            return
        data = self._link.recv(delivery.pending) or b""
        self._link.advance()
        self._link.flow(1)
        try:
            self._do(delivery, data)
        except Refused as refused:
            delivery.local.condition = Condition(refused.condition, refused.description)
            delivery.update(Delivery.REJECTED)
            delivery.settle()

    def _do(self, delivery: Delivery, data: bytes) -> None:
        code, values = request(data)
        transactions = self._connection.transactions
        if code == DECLARE:
            set_state(delivery, transactions.declare().id)
            delivery.update(DECLARED)
            delivery.settle()
            return
        transaction = transactions.take(values[0] if values else None)
        op = None
        if len(values) > 1 and values[1]:
            transaction.rollback()
        else:
            op = transactions.commit(transaction)

        def committed(_: Op | None, error: QpidhaError | None) -> None:
            if error is not None or self._connection.lost:
                return
            if op is not None:
                transaction.finish()
            if not self._closed:
                delivery.update(Delivery.ACCEPTED)
                delivery.settle()
            self._connection.flush_soon()

        if op is None:
            committed(None, None)
        else:
            op.add_safe_callback(committed)

    def end(self) -> None:
        """The link is closed."""
        self._closed = True


def request(data: bytes) -> tuple[int, list[Any]]:
    """What a message to the coordinator asks for. Raises `Refused`."""
    message = Message()
    try:
        message.decode(data)
    except Exception as error:
        raise Refused(DECODE, f"the request cannot be read: {error}") from error
    body: Any = message.body
    descriptor = getattr(body, "descriptor", None)
    code = NAMES.get(str(descriptor), descriptor)
    if code not in (DECLARE, DISCHARGE):
        raise Refused(NOT_IMPLEMENTED, "the coordinator knows declare and discharge")
    return int(code), list(body.value) if isinstance(body.value, list) else []
