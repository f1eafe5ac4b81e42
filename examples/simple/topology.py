"""What clients of the example broker may change besides the stream: queues, their messages and objects, in transactions.

A client numbers its changes. A change that it sends again, because its broker died before the answer, is recognised
by its number: the library makes it once (`Node.producer`).
"""

from __future__ import annotations

from typing import Any

import msgpack
from protocol import ProtocolError

from qpidha import NewQueue, Node, Op, QpidhaError, Queue, Transaction
from qpidha.queues import MSGPACK, DeliveryQueue

PRIORITY = "priority"
OBJECT = "thing"
BINDING = "binding"


class Topology:
    """Makes changes on the primary. One for each term."""

    def __init__(self, node: Node, without: str) -> None:
        self._node = node
        self._without = without
        self._deliveries: dict[Queue, DeliveryQueue[Op]] = {}

    def register(self, name: str) -> tuple[bytes, Op]:
        """Register a client. Returns its epoch, and the op that makes it safe to tell."""
        producer = self._node.producer(name)
        return msgpack.packb(producer.epoch), producer.registered

    def change(self, request: bytes | memoryview) -> tuple[int, Op]:
        """Make one change: all of its steps, or none. Returns its number, and the op that makes it safe to answer."""
        try:
            return self._change(msgpack.unpackb(request))
        except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
            if isinstance(error, QpidhaError):
                raise  # It says what is wrong.
            raise ProtocolError(f"what is no change: {type(error).__name__}: {error}") from error

    def _change(self, request: Any) -> tuple[int, Op]:
        name, epoch, number, steps = request
        producer = self._node.producer(name, epoch=tuple(epoch))
        if (answer := producer.answer(number)) is not None:
            return number, answer  # It was made before; what it names may be gone.
        transaction, declared = producer.transaction(sequence=number), dict[str, NewQueue]()
        for step, *arguments in steps:
            STEPS[step](self, transaction, declared, *arguments)
        return number, transaction.commit()

    def now(self) -> Op:
        """Safe when everything that was changed up to now is."""
        return self._node.queue(self._without).declared

    def describe(self) -> bytes:
        """Every queue with its messages in the order of delivery, and every object."""
        queues = {
            queue.name: [queue.spec.kind, self._messages(queue)]
            for queue in self._node.queues
            if queue.name != self._without
        }
        objects = [
            [kind, name, value]
            for wanted in (OBJECT, BINDING)
            for kind, name, value in self._node.configuration.objects(wanted)
        ]
        packed: bytes = msgpack.packb([queues, objects])
        return packed

    def _messages(self, queue: Queue) -> list[tuple[int, bytes]]:
        messages = self._delivery(queue).browse() if queue.spec.kind == PRIORITY else queue.messages()
        return [(MSGPACK.read(props).priority, data) for _, data, props in messages]

    def _delivery(self, queue: Queue) -> DeliveryQueue[Op]:
        if queue not in self._deliveries:
            self._deliveries[queue] = DeliveryQueue(self._node, queue)
        return self._deliveries[queue]

    def _next(self, queue: Queue) -> int:
        """The id of the message that would be delivered next."""
        messages = self._delivery(queue).browse() if queue.spec.kind == PRIORITY else queue.messages()
        if (first := next(messages, None)) is None:
            raise ProtocolError(f"queue {queue.name!r} is empty")
        return first[0]

    def _queue(self, name: str) -> Queue:
        """Any queue but the broker's own."""
        if name == self._without:
            raise ProtocolError(f"queue {name!r} is the broker's own")
        return self._node.queue(name)

    # --- steps -----------------------------------------------------------------------------------

    def _declare(self, t: Transaction, declared: dict[str, NewQueue], name: str, kind: str) -> None:
        """A queue, and an object that belongs to it."""
        declared[name] = t.declare(name, kind=kind)
        t.put_object(BINDING, name, kind.encode())

    def _delete(self, t: Transaction, declared: dict[str, NewQueue], name: str, target: str | None) -> None:
        """A queue and its object; its messages are deleted as well, or go to another queue."""
        t.delete(self._queue(name), None if target is None else self._queue(target))
        t.delete_object(BINDING, name)

    def _publish(
        self, t: Transaction, declared: dict[str, NewQueue], names: list[str], priority: int, text: bytes
    ) -> None:
        """One message to each of some queues, of which this change may have declared some."""
        queues = [declared.get(name) or self._queue(name) for name in names]
        t.publish(queues, text, MSGPACK.pack(priority=priority))

    def _take(self, t: Transaction, declared: dict[str, NewQueue], name: str) -> None:
        """Accept the message that would be delivered next."""
        queue = self._queue(name)
        t.dequeue(queue, self._next(queue))

    def _update(self, t: Transaction, declared: dict[str, NewQueue], name: str, priority: int) -> None:
        """Another priority for the message that would be delivered next. It keeps its age."""
        queue = self._queue(name)
        t.update(queue, self._next(queue), MSGPACK.pack(priority=priority))

    def _move(self, t: Transaction, declared: dict[str, NewQueue], name: str, target: str) -> None:
        """All messages of one queue to the end of another one."""
        queue = self._queue(name)
        t.move(queue, [id for id, _ in queue], self._queue(target))

    def _put(self, t: Transaction, declared: dict[str, NewQueue], name: str, value: bytes) -> None:
        """An object."""
        t.put_object(OBJECT, name, value)

    def _remove(self, t: Transaction, declared: dict[str, NewQueue], name: str) -> None:
        """An object goes."""
        t.delete_object(OBJECT, name)


STEPS = {
    "declare": Topology._declare,
    "delete": Topology._delete,
    "publish": Topology._publish,
    "take": Topology._take,
    "update": Topology._update,
    "move": Topology._move,
    "put": Topology._put,
    "remove": Topology._remove,
}
