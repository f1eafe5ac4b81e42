"""The part of MQTT's state that all nodes have: a queue for each session, and four tables."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import msgpack
from amqtt.broker import Broker

from qpidha import Node, QpidhaError, Queue, Transaction

PREFIX = "mqtt/session/"
TABLES = ("subscription", "retained", "will", "taken")
"""Taken are packet ids of QoS 2, from PUBREC to PUBREL."""
unpack = msgpack.unpackb
Answer = Callable[[], Awaitable[None]]
Changing = Callable[..., Coroutine[Any, Any, Any]]


def pack(*fields: Any) -> bytes:
    """The fields of a key, of a value, or of the props of a message."""
    return cast(bytes, msgpack.packb(fields))


class Mailbox:
    """A session that outlives its connections. Its queue has the messages of QoS 1 and 2 that are not acknowledged."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.wake = queue, asyncio.Event()
        self.safe = self.sent = queue.next_id - 1
        """The last message that may be delivered, and the last one that perhaps was."""
        queue.on_safe_upto(self._advance)

    def _advance(self, safe: int) -> None:
        self.safe = safe
        self.wake.set()


class State:
    """What a primary finds, and changes in its term. Each change is part of one that `one_change` makes."""

    def __init__(self, node: Node) -> None:
        self.node, self.leaving = node, False
        self.changes = dict[Any, tuple[Transaction, list[Answer]]]()
        """By task, what it changes, and what it sends then."""
        self.tables = {kind: node.table(f"mqtt/{kind}") for kind in TABLES}
        queues = [queue for queue in node.queues if queue.name.startswith(PREFIX)]
        self.mailboxes = {queue.name.removeprefix(PREFIX): Mailbox(queue) for queue in queues}

    @property
    def t(self) -> Transaction:
        """The change that this task makes."""
        return self.changes[asyncio.current_task()][0]

    def has(self, kind: str, *key: Any) -> bool:
        """Whether there is a row, safe or not."""
        return pack(*key) in self.tables[kind]

    def keep(self, value: tuple[Any, ...] | None, kind: str, *key: Any) -> None:
        """Put a row of a table, or remove it. After its term a primary keeps all as it is."""
        if value is not None and not self.leaving:
            self.t.put(self.tables[kind], pack(*key), pack(*value))
        elif self.has(kind, *key) and not self.leaving:
            self.t.remove(self.tables[kind], pack(*key))

    def rows(self, kind: str) -> list[tuple[Any, Any]]:
        """All rows of a table: (fields of the key, fields of the value)."""
        return [(unpack(key), unpack(value)) for key, value in self.tables[kind].items()]

    def forget(self, client: str) -> None:
        """End a session: its messages, and the packet ids that it uses."""
        if mailbox := self.mailboxes.pop(client, None):
            self.t.delete(mailbox.queue)
        for key in [key for key, _ in self.rows("taken") if key[0] == client]:
            self.keep(None, "taken", *key)


def one_change(method: Changing) -> Changing:
    """All that the method changes is one operation. What it sends is sent when that is safe on all nodes.

    What cannot be made safe is not answered: the connection ends, and the client goes on to the next primary.
    """

    @functools.wraps(method)
    async def changing(self: Any, *args: Any) -> Any:
        state, task = self.state, asyncio.current_task()
        if task in state.changes or state.leaving:
            return await method(self, *args)
        try:
            transaction, answers = state.changes[task] = state.node.transaction(), list[Answer]()
            try:
                result = await method(self, *args)
                op = transaction.commit()  # Without changes it is safe when everything before is.
            finally:
                del state.changes[task]
            await op
        except QpidhaError:
            if isinstance(self, Broker):
                raise
            await self.handle_connection_closed()
            return None
        for answer in answers:
            await answer()
        return result

    return changing
