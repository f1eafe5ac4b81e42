"""What management does: the entities of the broker, and the operations on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from amqp_broker.definitions import (
    EXCHANGE,
    Binding,
    ExchangeDefinition,
    QueueDefinition,
    arguments_of,
    key_of,
    level_of,
)
from amqp_broker.exchanges import check_type
from amqp_broker.refusals import INVALID, NOT_IMPLEMENTED, Refused
from amqp_broker.sayable import check_text
from amqp_broker.term import Term
from amqp_broker.transfers import TransferDefinition
from qpidha import Op

Answer = tuple["Op | None", int, Any]
"""The op that makes the answer true (None: it is), its status, and its body."""
QUEUE, BINDING, PUBLISHER, LINK = "queue", "binding", "publisher", "link"
ATTRIBUTES = ("name", "type")
CREATED, OK, DELETED = 201, 200, 204


class Manager:
    """Does what the requests of one connection ask for, on the primary. Raises `Refused`."""

    def __init__(self, term: Term, owner: object) -> None:
        self._term = term
        self._owner = owner
        """The connection: temporary queues that it creates end with it."""

    def do(self, properties: dict[str, Any], body: Any) -> Answer:
        """Do what one request asks for."""
        check_text(properties, body)
        operation, type = properties.get("operation"), _short(properties.get("type"))
        if operation == "QUERY":
            return None, OK, self._query(_short(properties.get("entityType")) or type, body)
        name = properties.get("name") or properties.get("identity")
        known: dict[tuple[str, str], Callable[[str, dict[str, Any]], Answer]] = {
            ("CREATE", QUEUE): self._create_queue,
            ("CREATE", EXCHANGE): self._create_exchange,
            ("CREATE", BINDING): self._create_binding,
            ("DELETE", QUEUE): lambda name, _: (self._term.delete_queue(name), DELETED, {}),
            ("DELETE", EXCHANGE): lambda name, _: (self._term.exchanges.delete(name), DELETED, {}),
            ("DELETE", BINDING): self._delete_binding,
            ("DELETE", PUBLISHER): self._forget,
            ("CREATE", LINK): self._create_link,
            ("DELETE", LINK): lambda name, _: (self._term.transfers.delete(name), DELETED, {}),
        }
        if operation == "READ":
            return None, OK, self._read(type, name)
        do = known.get((str(operation), type))
        if do is None:
            raise Refused(NOT_IMPLEMENTED, f"there is no operation {operation} for {type!r}")
        values = body if isinstance(body, dict) else {}
        return do(str(name or ""), {str(key): value for key, value in values.items()})

    # --- changes ---------------------------------------------------------------------------------

    def _create_queue(self, name: str, values: dict[str, Any]) -> Answer:
        definition = QueueDefinition.of(values)
        op = self._term.queues.declare(name, definition, self._owner)
        return op, CREATED, {"name": name, **values}

    def _create_exchange(self, name: str, values: dict[str, Any]) -> Answer:
        alternate = values.get("alternate-exchange")
        definition = ExchangeDefinition(
            check_type(values.get("type", "direct")), alternate and str(alternate)
        )
        return (
            self._term.exchanges.declare(name, definition, level_of(values)),
            CREATED,
            {"name": name, **values},
        )

    def _create_binding(self, name: str, values: dict[str, Any]) -> Answer:
        binding = _binding(values)
        self._term.queues.require(binding.queue)
        op = self._term.exchanges.bind(binding, level_of(values))
        return op, CREATED, {"name": binding.name, **values}

    def _delete_binding(self, name: str, values: dict[str, Any]) -> Answer:
        return self._term.exchanges.unbind(_binding(values).name if values else name), DELETED, {}

    def _create_link(self, name: str, values: dict[str, Any]) -> Answer:
        if not name:
            raise Refused(INVALID, "a link has a name")
        said = {key: str(value) for key, value in values.items() if key != "qpid.replicate"}
        definition = TransferDefinition(**said)
        op = self._term.transfers.create(name, definition, level_of(values))
        return op, CREATED, {"name": name, **values}

    def _forget(self, name: str, values: dict[str, Any]) -> Answer:
        return self._term.numbers.forget(name), DELETED, {}

    # --- reads -----------------------------------------------------------------------------------

    def _read(self, type: str, name: object) -> dict[str, Any]:
        for entity in self._entities(type):
            if entity["name"] == name:
                return entity
        raise Refused("amqp:not-found", f"there is no {type} {name!r}")

    def _query(self, type: str, body: Any) -> dict[str, Any]:
        wanted = body.get("attributeNames") if isinstance(body, dict) else None
        kinds = [type] if type else list(KINDS)
        found = [{"type": kind, **entity} for kind in kinds for entity in self._entities(kind)]
        names = (
            [str(each) for each in wanted] if wanted else sorted({name for each in found for name in each})
        )
        return {"attributeNames": names, "results": [[each.get(name) for name in names] for each in found]}

    def _entities(self, type: str) -> Iterator[dict[str, Any]]:
        if type not in KINDS:
            raise Refused(INVALID, f"there are entities of the types {', '.join(KINDS)}, not {type!r}")
        return KINDS[type](self._term)


def _binding(values: dict[str, Any]) -> Binding:
    arguments = arguments_of(values.get("arguments") or {})
    exchange, queue = (str(values.get(name) or "") for name in ("exchange", "queue"))
    return Binding(exchange, queue, key_of(values.get("key") or ""), arguments)


def _short(type: object) -> str:
    """``org.apache.qpid.queue`` and ``queue`` are the same."""
    return str(type or "").rpartition(".")[2].lower()


def _queues(term: Term) -> Iterator[dict[str, Any]]:
    for queue in term.queues:
        arguments = queue.delivery.arguments
        yield {
            "name": queue.name,
            "kind": queue.definition.kind,
            "qpid.replicate": queue.queue.level.name.lower(),
            "messages": queue.delivery.depth,
            "bytes": queue.delivery.nbytes,
            "acquired": queue.delivery.acquired,
            "exclusive": queue.definition.temporary,
            "qpid.max_count": arguments.messages_max,
            "qpid.max_size": arguments.bytes_max,
            "qpid.delivery_limit": arguments.delivery_limit,
            "qpid.dead_letters": arguments.dead_letters,
        }


def _exchanges(term: Term) -> Iterator[dict[str, Any]]:
    for exchange in term.exchanges:
        yield {
            "name": exchange.name,
            "kind": exchange.definition.type,
            "alternate-exchange": exchange.definition.alternate,
            "bindings": len(exchange.bindings),
        }


def _bindings(term: Term) -> Iterator[dict[str, Any]]:
    for exchange in term.exchanges:
        for name, binding in exchange.bindings.items():
            yield {
                "name": name,
                "exchange": binding.exchange,
                "queue": binding.queue,
                "key": binding.key,
                "arguments": binding.arguments,
            }


def _links(term: Term) -> Iterator[dict[str, Any]]:
    for name, definition in term.transfers.definitions.items():
        said = {key: value for key, value in asdict(definition).items() if key != "password"}
        yield {"name": name, **said}


def _publishers(term: Term) -> Iterator[dict[str, Any]]:
    for name, last in term.numbers.last().items():
        yield {"name": name, "last": last}


KINDS: dict[str, Callable[[Term], Iterator[dict[str, Any]]]] = {
    QUEUE: _queues,
    EXCHANGE: _exchanges,
    BINDING: _bindings,
    PUBLISHER: _publishers,
    LINK: _links,
}
