"""How queues, exchanges and bindings are defined by clients, and how the configuration keeps them.

A queue is a queue of the library: kind and arguments are kept with it. An exchange and a binding are objects of
the configuration, with JSON as their value. What is not replicated, such as a temporary queue, is an object of this node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from amqp_broker.refusals import INVALID, Refused
from amqp_broker.sayable import check_numbers, check_text
from qpidha import ArgumentError, Level
from qpidha.queues import Overflow, QueueArguments

EXCHANGE, BINDING, LOCAL_QUEUE = "exchange", "binding", "local queue"
KINDS = ("fifo", "priority", "ring", "last-value")
EXCHANGE_TYPES = ("direct", "topic", "fanout", "headers")
KEY = "qpid.LVQ_key"
"""The application property with the key of a message in a last-value queue, if its declaration names no other."""
COUNTS = {
    "qpid.max_count": "messages_max",
    "qpid.max_size": "bytes_max",
    "qpid.delivery_limit": "delivery_limit",
    "qpid.fairshare": "fair_share",
}
POLICIES = {
    "reject": Overflow.REFUSE,
    "ring": Overflow.DROP_OLDEST,
    "dead-letter": Overflow.DEAD_LETTER,
}


def level_of(properties: Mapping[str, Any]) -> Level | None:
    """``qpid.replicate``; None: what the broker's patterns say."""
    value = properties.get("qpid.replicate")
    levels = {"none": Level.NONE, "configuration": Level.CONFIGURATION, "messages": Level.MESSAGES}
    levels["all"] = Level.MESSAGES
    if value is None:
        return None
    if value not in levels:
        raise Refused(INVALID, f"qpid.replicate must be none, configuration or messages, not {value!r}")
    return levels[value]


KEY_LENGTH_MAX = 255
"""Of the key of a binding, and of the subject of a message for a topic exchange. Matching takes time in proportion to
the product of both."""


def key_of(value: object) -> str:
    """The key of a binding as a client gives it. Raises `Refused`."""
    key = str(value)
    check_text(key)
    if len(key) > KEY_LENGTH_MAX:
        raise Refused(
            INVALID, f"the key of a binding has at most {KEY_LENGTH_MAX} characters, not {len(key)}"
        )
    return key


def arguments_of(value: object) -> dict[str, Any]:
    """The arguments of a binding, or a filter of headers, as a client gives them. Raises `Refused`."""
    if not isinstance(value, dict):
        raise Refused(INVALID, "the arguments of a binding are a map")
    check_text(value)
    check_numbers(value)
    try:
        arguments: dict[str, Any] = json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        why = f"the arguments of a binding are text, numbers and booleans: {error}"
        raise Refused(INVALID, why) from error
    return arguments


@dataclass(frozen=True)
class QueueDefinition:
    """What the declaration of a queue says."""

    kind: str = "fifo"
    arguments: QueueArguments = field(default_factory=QueueArguments)
    replicate: Level | None = None
    temporary: bool = False
    """It belongs to a connection: other connections may not consume from it, and it ends with that."""

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> QueueDefinition:
        """From the properties that a client gives. Raises `Refused`."""
        known = {*COUNTS, "kind", "exclusive", "auto-delete", "durable", "qpid.replicate", "qpid.policy_type"}
        known |= {
            "qpid.last_value_queue_key",
            "qpid.priorities",
            "qpid.dead_letters",
            "qpid.group",
            "qpid.expires",
        }
        if unknown := set(properties) - known:
            raise Refused(INVALID, f"a queue has no property {', '.join(sorted(map(str, unknown)))}")
        given: dict[str, Any] = {COUNTS[name]: properties[name] for name in COUNTS if name in properties}
        policy = properties.get("qpid.policy_type", "reject")
        if policy not in POLICIES:
            raise Refused(INVALID, f"qpid.policy_type must be one of {', '.join(POLICIES)}, not {policy!r}")
        key = properties.get("qpid.last_value_queue_key")
        try:
            arguments = QueueArguments(
                **given,
                overflow=POLICIES[policy],
                dead_letters=properties.get("qpid.dead_letters"),
                groups=bool(properties.get("qpid.group", False)),
                expires=bool(properties.get("qpid.expires", True)),
                own=b"" if key is None else str(key).encode(),
            )
        except ArgumentError as error:
            raise Refused(INVALID, str(error)) from error
        return cls(
            kind=_kind(properties),
            arguments=arguments,
            replicate=level_of(properties),
            temporary=bool(properties.get("exclusive") or properties.get("auto-delete")),
        )

    @property
    def key_name(self) -> str:
        """The application property that is the key of a last-value queue."""
        return self.arguments.own.decode() or KEY

    def encode(self) -> bytes:
        """As the value of the object of a queue that is not replicated, which has no arguments of its own."""
        said = {"kind": self.kind, "temporary": self.temporary, "arguments": self.arguments.encode().hex()}
        return json.dumps(said).encode()

    @classmethod
    def decode(cls, value: bytes) -> QueueDefinition:
        """The inverse of `encode`."""
        said = json.loads(value)
        arguments = QueueArguments.decode(bytes.fromhex(said["arguments"]))
        return cls(said["kind"], arguments, Level.NONE, said["temporary"])


def _kind(properties: Mapping[str, Any]) -> str:
    kind = properties.get("kind")
    if kind is None and "qpid.priorities" in properties:
        kind = "priority"
    elif kind is None and "qpid.last_value_queue_key" in properties:
        kind = "last-value"
    elif kind is None and properties.get("qpid.policy_type") == "ring":
        kind = "ring"
    kind = kind or "fifo"
    if kind not in KINDS:
        raise Refused(INVALID, f"the kind of a queue must be one of {', '.join(KINDS)}, not {kind!r}")
    return str(kind)


@dataclass(frozen=True)
class ExchangeDefinition:
    """An exchange: it hands messages on to queues and keeps none."""

    type: str
    alternate: str | None = None
    """The exchange that gets what no queue takes."""

    def __post_init__(self) -> None:
        if self.type not in EXCHANGE_TYPES:
            raise Refused(INVALID, f"the type of an exchange must be one of {', '.join(EXCHANGE_TYPES)}")

    def encode(self) -> bytes:
        """As the value of its object."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> ExchangeDefinition:
        """The inverse of `encode`."""
        return cls(**json.loads(value))


@dataclass(frozen=True)
class Binding:
    """A queue takes the messages of an exchange that match."""

    exchange: str
    queue: str
    key: str = ""
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    """Of a binding to a headers exchange: the headers that it wants, and ``x-match``: all or any."""

    @property
    def name(self) -> str:
        """The name of its object: there is one binding for each exchange, queue and key."""
        return json.dumps([self.exchange, self.queue, self.key])

    def encode(self) -> bytes:
        """As the value of its object."""
        return json.dumps(self.arguments).encode()

    @classmethod
    def decode(cls, name: str, value: bytes) -> Binding:
        """The inverse of `encode`."""
        exchange, queue, key = json.loads(name)
        return cls(exchange, queue, key, json.loads(value))
