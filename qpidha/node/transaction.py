"""Several changes with one outcome: `Node.transaction`. All of them are stored, on every node, or none (TX1, TX5).

Nothing happens before the commit: ids are given out and messages are looked up there, so a rollback costs nothing (TX4).
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import get_ident
from types import TracebackType
from typing import TypeAlias

from qpidha.checks import instance_of
from qpidha.core.steps import (
    Accept,
    Committed,
    DeclareQueue,
    DeleteQueue,
    Erase,
    EraseObject,
    Move,
    ObjectStep,
    Publish,
    Put,
    Step,
)
from qpidha.errors import ArgumentError, LocalProtocolError
from qpidha.node.caller import as_bytes, as_set, stale
from qpidha.node.commit import Commits
from qpidha.node.configuration import checked_key, checked_level, put_step
from qpidha.node.consuming import Ids, Props, update_step
from qpidha.node.declaring import check_arguments, level_for, queue_spec
from qpidha.node.handles import Handles
from qpidha.node.op import Op
from qpidha.node.queue import Queue
from qpidha.node.results import NewQueue, Part
from qpidha.node.runtime import Runtime
from qpidha.node.table import Table
from qpidha.seq import SequenceSet
from qpidha.types import BytesLike, Level, QueueId, Settle
from qpidha.wire.batch import Batch

QUEUE = instance_of(Queue)
QUEUES = instance_of(list, tuple, what="a list or tuple of queues")
TABLE = instance_of(Table)
COLLECTED = Batch.pack([b""])
"""In the place of a batch whose messages are still collected: the commit packs them."""
Target: TypeAlias = Queue | NewQueue
Collected: TypeAlias = tuple[int, list[bytes], list[bytes]]
"""The number of the step that collects publishes, and the data and props collected."""


class Transaction:
    """Collects calls, and makes one operation of them at the commit: at the end of its ``with`` block.

    An exception in the block rolls back. Afterwards ``op`` is safe when every member has all of it durable; if this node
    steps down before, it is in doubt (TX8): all of it was kept, or nothing. A commit that names a message that is gone
    by then is refused as a whole. An id that an update has replaced means the same message (U2). Each message may be
    named by one call that accepts, moves or updates it.

        with node.transaction() as t:
            t.dequeue(orders, 7)
            t.enqueue(invoices, b"invoice of 7")
            t.put(customers, b"ada", b"1 order")
        await t.op

    It belongs to the term in which it was begun. Methods must be called from the node's event loop; properties may be
    read from any thread. Each method checks its arguments at once: `ArgumentError`, `WrongThread`, `NotPrimary`,
    `StaleHandle`, or `LocalProtocolError` after the end.
    """

    def __init__(self, runtime: Runtime, commits: Commits, handles: Handles) -> None:
        self._runtime = runtime
        self._commits = commits
        self._handles = handles
        self._generation = runtime.serving_generation
        self._steps: list[Step | ObjectStep] = []
        self._queues: dict[Queue, None] = {}
        """Those that its calls have named, in order."""
        self._publishes: dict[QueueId | int, Collected] = {}
        """By queue, what is collected."""
        self._collected: dict[Queue, Collected] = {}
        """The same by handle."""
        self._over: str | None = None
        self._committed: Committed | None = None
        self._op: Op | None = None

    # --- the calls -------------------------------------------------------------------------------

    def enqueue(self, queue: Target, data: BytesLike, props: BytesLike = b"") -> Part:
        """Publish one message. Consecutive publishes to one queue become one batch."""
        self._require_open("Transaction.enqueue")
        if type(queue) is Queue and queue in self._collected and queue.generation == self._generation:
            data, props = self._commits.message(data, props)
            step, all_data, all_props = self._collected[queue]  # An earlier call has checked the queue.
        else:
            ref = self._ref("queue", queue)
            data, props = self._commits.message(data, props)
            step, all_data, all_props = self._collect(queue, ref)
        all_data.append(data)
        all_props.append(props)
        return Part(self, step, len(all_data) - 1, 1)

    def _collect(self, queue: Target, ref: QueueId | int) -> Collected:
        """Where publishes to this queue are collected."""
        collected = self._publishes.get(ref)
        if collected is None:
            collected = self._publishes[ref] = (len(self._steps), [], [])
            self._steps.append(Publish((ref,), COLLECTED))
        if type(queue) is Queue:
            self._collected[queue] = collected
        return collected

    def publish(self, queues: Sequence[Target], data: BytesLike, props: BytesLike = b"") -> Part:
        """Publish one message to several queues: its content is sent and stored once, and each queue has its own copy."""
        self._require_open("Transaction.publish")
        QUEUES("queues", queues)
        refs = tuple(self._ref("queues", queue) for queue in queues)
        if not refs:
            raise ArgumentError("queues must name at least one queue")
        data, props = self._commits.message(data, props)
        return Part(self, self._add(Publish(refs, Batch.pack([data], props=[props]))))

    def dequeue(self, queue: Queue, ids: Ids) -> None:
        """Accept messages, all of which must be held at the commit. Also with ``Settle.IMMEDIATE`` it is replicated."""
        self._require_open("Transaction.dequeue")
        ref = self._queue("queue", queue)
        self._add(Accept(ref, _named(queue, ids)))

    def move(self, queue: Queue, ids: Ids, target: Target) -> Part:
        """Move messages to the end of another queue. All must be held at the commit."""
        self._require_open("Transaction.move")
        source, to = self._queue("queue", queue), self._ref("target", target)
        if source == to:
            raise ArgumentError("target must be another queue than the messages are in")
        return Part(self, self._add(Move(source, _named(queue, ids), to)))

    def update(self, queue: Queue, ids: Ids, props: Props) -> Part:
        """Replace the props of messages: see `Queue.update`. All must be held at the commit."""
        self._require_open("Transaction.update")
        self._queue("queue", queue)
        most = self._runtime.settings.message_bytes_max
        queue._flush()  # Of what was published in this turn messages may be updated, too.
        return Part(self, self._add(update_step(queue._queue, ids, props, most)))

    def put(self, table: Table, key: BytesLike, value: BytesLike) -> None:
        """Set the value of a key of a table."""
        self._require_open("Transaction.put")
        table_id = self._table(table)
        value, key = self._commits.message(value, key, "value", "key")
        self._add(Put(table_id, key, value))

    def remove(self, table: Table, key: BytesLike) -> None:
        """Remove a key of a table. One that is not there is fine."""
        self._require_open("Transaction.remove")
        self._add(Erase(self._table(table), as_bytes("key", key)))

    def put_object(self, kind: str, name: str, value: BytesLike, *, replicate: Level | None = None) -> None:
        """Create an object of the configuration, or replace its value: see `Configuration.put`."""
        self._require_open("Transaction.put_object")
        self._add(put_step(self._runtime.settings, self._commits, kind, name, value, replicate))

    def delete_object(self, kind: str, name: str, *, replicate: Level | None = None) -> None:
        """Delete an object of the configuration. One that is not there is fine."""
        self._require_open("Transaction.delete_object")
        self._add(EraseObject(checked_key(kind, name), checked_level(replicate)))

    def declare(
        self,
        name: str,
        *,
        settle: Settle = Settle.REPLICATED,
        kind: str = "fifo",
        replicate: Level | None = None,
        arguments: BytesLike = b"",
    ) -> NewQueue:
        """Declare a queue: see `Node.declare`. The commit is refused if there is one of this name then."""
        self._require_open("Transaction.declare")
        spec, level = queue_spec(name, settle, kind), level_for(name, replicate, self._runtime.settings)
        content = check_arguments(self._commits.arguments(arguments), level)
        return NewQueue(self, self._add(DeclareQueue(spec, content, level)), name)

    def delete(self, queue: Queue | Table, to: Target | None = None) -> None:
        """Delete a queue with everything in it, or move what is left to another queue first; or delete a table."""
        self._require_open("Transaction.delete")
        if isinstance(queue, Table):
            self._add(DeleteQueue(self._table(queue)))
            return
        move_to = None if to is None else self._ref("to", to)
        self._add(DeleteQueue(self._queue("queue", queue), move_to))

    # --- the end ---------------------------------------------------------------------------------

    def commit(self) -> Op:
        """Make one operation of all calls. Called at the end of the ``with`` block. O(what the calls name).

        Raises:
            ObjectMismatch: An object that it puts exists with another level. Nothing was stored.
            MessagesGone: A message that it accepts, moves or updates is not held any more. Nothing was stored.
            UnknownQueue: A queue was deleted. Nothing was stored.
            NotPrimary: This node is no longer primary. Nothing was stored.
            NotEnoughMembers: Fewer than ``min_in_sync`` nodes are members. Nothing was stored.
            StaleHandle: It was begun in an earlier term.
            CallerError: A queue that it declares exists, or there are ``queues_max`` queues. Nothing was stored.
            ArgumentError: It has more than ``transaction_bytes_max`` bytes, names a message in two calls, or deletes a
                queue that a later call names.
            LocalProtocolError: It was committed or rolled back already.
            WrongThread: Called from another thread than the event loop's.
        """
        self._require_open("Transaction.commit")
        self._over = "was refused"
        for queue in self._queues:
            queue._flush()  # What was published before has lower ids.
        for ref, (step, data, props) in self._publishes.items():
            self._close(ref, step, data, props)
        self._committed, self._op = self._make()
        self._over = "was committed"
        return self._op

    def _make(self) -> tuple[Committed, Op]:
        return self._commits.commit(self._steps)

    def rollback(self) -> None:
        """Drop all calls. Nothing was stored, and no id was given out. Also on a node that is no longer primary.

        Raises:
            LocalProtocolError: It was committed or rolled back already.
            WrongThread: Called from another thread than the event loop's.
        """
        self._require_begun("Transaction.rollback")
        self._over = "was rolled back"
        self._steps = []

    @property
    def op(self) -> Op:
        """The op of the commit. Raises `LocalProtocolError` before it."""
        self._committed_or_raise()
        assert self._op is not None
        return self._op

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._over is None:
            if error is None:
                _ = self.commit()
            else:
                self._over = "was rolled back"

    def __repr__(self) -> str:
        return f"<Transaction of {len(self._steps)} steps that {self._over or 'is open'}>"

    def _committed_or_raise(self) -> Committed:
        if self._committed is None:
            raise LocalProtocolError(f"the transaction {self._over or 'is open'}: nothing of it is stored")
        return self._committed

    # --- checks ----------------------------------------------------------------------------------

    def _require_begun(self, what: str) -> None:
        self._runtime.require_thread(what)
        if self._over is not None:
            raise LocalProtocolError(f"{what}: the transaction {self._over}")

    def _require_open(self, what: str) -> None:
        runtime, generation = self._runtime, self._generation
        if (  # One expression, because every call executes it.
            get_ident() == runtime.thread
            and self._over is None
            and (primary := runtime.replica.primary) is not None
            and primary.generation == generation == runtime.broker_generation == runtime.serving_generation
        ):
            return
        self._require_begun(what)
        self._commits.require_serving()
        if self._generation != runtime.serving_generation:
            current = runtime.serving_generation
            raise stale("this transaction was begun", self._generation, current, "begin another one")

    def _ref(self, name: str, queue: Target) -> QueueId | int:
        if isinstance(queue, NewQueue):
            if queue._transaction is self:
                return queue._step
            queue = queue.queue  # Of a transaction that was committed before.
        return self._queue(name, queue)

    def _queue(self, name: str, queue: Queue) -> QueueId:
        if type(queue) is Queue and queue in self._queues and queue.generation == self._generation:
            return queue._queue.queue  # It was checked by an earlier call.
        QUEUE(name, queue)
        if queue._runtime is not self._runtime:
            raise ArgumentError(f"{name} must be a queue of node {self._runtime.id!r}, not {queue!r}")
        queue._require_term("Transaction")
        self._queues[queue] = None
        return queue.id

    def _table(self, table: Table) -> QueueId:
        TABLE("table", table)
        if table._runtime is not self._runtime:
            raise ArgumentError(f"table must be a table of node {self._runtime.id!r}, not {table!r}")
        table._require_term("Transaction")
        return table.id

    def _add(self, step: Step | ObjectStep) -> int:
        """Add a step. Later publishes come after it: they are collected anew."""
        for ref, (number, data, props) in self._publishes.items():
            self._close(ref, number, data, props)
        self._publishes, self._collected = {}, {}
        self._steps.append(step)
        return len(self._steps) - 1

    def _close(self, ref: QueueId | int, step: int, data: list[bytes], props: list[bytes]) -> None:
        self._steps[step] = Publish((ref,), Batch.pack(data, props=props if any(props) else None))


def _named(queue: Queue, ids: Ids) -> SequenceSet:
    """The messages that these ids name, those among them that were published in this turn."""
    queue._flush()  # A range with steps names what is held.
    return as_set(ids, queue.next_id, queue._queue.held).copy()
