"""The queues of one term on the primary: each delivers its messages, and confirms its publishes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

from amqp_broker.definitions import LOCAL_QUEUE, QueueDefinition
from amqp_broker.refusals import INVALID, LOCKED, NOT_ALLOWED, NOT_FOUND, Refused
from amqp_broker.sections import Sections
from qpidha import ArgumentError, CallerError, Level, Node, Op, Queue, QueueMismatch, Settings, Transaction
from qpidha.queues import MSGPACK, DeliveryQueue, QueueArguments

Confirm = Callable[[], None]
"""Called when a publish is safe: every member has it."""
EXPIRE_INTERVAL_S = 0.5


class BrokerQueue:
    """One queue as its clients use it."""

    def __init__(self, node: Node, queue: Queue, definition: QueueDefinition, owner: object | None) -> None:
        self.queue = queue
        self.definition = definition
        self.owner = owner
        """The connection that a temporary queue belongs to."""
        self.ends_with_link = False
        """A temporary queue that was made for a link: it ends with the first link that consumes from it."""
        self.link: object | None = None
        """That link, once it is there."""
        arguments = definition.arguments if queue.level is Level.NONE else None
        self.delivery: DeliveryQueue[Op] = DeliveryQueue(node, queue, arguments=arguments)
        self.plain = definition.kind != "last-value" and not self.delivery.arguments.limited
        """A publish never makes another message leave, and is never refused."""
        self._pending: deque[tuple[int, Confirm]] = deque()
        self.browsers: set[Callable[[], None]] = set()
        self.links: set[Callable[[], None]] = set()
        """Of consumers and browsers: what ends each of them when the queue is deleted."""
        queue.on_safe_upto(self._safe)
        queue.on_content(self._content)

    @property
    def name(self) -> str:
        return self.queue.name

    def publish(self, data: bytes, props: bytes, confirm: Confirm) -> None:
        """Publish one message. What the library refuses is raised."""
        if self.plain:
            op = self.queue.enqueue(data, props)
            self._pending.append((op.ids[0], confirm))
        else:
            op = self.delivery.publish(data, props)
            op.add_safe_callback(lambda _, error: confirm() if error is None else None)

    def _safe(self, upto: int) -> None:
        pending = self._pending
        while pending and pending[0][0] <= upto:
            pending.popleft()[1]()

    def _content(self) -> None:
        for browser in list(self.browsers):
            browser()

    def require_consumer(self, connection: object) -> None:
        """Raise `Refused` if this connection may not consume from the queue."""
        if self.owner is not None and self.owner is not connection:
            raise Refused(LOCKED, f"queue {self.name!r} belongs to another connection")


class Queues:
    """All queues of one term, by name."""

    def __init__(self, node: Node, settings: Settings) -> None:
        self.node = node
        self._settings = settings
        self._queues: dict[str, BrokerQueue] = {}
        self._users: dict[str, set[str]] = {}
        """By the name of a queue for dead letters, the queues that it is for."""
        local = {
            name: QueueDefinition.decode(value) for _, name, value in node.configuration.objects(LOCAL_QUEUE)
        }
        for queue in node.queues:
            if queue.level is Level.NONE and (queue.name not in local or local[queue.name].temporary):
                self._delete(queue)  # Its connection ended with an earlier term or life of this node.
            else:
                self._add(queue, local.get(queue.name) or _definition(queue), None)

    def _add(self, queue: Queue, definition: QueueDefinition, owner: object | None) -> BrokerQueue:
        made = self._queues[queue.name] = BrokerQueue(self.node, queue, definition, owner)
        if (dead := definition.arguments.dead_letters) is not None:
            self._users.setdefault(dead, set()).add(queue.name)
        return made

    def __iter__(self) -> Iterator[BrokerQueue]:
        return iter(self._queues.values())

    def get(self, name: str) -> BrokerQueue | None:
        return self._queues.get(name)

    def require(self, name: str) -> BrokerQueue:
        """The queue of this name. Raises `Refused`."""
        if (found := self._queues.get(name)) is None:
            raise Refused(NOT_FOUND, f"there is no queue {name!r}")
        return found

    # --- changes ---------------------------------------------------------------------------------

    def declare(self, name: str, definition: QueueDefinition, owner: object | None = None) -> Op:
        """Declare a queue. Returns the op that makes it safe to say so. Raises `Refused`."""
        if not name or name.startswith("$"):
            raise Refused(INVALID, f"a queue cannot be named {name!r}")
        dead = definition.arguments.dead_letters
        if dead is not None and (dead == name or dead not in self._queues):
            raise Refused(NOT_FOUND, f"there is no queue {dead!r} for the dead letters of {name!r}")
        replicate = Level.NONE if definition.temporary else definition.replicate
        if replicate is None:
            replicate = self._settings.level(name)
        try:
            if (there := self._queues.get(name)) is not None:
                there.require_consumer(owner)
                return self._same(there, definition, replicate)
            return self._declare(name, definition, replicate, owner)
        except (QueueMismatch, ArgumentError) as error:
            raise Refused(INVALID, str(error)) from error
        except CallerError as error:
            raise Refused(NOT_ALLOWED, str(error)) from error

    def _same(self, there: BrokerQueue, definition: QueueDefinition, replicate: Level) -> Op:
        have = there.definition
        same = replace(have, replicate=None) == replace(definition, replicate=None)
        if not same or (definition.replicate is not None and there.queue.level is not replicate):
            raise Refused(INVALID, f"queue {there.name!r} exists with other properties")
        return there.queue.declared

    def _declare(self, name: str, definition: QueueDefinition, replicate: Level, owner: object | None) -> Op:
        check_definition(definition)
        with self.node.transaction() as t:
            local = replicate is Level.NONE
            arguments = b"" if local else definition.arguments.encode()
            new = t.declare(name, kind=definition.kind, replicate=replicate, arguments=arguments)
            if local:
                t.put_object(LOCAL_QUEUE, name, definition.encode(), replicate=Level.NONE)
        self._add(new.queue, definition, owner if definition.temporary else None)
        return t.op

    def temporary(self, owner: object) -> BrokerQueue:
        """A queue for one connection, under a name that no other queue ever had."""
        name = f"temporary.{uuid4()}"
        _ = self.declare(name, QueueDefinition(temporary=True), owner)
        self._queues[name].ends_with_link = True
        return self._queues[name]

    def delete(self, name: str, transaction: Transaction) -> None:
        """Delete a queue, with a transaction that is committed at once."""
        queue = self.require(name)
        if users := self._users.get(name):
            raise Refused(NOT_ALLOWED, f"queue {name!r} has the dead letters of {', '.join(sorted(users))}")
        transaction.delete(queue.queue)
        transaction.delete_object(LOCAL_QUEUE, name, replicate=Level.NONE)

    def deleted(self, name: str) -> None:
        """The transaction was committed."""
        gone = self._queues.pop(name, None)
        if gone is None:
            return
        if (dead := gone.definition.arguments.dead_letters) is not None:
            self._users[dead].discard(name)
        for end in list(gone.links):
            end()

    def _delete(self, queue: Queue) -> None:
        with self.node.transaction() as t:
            t.delete(queue)
            t.delete_object(LOCAL_QUEUE, queue.name, replicate=Level.NONE)

    def expire(self) -> None:
        """Drop what has expired, also where nobody consumes."""
        for queue in self._queues.values():
            _ = queue.delivery.expire()


def check_definition(definition: QueueDefinition) -> None:
    """Raise `Refused` for what no queue can be."""
    if definition.kind == "ring" and not definition.arguments.limited:
        raise Refused(INVALID, "a ring needs qpid.max_count or qpid.max_size")


def _definition(queue: Queue) -> QueueDefinition:
    return QueueDefinition(queue.spec.kind, QueueArguments.decode(queue.arguments), queue.level)


def props_of(message: Sections, queues: list[BrokerQueue], now: float | None = None) -> bytes:
    """What the queue types must know of a message. Nothing, for most messages."""
    said: dict[str, Any] = {}
    if message.ttl_ms is not None or message.expires_ms is not None:
        now = time.time() if now is None else now
        ends = [] if message.ttl_ms is None else [now + message.ttl_ms / 1000]
        ends += [] if message.expires_ms is None else [message.expires_ms / 1000]
        said["expires_at"] = min(ends)
    if message.delivery_count:
        said["deliveries"] = message.delivery_count
    for queue in queues:
        definition = queue.definition
        if definition.kind == "priority":
            said["priority"] = message.priority
        elif (
            definition.kind == "last-value"
            and (key := message.application.get(definition.key_name)) is not None
        ):
            said["key"] = str(key).encode()
        if definition.arguments.groups and message.group is not None:
            said["group"] = message.group
    return MSGPACK.pack(**said) if said else b""
