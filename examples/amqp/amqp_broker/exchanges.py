"""The exchanges of one term on the primary, and their bindings: which queues take a message.

Each exchange and each binding is an object of the configuration: the next primary has the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from amqp_broker.definitions import (
    BINDING,
    EXCHANGE,
    EXCHANGE_TYPES,
    KEY_LENGTH_MAX,
    Binding,
    ExchangeDefinition,
)
from amqp_broker.matching import route
from amqp_broker.refusals import INVALID, NOT_ALLOWED, NOT_FOUND, Refused
from qpidha import Level, Node, ObjectMismatch, Op, Transaction

BUILT_IN = {"amq.direct": "direct", "amq.topic": "topic", "amq.fanout": "fanout", "amq.match": "headers"}
ROUTES_MAX = 10_000
ALTERNATES_MAX = 8


class Exchange:
    """One exchange and its bindings."""

    def __init__(self, name: str, definition: ExchangeDefinition) -> None:
        self.name = name
        self.definition = definition
        self.bindings: dict[str, Binding] = {}
        self.of_queue: dict[str, set[str]] = {}
        """The names of the bindings of each queue."""
        self._routes: dict[str, list[str]] = {}
        """By subject, what it was last routed to."""

    def bind(self, binding: Binding) -> None:
        """A binding is new, or has changed."""
        self.bindings[binding.name] = binding
        self.of_queue.setdefault(binding.queue, set()).add(binding.name)
        self._routes.clear()

    def unbind(self, name: str) -> None:
        """A binding, of this exchange or not, is gone."""
        if (gone := self.bindings.pop(name, None)) is not None:
            self.of_queue[gone.queue].discard(name)
            self._routes.clear()

    def unbind_queue(self, queue: str) -> None:
        """A queue is gone with its bindings."""
        for name in self.of_queue.pop(queue, ()):
            del self.bindings[name]
            self._routes.clear()

    def route(self, subject: str, headers: Mapping[str, Any]) -> list[str]:
        """The queues that take a message."""
        if self.definition.type == "headers":
            return route("headers", self.bindings.values(), subject, headers)
        if len(subject) > KEY_LENGTH_MAX:  # Not remembered: it could be as large as a message.
            if self.definition.type == "topic":
                raise Refused(
                    INVALID,
                    f"a subject for a topic exchange has at most {KEY_LENGTH_MAX} characters, not {len(subject)}",
                )
            return route(self.definition.type, self.bindings.values(), subject, {})
        found = self._routes.get(subject)
        if found is None:
            if len(self._routes) >= ROUTES_MAX:
                self._routes.clear()
            found = self._routes[subject] = route(self.definition.type, self.bindings.values(), subject, {})
        return found


class Exchanges:
    """All exchanges of one term, by name."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._exchanges = {name: Exchange(name, ExchangeDefinition(type)) for name, type in BUILT_IN.items()}
        for _, name, value in node.configuration.objects(EXCHANGE):
            self._exchanges[name] = Exchange(name, ExchangeDefinition.decode(value))
        for _, name, value in node.configuration.objects(BINDING):
            self._bound(Binding.decode(name, value))

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self._exchanges.values())

    def get(self, name: str) -> Exchange | None:
        return self._exchanges.get(name)

    def require(self, name: str) -> Exchange:
        """The exchange of this name. Raises `Refused`."""
        if (found := self._exchanges.get(name)) is None:
            raise Refused(NOT_FOUND, f"there is no exchange {name!r}")
        return found

    def route(self, exchange: Exchange, subject: str, headers: Mapping[str, Any]) -> list[str]:
        """The queues that take a message; if there are none, those that the alternate exchange finds."""
        for _ in range(ALTERNATES_MAX):
            if queues := exchange.route(subject, headers):
                return queues
            alternate = exchange.definition.alternate
            if alternate is None or (found := self._exchanges.get(alternate)) is None:
                break
            exchange = found
        return []

    # --- exchanges -------------------------------------------------------------------------------

    def declare(self, name: str, definition: ExchangeDefinition, replicate: Level | None = None) -> Op:
        """Declare an exchange. Returns the op that makes it safe to say so. Raises `Refused`."""
        if not name or name.startswith("$") or name in BUILT_IN:
            raise Refused(INVALID, f"an exchange cannot be named {name!r}")
        if definition.alternate is not None:
            self.require(definition.alternate)
        there = self._exchanges.get(name)
        if there is not None and there.definition != definition:
            raise Refused(INVALID, f"exchange {name!r} exists with other properties")
        try:
            op = self.node.configuration.put(EXCHANGE, name, definition.encode(), replicate=replicate)
        except ObjectMismatch as error:
            raise Refused(INVALID, str(error)) from error
        if there is None:
            self._exchanges[name] = Exchange(name, definition)
        return op

    def delete(self, name: str) -> Op:
        """Delete an exchange with its bindings, in one operation. Raises `Refused`."""
        exchange = self.require(name)
        if name in BUILT_IN:
            raise Refused(NOT_ALLOWED, f"exchange {name!r} cannot be deleted")
        users = [other.name for other in self if other.definition.alternate == name]
        if users:
            raise Refused(NOT_ALLOWED, f"exchange {name!r} is the alternate exchange of {', '.join(users)}")
        with self.node.transaction() as t:
            t.delete_object(EXCHANGE, name)
            for binding in exchange.bindings:
                t.delete_object(BINDING, binding)
        del self._exchanges[name]
        return t.op

    # --- bindings --------------------------------------------------------------------------------

    def bind(self, binding: Binding, replicate: Level | None = None) -> Op:
        """Bind a queue, which exists, or change the arguments of its binding. Raises `Refused`."""
        self.require(binding.exchange)
        try:
            op = self.node.configuration.put(BINDING, binding.name, binding.encode(), replicate=replicate)
        except ObjectMismatch as error:
            raise Refused(INVALID, str(error)) from error
        self._bound(binding)
        return op

    def _bound(self, binding: Binding) -> None:
        exchange = self._exchanges.get(binding.exchange)
        if exchange is not None:
            exchange.bind(binding)

    def unbind(self, name: str) -> Op:
        """Delete a binding. Raises `Refused`."""
        if all(name not in exchange.bindings for exchange in self):
            raise Refused(NOT_FOUND, f"there is no binding {name}")
        op = self.node.configuration.delete(BINDING, name)
        for exchange in self:
            exchange.unbind(name)
        return op

    def unbind_queue(self, queue: str, transaction: Transaction) -> None:
        """Delete all bindings of a queue, with a transaction that is committed at once."""
        for exchange in self:
            for name in sorted(exchange.of_queue.get(queue, ())):
                transaction.delete_object(BINDING, name)

    def unbound_queue(self, queue: str) -> None:
        """The transaction was committed."""
        for exchange in self:
            exchange.unbind_queue(queue)


def check_type(type: object) -> str:
    """The type of an exchange as a client names it. Raises `Refused`."""
    if type not in EXCHANGE_TYPES:
        raise Refused(
            INVALID, f"the type of an exchange must be one of {', '.join(EXCHANGE_TYPES)}, not {type!r}"
        )
    return str(type)
