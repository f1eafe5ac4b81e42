"""What a primary holds for one term, and changes that are stored together.

All of it runs in the event loop of the node. Nothing else happens in a turn of it, so there are no locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sortedcontainers import SortedList

from qpidha import Node, Op, SequenceSet
from qpidha.queues import MSGPACK, DeliveryQueue, QueueArguments, queue_types

PRIORITY_MAX = 100
"""Priorities of tasks are whole numbers from -100 to 100."""
QUEUE_TYPES = queue_types(levels=2 * PRIORITY_MAX + 1)
TABLES = ("results", "counters", "schedule", "requests")
DUE_MAX = 1000
"""So many tasks leave the schedule together; the next second has the next ones."""
ATTEMPTS = 3
"""A task whose outcome cannot be stored, because it is too large for instance, is executed so often."""

CLIENTS_MAX = 10_000
"""Of so many threads of clients the last request is known; then that of the one that is silent for longest goes."""


class Held(Exception):
    """Another unit has changed this key, and is not committed yet: try again."""


class Term:
    """This node as primary, in one term: handles, which task is being executed, and the schedule in order."""

    def __init__(self, node: Node, name: str, arrived: Callable[[], None]) -> None:
        arguments = QueueArguments(delivery_limit=ATTEMPTS, dead_letters=f"{name}.dead").encode()
        node.declare(f"{name}.dead")
        self.node, self._name = node, name
        self.queue = node.declare(f"{name}.tasks", kind="priority", arguments=arguments)
        self.tasks = DeliveryQueue(node, self.queue)
        self.consumer = self.tasks.consumer(on_available=arrived)
        self.tables = {kind: node.table(f"{name}.{kind}") for kind in TABLES}
        self.schedule: SortedList[bytes] = SortedList(self.tables["schedule"])
        self.held: dict[tuple[str, bytes], Unit] = {}
        self.executed = SequenceSet()

    def waiting(self) -> Iterator[bytes]:
        """The tasks that nobody executes, the next one first."""
        return (data for id, data, _ in self.tasks.browse() if id not in self.executed)

    def now(self) -> Op:
        """An op that is safe when everything before it is: the removal of a key that is never there."""
        return self.tables["requests"].remove(b"")

    def flush(self, kind: str) -> Op:
        """Delete everything in a table."""
        op = self.node.delete(self.tables[kind])
        self.tables[kind] = self.node.table(f"{self._name}.{kind}")
        if kind == "schedule":
            self.schedule.clear()
        return op


class Unit:
    """Changes that are stored together, or not at all. It sees its own; others see them when it is committed."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self.told = False
        """Somebody is told what it has read, which must be safe then."""
        self._values: dict[tuple[str, bytes], bytes | None] = {}
        self._tasks: list[tuple[bytes, bytes]] = []
        self._executed = SequenceSet()

    @property
    def changed(self) -> bool:
        return bool(self._values or self._tasks or self._executed)

    def get(self, kind: str, key: bytes) -> bytes | None:
        if (kind, key) in self._values:
            return self._values[kind, key]
        return self.term.tables[kind].get(key)

    def set(self, kind: str, key: bytes, value: bytes | None) -> None:
        """None: remove it. Raises `Held` if another unit has changed the key and is not committed."""
        if self.term.held.setdefault((kind, key), self) is not self:
            raise Held
        self._values[kind, key] = value

    def remember(self, client: bytes, request: bytes) -> None:
        """Store the last request of a client, with its answer."""
        table = self.term.tables["requests"]
        if len(table) >= CLIENTS_MAX and client not in table:
            self.set("requests", next(iter(table)), None)
        self.set("requests", client, request)

    def enqueue(self, data: bytes, priority: float | None) -> None:
        level = min(max(round(priority or 0), -PRIORITY_MAX), PRIORITY_MAX)
        self._tasks.append((data, MSGPACK.pack(priority=level + PRIORITY_MAX)))

    def acquire(self) -> bytes | None:
        """The next task. It leaves the queue when this unit is committed."""
        if (got := self.term.consumer.acquire(1)) is None:
            return None
        ids, batch = got
        self._executed |= ids
        self.term.executed |= ids
        return batch.data(0)

    def due(self, until: bytes) -> list[bytes]:
        """Take the tasks that are due out of the schedule."""
        keys = [
            key for key in self.term.schedule.irange(maximum=until) if ("schedule", key) not in self.term.held
        ]
        found = [(key, self.term.tables["schedule"].get(key)) for key in keys[:DUE_MAX]]
        for key, _ in found:
            self.set("schedule", key, None)
        return [data for _, data in found if data is not None]

    def commit(self) -> Op | None:
        """Make all changes, as one operation. Raises what `Transaction.commit` raises: then nothing was changed."""
        term = self.term
        try:
            if self._tasks and not (self._values or self._executed) and len(self._tasks) == 1:
                return term.tasks.publish(*self._tasks[0])  # Joins what other threads publish in this turn.
            if not self.changed:
                return term.now() if self.told else None
            with term.node.transaction() as t:
                for data, props in self._tasks:
                    t.enqueue(term.queue, data, props)
                for (kind, key), value in self._values.items():
                    if value is None:
                        t.remove(term.tables[kind], key)
                    else:
                        t.put(term.tables[kind], key, value)
                if self._executed:
                    t.dequeue(term.queue, self._executed)
            self._done()
            return t.op
        finally:
            self.release()

    def give_back(self, failed: bool) -> None:
        """It was not stored: its task is executed again. ``failed``: or kept as a dead letter, after some attempts."""
        self.term.executed -= self._executed
        if failed:
            _ = self.term.consumer.fail(self._executed)
        else:
            self.term.consumer.release(self._executed)

    def release(self) -> None:
        """Nobody needs to wait for this unit any more."""
        for key in self._values:
            self.term.held.pop(key, None)

    def _done(self) -> None:
        if self._executed:
            # They are gone: this ends that they are being executed.
            _ = self.term.consumer.accept(self._executed)
            self.term.executed -= self._executed
        for (kind, key), value in self._values.items():
            if kind == "schedule":
                self.term.schedule.discard(key)
                self.term.schedule.update([key] if value is not None else [])
