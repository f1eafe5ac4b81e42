"""One client: its connection, and the links on it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from proton import Condition, Delivery, Endpoint, Event, Link, ProtonException

from amqp_broker.engine import Engine
from amqp_broker.outgoing import Browser, Outgoing
from amqp_broker.refusals import DECODE, EXCEEDED, INTERNAL, Refused
from amqp_broker.sasl import Sasl, SaslError, UsersError
from amqp_broker.sources import attach_source, attach_target
from amqp_broker.transactions import Transactions
from qpidha import Node, QpidhaError

if TYPE_CHECKING:
    from amqp_broker.broker import Broker
    from amqp_broker.term import Term

HANDSHAKE_S = 10.0
"""Also for the end: a client that was refused has so long to close its connection."""
LINKS_MAX = 1000
"""Of one connection."""
UNFINISHED_BYTES_MAX = 64 << 20
"""Of messages on all links of a connection, of which the rest has not come."""
UNREAD_BYTES_MAX = 8 << 20
"""A client that does not read so much is not read from until it does: its requests have answers, which take memory."""
UNREADABLE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
    ProtonException,
)
"""What the engine raises for values of clients that are not what the specification says: it decodes them late."""
OUTGOING_BYTES_MAX = 1 << 20
"""A session's, which its client was not ready to take yet."""
OUTGOING_BYTES_TOGETHER = 16 << 20
"""The same of all sessions of a connection."""
log = logging.getLogger("amqp")


class Served(Protocol):
    """The broker's side of a link."""

    def begin(self) -> None: ...
    def delivery(self, delivery: Delivery) -> None: ...
    def end(self) -> None: ...


class ClientConnection(asyncio.Protocol):
    """What one client asks for, and what it is told. It ends when the node stops being primary."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.term: Term = broker.term
        self.message_bytes_max = broker.settings.message_bytes_max // 2
        self.lost = False
        self.congested = False
        """The client reads more slowly than the broker writes: deliver nothing for now."""
        self.transactions = Transactions(self)
        self.user: str | None = None
        self._links: dict[Link, Served] = {}
        self._sessions: set[Any] = set()
        self._end_of_turn: list[Callable[[], None]] = []
        self._held: list[Callable[[], None]] = []
        self._ignored = 0
        self.unfinished = 0
        """Bytes of messages of which the rest has not come."""

    # --- what asyncio calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out = cast(asyncio.Transport, transport)
        self.broker.connections.add(self)
        name = certificate_name(transport.get_extra_info("ssl_object"))
        access = self.broker.access
        self._sasl = Sasl(access.users, anonymous=access.anonymous, certificate_name=name)
        self._engine = Engine(self._event, server=True, idle_timeout_s=access.idle_timeout_s)
        self._handshake = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._out.abort)

    def data_received(self, data: bytes) -> None:
        if not self._sasl.done:
            data = self._authenticate(data)
        if data and self._sasl.done and not self._sasl.failed:
            if self.lost:
                data = self._rest(data)
            self._engine.received(data)
            self._finish_turn()
            if self._out.get_write_buffer_size() > UNREAD_BYTES_MAX:
                self._out.pause_reading()

    def _rest(self, data: bytes) -> bytes:
        """What comes after a client was refused: its end is in it, but not after very much else."""
        self._ignored += len(data)
        return data if self._ignored < UNREAD_BYTES_MAX else b""

    def _authenticate(self, data: bytes) -> bytes:
        try:
            answer, rest = self._sasl.received(data)
        except (SaslError, UsersError) as error:
            log.warning("client dropped: %s", error)
            self._out.abort()
            return b""
        if answer:
            self._out.write(answer)
        if self._sasl.failed:
            self._out.close()
        elif self._sasl.done:
            self.user = self._sasl.user
            self._engine.begin(self._out)
        return rest

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._handshake.cancel()
        self.broker.connections.discard(self)
        self.transactions.end()
        for served in list(self._links.values()):
            _quietly(served.end)
        self._links.clear()
        self._sessions.clear()
        self._engine.end()
        self.broker.release(self)

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        self._out.resume_reading()
        for served in list(self._links.values()):
            if isinstance(served, (Outgoing, Browser)):
                served.wake()

    # --- what links call -------------------------------------------------------------------------

    @property
    def node(self) -> Node:
        return self.term.node

    def flush_soon(self) -> None:
        """Send at the end of this turn."""
        self._engine.flush_soon()

    def whole(self, delivery: Delivery) -> bool:
        """Whether a request has arrived. Raises `Refused`, which ends the connection, if it is too large to wait for."""
        if delivery.pending > self.message_bytes_max:
            raise Refused(EXCEEDED, f"a request of more than {self.message_bytes_max} bytes")
        return delivery.readable and not delivery.partial

    def came(self, nbytes: int) -> None:
        """A part of a message has come; less than 0: so much is not waited for. Raises `Refused` at the limit."""
        self.unfinished += nbytes
        if self.unfinished > UNFINISHED_BYTES_MAX:
            raise Refused(EXCEEDED, f"more than {UNFINISHED_BYTES_MAX} bytes of messages that are not whole")

    def must_wait(self, link: Link, room: int, wake: Callable[[], None]) -> bool:
        """Whether a link must not deliver more now: it has had its turn, or the client's session takes no more yet."""
        if link.session.outgoing_bytes >= OUTGOING_BYTES_MAX or self._is_full:
            self._held.append(wake)  # The client says when there is room again.
        elif room <= 0:
            asyncio.get_running_loop().call_soon(wake)
        else:
            return False
        self.flush_soon()
        return True

    @property
    def _is_full(self) -> bool:
        """The client has not taken yet what its sessions may have together: it takes many to come to that."""
        few = len(self._sessions) <= OUTGOING_BYTES_TOGETHER // OUTGOING_BYTES_MAX
        return not few and sum(each.outgoing_bytes for each in self._sessions) >= OUTGOING_BYTES_TOGETHER

    def at_end_of_turn(self, call: Callable[[], None]) -> None:
        """Call this when all that has arrived was looked at."""
        self._end_of_turn.append(call)

    def _finish_turn(self) -> None:
        calls, self._end_of_turn = self._end_of_turn, []
        for call in calls:
            call()
        held, self._held = self._held, []
        for wake in held:
            wake()

    def abort(self) -> None:
        """End the connection without another frame."""
        self.lost = True
        self._out.abort()

    def refuse(self, refused: Refused) -> None:
        """End the connection, and say why. What else the client says is ignored."""
        if self.lost:
            return
        self.lost = True
        self._engine.connection.condition = Condition(refused.condition, refused.description)
        self._engine.connection.close()
        self.flush_soon()
        asyncio.get_running_loop().call_later(HANDSHAKE_S, self._out.abort)

    # --- what the client says --------------------------------------------------------------------

    def _event(self, event: Any) -> None:
        if self.lost:
            return
        type = event.type
        try:
            if type is Event.DELIVERY:
                served = self._links.get(event.link)
                if served is not None:
                    served.delivery(event.delivery)
            elif type is Event.LINK_FLOW:
                served = self._links.get(event.link)
                if isinstance(served, (Outgoing, Browser)):
                    served.wake()
            elif (handler := HANDLERS.get(type)) is not None:
                handler(self, event)
        except Refused as refused:
            self.refuse(refused)
        except QpidhaError as error:
            log.warning("client dropped: %s", error)
            self.refuse(Refused(INTERNAL, str(error)))
        except UNREADABLE as error:
            log.debug("where it was found", exc_info=True)
            self._unreadable(error)

    def _unreadable(self, error: Exception) -> None:
        said = f"it sent what cannot be read: {type(error).__name__}: {error}"
        log.warning("client dropped: %s", said)
        self.refuse(Refused(DECODE, said))

    def _opened(self, event: Any) -> None:
        self._handshake.cancel()
        connection = event.connection
        connection.container = self.broker.name
        connection.offered_capabilities = ["ANONYMOUS-RELAY"]
        connection.properties = {"product": "qpidha-amqp"}
        connection.open()

    def _session(self, event: Any) -> None:
        self._sessions.add(event.session)
        event.session.open()

    def _attached(self, event: Any) -> None:
        link = event.link
        try:
            served = self._serve(link)
        except Refused as refused:
            # An attach without a terminus says that there is no link; its end says why.
            link.open()
            link.condition = Condition(refused.condition, refused.description)
            link.close()
            return
        self._links[link] = served
        link.open()
        served.begin()

    def _serve(self, link: Any) -> Served:
        if len(self._links) >= LINKS_MAX:
            raise Refused(EXCEEDED, f"{LINKS_MAX} links are open on this connection")
        return attach_source(self, link) if link.is_sender else attach_target(self, link)

    def _detached(self, event: Any) -> None:
        self._finish_turn()  # What was settled before counts.
        served = self._links.pop(event.link, None)
        if served is not None:
            served.end()
        event.link.close()
        event.link.free()  # Else it takes memory until its session ends.

    def _session_closed(self, event: Any) -> None:
        self._finish_turn()
        for link in [each for each in self._links if each.session == event.session]:
            self._links.pop(link).end()
        self._sessions.discard(event.session)
        event.session.close()
        event.session.free()

    def _closed(self, event: Any) -> None:
        if event.connection.state & Endpoint.LOCAL_ACTIVE:
            event.connection.close()

    def _failed(self, event: Any) -> None:
        condition = event.transport.condition
        if condition is not None:
            log.info("client dropped: %s", condition)


HANDLERS = {
    Event.CONNECTION_REMOTE_OPEN: ClientConnection._opened,
    Event.SESSION_REMOTE_OPEN: ClientConnection._session,
    Event.LINK_REMOTE_OPEN: ClientConnection._attached,
    Event.LINK_REMOTE_CLOSE: ClientConnection._detached,
    Event.LINK_REMOTE_DETACH: ClientConnection._detached,
    Event.SESSION_REMOTE_CLOSE: ClientConnection._session_closed,
    Event.CONNECTION_REMOTE_CLOSE: ClientConnection._closed,
    Event.TRANSPORT_ERROR: ClientConnection._failed,
}


def certificate_name(tls: ssl.SSLObject | None) -> str | None:
    """The common name in the certificate that a client has shown; None: it has shown none."""
    certificate = tls.getpeercert() if tls is not None else None
    if not certificate:
        return None
    subject = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()))
    return next((value for part in subject for name, value in part if name == "commonName"), None)


def _quietly(end: Callable[[], None]) -> None:
    """End a link of a connection that is lost: after the term there is nothing to give back."""
    try:
        end()
    except QpidhaError as error:
        log.debug("a link of a lost connection: %s", error)


__all__ = ["ClientConnection", "Served"]
