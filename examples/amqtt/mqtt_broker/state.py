"""The part of MQTT's state that all nodes have: a queue for each session, and four tables."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgpack

from qpidha import Node, QpidhaError, Queue, Transaction

PREFIX = "mqtt/session/"
T = TypeVar("T")


def pack(*fields: Any) -> bytes:
    """The fields of a key, of a value, or of the props of a message."""
    packed: bytes = msgpack.packb(fields)
    return packed


class Mailbox:
    """A session that outlives its connections. Its queue has the messages of QoS 1 and 2 that are not acknowledged."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.wake = queue, asyncio.Event()
        self.safe = self.sent = queue.next_id - 1
        """The last message that may be delivered, and the last one that perhaps was delivered before."""
        queue.on_safe_upto(self._advance)

    def _advance(self, safe: int) -> None:
        self.safe = safe
        self.wake.set()


class State:
    """What a primary finds, and changes during its term. Each change is part of a `one_change`."""

    def __init__(self, node: Node) -> None:
        self.node, self.changes = node, dict[Any, tuple[Transaction, list[Callable[[], Awaitable[None]]]]]()
        names = ("subscriptions", "retained", "wills", "flows")
        self.subscriptions, self.retained, self.wills, self.flows = (node.table(f"mqtt/{n}") for n in names)
        queues = [queue for queue in node.queues if queue.name.startswith(PREFIX)]
        self.mailboxes = {queue.name.removeprefix(PREFIX): Mailbox(queue) for queue in queues}

    @property
    def t(self) -> Transaction:
        """The change that this task makes."""
        return self.changes[asyncio.current_task()][0]

    def open(self, client: str) -> None:
        """Begin a session, or find it again."""
        if client not in self.mailboxes:
            self.mailboxes[client] = Mailbox(self.node.declare(PREFIX + client))

    def forget(self, client: str) -> None:
        """End a session, with everything that belongs to it."""
        if mailbox := self.mailboxes.pop(client, None):
            self.t.delete(mailbox.queue)
        for table in (self.subscriptions, self.flows):
            for key in [key for key in table if msgpack.unpackb(key)[0] == client]:
                self.t.remove(table, key)


def one_change(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """All that the method changes is one operation. What it sends is sent when the operation is safe on all nodes."""

    @functools.wraps(method)
    async def changing(self: Any, *args: Any) -> T:
        changes, task = self.state.changes, asyncio.current_task()
        if task in changes:
            return await method(self, *args)
        transaction, answers = changes[task] = self.state.node.transaction(), []
        try:
            result = await method(self, *args)
            op = transaction.commit()  # Without changes it is safe when everything before is.
        finally:
            del changes[task]
        await op
        for answer in answers:
            await answer()
        return result

    return changing


def or_close(handle: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """What cannot be made safe is not answered: the connection ends, and the client goes to the next primary."""

    @functools.wraps(handle)
    async def handled(self: Any, packet: Any) -> None:
        try:
            await handle(self, packet)
        except QpidhaError:
            await self.handle_connection_closed()

    return handled
