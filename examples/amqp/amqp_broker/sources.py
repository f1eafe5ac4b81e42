"""From an address to the broker's side of a link: what a client consumes from, and what it publishes to."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING

from proton import Link, Receiver, Sender, Terminus

from amqp_broker.definitions import Binding, arguments_of, key_of
from amqp_broker.exchanges import Exchange
from amqp_broker.incoming import Incoming
from amqp_broker.outgoing import Browser, Outgoing
from amqp_broker.publishing import Target
from amqp_broker.queues import BrokerQueue
from amqp_broker.refusals import INVALID, NOT_FOUND, Refused
from amqp_broker.transactions import Coordinator
from qpidha import Level

if TYPE_CHECKING:
    from amqp_broker.connection import ClientConnection, Served

SUBJECT_FILTERS = (
    "legacy-amqp-topic-binding",
    "apache.org:legacy-amqp-topic-binding:string",
    "legacy-amqp-direct-binding",
    "apache.org:legacy-amqp-direct-binding:string",
)
HEADERS_FILTERS = ("legacy-amqp-headers-binding", "apache.org:legacy-amqp-headers-binding:map")
SUBJECT_CODES = (0x0000468C00000000, 0x0000468C00000001)
HEADERS_CODE = 0x0000468C00000002


def attach_target(connection: ClientConnection, link: Receiver) -> Served:
    """Where a client publishes. Raises `Refused`."""
    wanted = link.remote_target
    link.source.copy(link.remote_source)
    link.max_message_size = connection.message_bytes_max
    link.snd_settle_mode = link.remote_snd_settle_mode
    if wanted.type == Terminus.COORDINATOR:
        link.target.copy(wanted)
        return Coordinator(connection, link)
    address: str | None = wanted.address
    if wanted.dynamic:
        address = connection.term.queues.temporary(connection).name
    if address == MANAGEMENT:
        target: Served = connection.broker.management(connection, link)
    else:
        name, _, subject = ("", "", "") if address is None else split(connection, address)
        target = Incoming(
            connection, link, Target(connection.term, None if address is None else name, subject)
        )
    link.target.copy(wanted)
    if wanted.dynamic:
        link.target.address = address or ""
    return target


MANAGEMENT = "$management"


def split(connection: ClientConnection, address: str) -> tuple[str, str, str]:
    """The node and the subject in an address such as ``amq.topic/news``. A queue may have a slash in its name."""
    if connection.term.queues.get(address) is not None:
        return address, "", ""
    name, slash, subject = address.partition("/")
    return (name, slash, subject) if connection.term.exchanges.get(name) else (address, "", "")


def attach_source(connection: ClientConnection, link: Sender) -> Served:
    """What a client consumes from. Raises `Refused`."""
    wanted = link.remote_source
    link.target.copy(link.remote_target)
    link.snd_settle_mode = link.remote_snd_settle_mode
    link.rcv_settle_mode = link.remote_rcv_settle_mode
    queue = _source(connection, wanted)
    browses = wanted.distribution_mode == Terminus.DIST_MODE_COPY
    served = (
        Browser(connection, link, queue) if browses else Outgoing(connection, link, queue, _priority(link))
    )
    link.source.copy(wanted)
    if wanted.dynamic:
        link.source.address = queue.name
    return served


def _source(connection: ClientConnection, wanted: Terminus) -> BrokerQueue:
    queues = connection.term.queues
    if wanted.dynamic:
        return queues.temporary(connection)
    address: str | None = wanted.address
    if not address:
        raise Refused(INVALID, "the source of a link must have an address")
    found = queues.get(address)
    if found is not None:
        return found
    name, _, subject = split(connection, address)
    exchange = connection.term.exchanges.get(name)
    if exchange is None:
        raise Refused(NOT_FOUND, f"there is no queue or exchange {address!r}")
    return _subscription(connection, exchange, subject, _filters(wanted))


def _filters(wanted: Terminus) -> tuple[list[str], list[dict[str, object]]]:
    """The subjects and the headers that the filters of a source ask for."""
    wanted.filter.rewind()
    given = wanted.filter.get_object() if wanted.filter.next() is not None else None
    if not isinstance(given, (dict, NoneType)):
        raise Refused(INVALID, "the filters of a source are a map")
    subjects: list[str] = []
    headers: list[dict[str, object]] = []
    for name, each in (given or {}).items():
        code, value = getattr(each, "descriptor", name), getattr(each, "value", each)
        if code in SUBJECT_CODES or str(code) in SUBJECT_FILTERS:
            subjects.append(key_of(value))
        elif code == HEADERS_CODE or str(code) in HEADERS_FILTERS:
            headers.append(arguments_of(value))
    return subjects, headers


def _subscription(
    connection: ClientConnection,
    exchange: Exchange,
    subject: str,
    filters: tuple[list[str], list[dict[str, object]]],
) -> BrokerQueue:
    """A queue of this connection that takes what an exchange hands out, as far as the client wants it."""
    queue = connection.term.queues.temporary(connection)
    subjects, headers = filters
    bindings = [Binding(exchange.name, queue.name, each) for each in ([subject] if subject else subjects)]
    bindings += [Binding(exchange.name, queue.name, f"headers {n}", each) for n, each in enumerate(headers)]
    for binding in bindings or [Binding(exchange.name, queue.name, "#")]:
        _ = connection.term.exchanges.bind(binding, Level.NONE)
    return queue


def _priority(link: Link) -> int:
    """The priority of a consumer: a property of its link."""
    properties: object = link.remote_properties
    value = properties.get("priority", 0) if isinstance(properties, dict) else 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


__all__ = ["attach_source", "attach_target"]
