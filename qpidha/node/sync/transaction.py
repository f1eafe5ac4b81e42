"""Several changes with one outcome, for threads: the counterpart of `Transaction`.

The calls are collected in the thread. The commit makes them again on a `Transaction`, in one turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeAlias

from qpidha.checks import instance_of
from qpidha.errors import InDoubt, LocalProtocolError
from qpidha.node.caller import as_bytes
from qpidha.node.consuming import Ids, Props
from qpidha.node.op import Op
from qpidha.node.results import NewQueue, Part
from qpidha.node.sync.caller import LoopCaller
from qpidha.node.sync.op import SyncOp, make
from qpidha.node.sync.queue import SyncQueue, own, own_props
from qpidha.node.sync.table import SyncTable
from qpidha.node.transaction import Target, Transaction
from qpidha.types import BytesLike, Level, Settle


class SyncPart:
    """One call of a transaction that gives out ids: known after the commit."""

    def __init__(self) -> None:
        self._part: Part | None = None

    @property
    def ids(self) -> range:
        """The new ids: of a publish to several queues, in the first of them; of a move, in the target.

        Raises:
            LocalProtocolError: The transaction was not committed.
        """
        if self._part is None:
            raise LocalProtocolError("the transaction was not committed: nothing of it is stored")
        return self._part.ids


class SyncNewQueue:
    """A queue that a transaction declares: its other calls may name it; after the commit, ``queue`` is its handle."""

    __slots__ = ("_caller", "_made", "name")

    def __init__(self, caller: LoopCaller, name: str) -> None:
        self._caller = caller
        self._made: NewQueue | None = None
        self.name = name

    @property
    def queue(self) -> SyncQueue:
        """The handle of the queue. Waits for the loop, as methods do.

        Raises:
            LocalProtocolError: The transaction was not committed.
            UnknownQueue: The queue was deleted since.
        """
        made = self._made
        if made is None:
            raise LocalProtocolError("the transaction was not committed: nothing of it is stored")
        return SyncQueue(self._caller, self._caller.read(lambda: made.queue))


SyncTarget: TypeAlias = SyncQueue | SyncNewQueue
QUEUE = instance_of(SyncQueue)
QUEUES = instance_of(list, tuple, what="a list or tuple of queues")
TARGET = instance_of(SyncQueue, SyncNewQueue)
TABLE = instance_of(SyncTable)
DELETABLE = instance_of(SyncQueue, SyncTable, what="a queue or a table of this node")


class SyncTransaction:
    """Collects calls in the thread, and makes one operation of them at the commit: at the end of its ``with`` block.

        with node.sync.transaction() as t:
            t.dequeue(orders, 7)
            t.enqueue(invoices, b"invoice of 7")
        t.op.safe()

    See `Transaction`. Only the beginning and the commit wait for the event loop. So what a call names is looked up at the
    commit, and an argument that is refused there rolls all of it back. One thread at a time may use it.
    """

    def __init__(self, caller: LoopCaller, transaction: Transaction) -> None:
        self._caller = caller
        self._transaction = transaction
        self._calls: list[Callable[[], None]] = []
        self._over: str | None = None
        self._op: SyncOp | None = None

    # --- the calls -------------------------------------------------------------------------------

    def enqueue(self, queue: SyncTarget, data: BytesLike, props: BytesLike = b"") -> SyncPart:
        """Publish one message. Consecutive publishes to one queue become one batch."""
        self._require_open("SyncTransaction.enqueue")
        TARGET("queue", queue)
        data, props = as_bytes("data", data), as_bytes("props", props)
        return self._part(lambda t: t.enqueue(_target(queue), data, props))

    def publish(self, queues: Sequence[SyncTarget], data: BytesLike, props: BytesLike = b"") -> SyncPart:
        """Publish one message to several queues: its content is sent and stored once, and each queue has its own copy."""
        self._require_open("SyncTransaction.publish")
        QUEUES("queues", queues)
        named = tuple(queues)
        for queue in named:
            TARGET("queues", queue)
        data, props = as_bytes("data", data), as_bytes("props", props)
        return self._part(lambda t: t.publish([_target(queue) for queue in named], data, props))

    def dequeue(self, queue: SyncQueue, ids: Ids) -> None:
        """Accept messages, all of which must be held at the commit."""
        self._require_open("SyncTransaction.dequeue")
        QUEUE("queue", queue)
        wanted = own(ids)
        self._add(lambda t: t.dequeue(queue._queue, wanted))

    def move(self, queue: SyncQueue, ids: Ids, target: SyncTarget) -> SyncPart:
        """Move messages to the end of another queue. All must be held at the commit."""
        self._require_open("SyncTransaction.move")
        QUEUE("queue", queue)
        TARGET("target", target)
        wanted = own(ids)
        return self._part(lambda t: t.move(queue._queue, wanted, _target(target)))

    def update(self, queue: SyncQueue, ids: Ids, props: Props) -> SyncPart:
        """Replace the props of messages: see `SyncQueue.update`. All must be held at the commit."""
        self._require_open("SyncTransaction.update")
        QUEUE("queue", queue)
        wanted, each = own(ids), own_props(props)
        return self._part(lambda t: t.update(queue._queue, wanted, each))

    def put(self, table: SyncTable, key: BytesLike, value: BytesLike) -> None:
        """Set the value of a key of a table."""
        self._require_open("SyncTransaction.put")
        TABLE("table", table)
        key, value = as_bytes("key", key), as_bytes("value", value)
        self._add(lambda t: t.put(table._table, key, value))

    def remove(self, table: SyncTable, key: BytesLike) -> None:
        """Remove a key of a table. One that is not there is fine."""
        self._require_open("SyncTransaction.remove")
        TABLE("table", table)
        key = as_bytes("key", key)
        self._add(lambda t: t.remove(table._table, key))

    def put_object(self, kind: str, name: str, value: BytesLike, *, replicate: Level | None = None) -> None:
        """Create an object of the configuration, or replace its value."""
        self._require_open("SyncTransaction.put_object")
        value = as_bytes("value", value)
        self._add(lambda t: t.put_object(kind, name, value, replicate=replicate))

    def delete_object(self, kind: str, name: str, *, replicate: Level | None = None) -> None:
        """Delete an object of the configuration. One that is not there is fine."""
        self._require_open("SyncTransaction.delete_object")
        self._add(lambda t: t.delete_object(kind, name, replicate=replicate))

    def declare(
        self,
        name: str,
        *,
        settle: Settle = Settle.REPLICATED,
        kind: str = "fifo",
        replicate: Level | None = None,
        arguments: BytesLike = b"",
    ) -> SyncNewQueue:
        """Declare a queue. The commit is refused if there is one of this name then."""
        self._require_open("SyncTransaction.declare")
        new = SyncNewQueue(self._caller, name)

        def declare(transaction: Transaction) -> None:
            new._made = transaction.declare(
                name, settle=settle, kind=kind, replicate=replicate, arguments=arguments
            )

        self._add(declare)
        return new

    def delete(self, queue: SyncQueue | SyncTable, to: SyncTarget | None = None) -> None:
        """Delete a queue with everything in it, or move what is left to another queue first; or delete a table."""
        self._require_open("SyncTransaction.delete")
        DELETABLE("queue", queue)
        if to is not None:
            TARGET("to", to)
        deleted = queue._table if isinstance(queue, SyncTable) else queue._queue
        self._add(lambda t: t.delete(deleted, None if to is None else _target(to)))

    # --- the end ---------------------------------------------------------------------------------

    def commit(self) -> SyncOp:
        """Make one operation of all calls. Called at the end of the ``with`` block.

        Raises:
            CallerError: See `Transaction.commit`; also what its calls raise. Nothing was stored.
            NotEnoughMembers: Nothing was stored.
            WaitTimeout, qpidha.errors.NodeStopped: The event loop did not begin it. Nothing was stored.
            CallTimeout, InDoubt: It may have been committed: all of it, or nothing.
        """
        self._require_open("SyncTransaction.commit")

        def commit() -> Op:
            for call in self._calls:
                call()
            return self._transaction.commit()

        self._over = "was refused"
        try:
            self._op = make(self._caller, commit)
        except InDoubt:
            self._over = "may have been committed"
            raise
        self._over = "was committed"
        return self._op

    def rollback(self) -> None:
        """Drop all calls. Nothing was stored. Does not wait, and works also when the event loop has ended.

        Raises:
            LocalProtocolError: It was committed or rolled back already.
        """
        self._require_open("SyncTransaction.rollback")
        self._over = "was rolled back"
        self._calls = []

    @property
    def op(self) -> SyncOp:
        """The op of the commit. Raises `LocalProtocolError` before it."""
        if self._op is None:
            raise LocalProtocolError(
                f"the transaction {self._over or 'is open'}: nothing of it is known to be stored"
            )
        return self._op

    def __enter__(self) -> SyncTransaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._over is None:
            if error is None:
                _ = self.commit()
            else:
                self.rollback()

    def __repr__(self) -> str:
        return f"<SyncTransaction of {len(self._calls)} calls that {self._over or 'is open'}>"

    def _require_open(self, what: str) -> None:
        if self._over is not None:
            raise LocalProtocolError(f"{what}: the transaction {self._over}")

    def _add(self, call: Callable[[Transaction], None]) -> None:
        self._calls.append(lambda: call(self._transaction))

    def _part(self, call: Callable[[Transaction], Part]) -> SyncPart:
        made = SyncPart()

        def call_and_keep(transaction: Transaction) -> None:
            made._part = call(transaction)

        self._add(call_and_keep)
        return made


def _target(queue: SyncTarget) -> Target:
    """The queue, in the event loop."""
    if isinstance(queue, SyncQueue):
        return queue._queue
    if queue._made is None:
        raise LocalProtocolError(
            f"queue {queue.name!r} is declared by another transaction, which was not committed"
        )
    return queue._made
