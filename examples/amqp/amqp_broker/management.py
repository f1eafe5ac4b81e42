"""``$management``: a client creates, reads, queries and deletes what the broker has, by messages.

A request is a message with the application properties ``operation``, ``type`` and ``name``, its body is
a map of attributes, and it has an address for the answer (``reply_to``), usually that of a dynamic source. The
answer has ``statusCode`` and ``statusDescription``, and a map as its body. It is given when what it says is safe.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from proton import Delivery, Message, ProtonException, Receiver

from amqp_broker.manager import Manager
from amqp_broker.publishing import Target, publish, refusal
from amqp_broker.refusals import NOT_FOUND, UNAUTHORIZED, Refused
from qpidha import Op, QpidhaError

if TYPE_CHECKING:
    from amqp_broker.connection import ClientConnection

CREDIT = 100
STATUS = {NOT_FOUND: 404, UNAUTHORIZED: 403}


class Management:
    """The link on which one client sends requests."""

    def __init__(self, connection: ClientConnection, link: Receiver) -> None:
        self._connection = connection
        self._link = link
        self._manager = Manager(connection.term, connection)

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
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()
        request: Any = Message()
        try:
            request.decode(data)
        except ProtonException:
            return  # It has no address for an answer.
        self._do(request)

    def _do(self, request: Any) -> None:
        properties: dict[str, Any] = request.properties or {}
        try:
            op, status, body = self._manager.do(properties, request.body)
        except (Refused, QpidhaError, TypeError, ValueError) as error:
            refused = refusal(error)
            self._answer(request, STATUS.get(refused.condition, 400), refused.description, {})
            return
        if op is None:
            self._answer(request, status, "OK", body)
        else:
            op.add_safe_callback(partial(self._safe, request, status, body))

    def _safe(self, request: Any, status: int, body: Any, _: Op, error: QpidhaError | None) -> None:
        if error is None:
            self._answer(request, status, "OK", body)

    def _answer(self, request: Any, status: int, description: str, body: Any) -> None:
        if self._connection.lost or not request.reply_to:
            return
        answer = Message(
            body=body,
            address=request.reply_to,
            correlation_id=request.correlation_id or request.id,
            properties={"statusCode": status, "statusDescription": description},
        )
        try:
            target = Target(self._connection.term, request.reply_to)
            publish(self._connection.term, target, answer.encode(), _ignore)
        except (Refused, QpidhaError):
            return  # Whoever asked is gone.
        self._connection.flush_soon()

    def end(self) -> None:
        """The link is closed."""


def _ignore() -> None:
    """An answer need not be safe."""
