"""What a node keeps for its broker: queues, tables and the configuration. The base of `Node` that has these methods."""

from __future__ import annotations

from qpidha.checks import CALLBACK, instance_of, shown
from qpidha.core.keyed import KeyedQueue
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.steps import DeclareQueue
from qpidha.errors import ArgumentError, UnknownQueue
from qpidha.node.configuration import Configuration
from qpidha.node.declaring import (
    check_arguments,
    level_for,
    queue_spec,
    require_same,
    same_arguments,
    table_spec,
)
from qpidha.node.keywatches import KeyChanged
from qpidha.node.op import Op
from qpidha.node.parts import Parts
from qpidha.node.producer import Producer
from qpidha.node.producers import ProducerInfo, Producers
from qpidha.node.queue import Queue
from qpidha.node.table import Table
from qpidha.node.transaction import Transaction
from qpidha.types import BytesLike, Level, QueueSpec, Settle

TEXT = instance_of(str, what="text")
DELETABLE = instance_of(Queue, Table, what="a queue or a table of this node")
QUEUE = instance_of(Queue)


class Content:
    """Base of `Node`. Changes need a node that is primary and serves; every node can read and watch."""

    _parts: Parts

    def _begin_content(self, parts: Parts) -> None:
        self._parts = parts
        self._tables: dict[tuple[object, int], Table] = {}
        self._configuration = Configuration(parts.runtime, parts.commits)
        self._producers = Producers(parts.runtime, parts.commits, parts.handles)

    # --- queues ----------------------------------------------------------------------------------

    @property
    def queues(self) -> list[Queue]:
        """A handle of every queue. O(queues): see `queue` for one.

        Raises:
            WrongThread: Called from another thread than the event loop's.
        """
        if self._parts.runtime.thread:
            self._parts.runtime.require_thread("Node.queues")
        return self._parts.handles.all()

    def queue(self, name: str) -> Queue:
        """The queue of this name, as a handle for the current term: one object for each term. O(1).

        Raises:
            UnknownQueue: This node has no queue of this name.
            ArgumentError: Not text.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        self._parts.runtime.require_thread("Node.queue")
        TEXT("name", name)
        return self._parts.handles.require(name)

    def declare(
        self,
        name: str,
        *,
        settle: Settle = Settle.REPLICATED,
        kind: str = "fifo",
        replicate: Level | None = None,
        arguments: BytesLike = b"",
    ) -> Queue:
        """The queue of this name, which is created if there is none. On the primary only. O(1).

        It may be used at once: publishes to it complete after its declaration. `Queue.declared` says when that is safe.

        Args:
            settle: When accepts complete: when they are safe, or at once.
            kind: The type of the queue. The node's ``queue_types`` say which kinds have an index of their messages.
            replicate: How much of it the other nodes have. None: what ``Settings.replicate`` says of the name, if the
                queue is created; if it exists, what it has.
            arguments: Bytes that only your broker understands, kept with the queue on all nodes: `Queue.arguments`.

        Raises:
            NotPrimary: Only the primary declares queues.
            QueueMismatch: A queue of this name exists with another settle, kind, level or arguments, or a table; `queue`
                returns a queue as it is.
            ArgumentError: A name, settle, kind or arguments that could not be stored or sent.
            CallerError: There are ``queues_max`` queues already.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        parts = self._parts
        parts.runtime.require_thread("Node.declare")
        spec, content = queue_spec(name, settle, kind), parts.commits.arguments(arguments)
        parts.commits.require_serving()
        if self._existing(name, spec, replicate) is not None:
            return same_arguments(parts.handles.require(name), spec, content)
        level = level_for(name, replicate, parts.runtime.settings)
        step = DeclareQueue(spec, check_arguments(content, level), level)
        return parts.handles.of(parts.commits.declare(step))

    def delete(self, queue: Queue | Table, *, to: Queue | None = None) -> Op:
        """Delete a queue with everything in it, or a table. On the primary only.

        Publishes and accepts that are pending in it complete as without the deletion. Its handles can only read then.

        Args:
            to: Move the messages that are left to the end of this queue, in the same operation.

        Raises:
            NotPrimary: Only the primary deletes queues.
            NotEnoughMembers: Fewer than ``min_in_sync`` nodes are members. Nothing was deleted.
            UnknownQueue: It was deleted already.
            BackupTooOld: A connected backup runs a release that cannot delete queues.
            StaleHandle: The handle is of an earlier term.
            ArgumentError: No queue or table of this node; or the queue itself as target.
            WrongThread: Called from another thread than the event loop's.
        """
        runtime = self._parts.runtime
        runtime.require_thread("Node.delete")
        DELETABLE("queue", queue)
        targets = [each for each in (queue, to) if each is not None]
        if to is not None:
            QUEUE("to", to)
            if to is queue or isinstance(queue, Table):
                raise ArgumentError(f"to must be another queue than {queue!r}, which must be no table")
        for each in targets:
            if each._runtime is not runtime:
                raise ArgumentError(f"{each!r} is not of node {runtime.id!r}")
            each._require_term("Node.delete")
            if isinstance(each, Queue):
                each._flush()
        return self._parts.commits.delete(queue.id, None if to is None else to.id)

    def publish(self, queues: list[Queue] | tuple[Queue, ...], data: BytesLike, props: BytesLike = b"") -> Op:
        """Publish one message to several queues: one operation, and its content is sent and stored once.

        The op is safe when every member has it durable in all of the queues. Its ids are those in the first of them.

        Raises:
            NotPrimary, NotEnoughMembers, StaleHandle, UnknownQueue, ArgumentError, WrongThread: As for `Queue.enqueue`.
        """
        transaction = self.transaction()
        part = transaction.publish(queues, data, props)
        op = transaction.commit()
        op.ids = part.ids
        return op

    def renew_listener(self, name: str) -> bool:
        """Ask the broker for a new listener if the queue's listener was disconnected. True: the queue has one now.

        The new listener is given the whole content at once, in this turn. O(messages of the queue).

        Raises:
            UnknownQueue, LocalProtocolError, WrongThread: As for `queue`.
        """
        return self._parts.effects.listeners.renew(self.queue(name)._queue)

    # --- tables, objects, transactions -----------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The cluster's objects, of any kind that the broker has. One object for the life of the node.

        This property may be read from any thread; the methods of the object may not.
        """
        return self._configuration

    def table(self, name: str, *, replicate: Level | None = None) -> Table:
        """The table of this name, as a handle for the current term; the primary creates it if there is none. O(1).

        Queues and tables share their names.

        Args:
            replicate: As for `declare`.

        Raises:
            UnknownQueue: This node is not primary, and has no table of this name.
            QueueMismatch: A queue has this name; or the table exists with another level.
            ArgumentError: A name that could not be stored or sent.
            CallerError: There are ``queues_max`` queues and tables already.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        runtime, commits = self._parts.runtime, self._parts.commits
        runtime.require_thread("Node.table")
        spec = table_spec(name)
        queue = self._existing(name, spec, replicate)
        if queue is None:
            if not runtime.serving:
                raise UnknownQueue(f"no table {shown(name)} on node {runtime.id!r}")
            level = level_for(name, replicate, runtime.settings)
            queue = runtime.replica.queue(commits.declare(DeclareQueue(spec, level=level)))
        assert isinstance(queue, KeyedQueue)
        id = queue.queue
        generation = runtime.serving_generation if runtime.serving else 0
        key = (id, generation)
        if key not in self._tables:
            self._tables = {k: t for k, t in self._tables.items() if k[1] == generation}
            self._tables[key] = Table(runtime, commits, queue, generation)
        return self._tables[key]

    def watch_table(self, name: str, callback: KeyChanged) -> None:
        """Call ``callback(key, value)`` for all keys of whatever table has this name, now or later, on every node.

        It is called for each key that is there before this returns, and afterwards as by `Table.on_change`. If the table
        is deleted, or a failover takes it away, it is called for each key with None; then for those of another table that
        gets the name. So a backup can mirror a table that is declared later. Calls end when the node stops.

        Raises:
            ArgumentError: A name that no table can have, or a callback that cannot be called.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        self._parts.runtime.require_thread("Node.watch_table")
        table_spec(name)
        CALLBACK("callback", callback)
        self._parts.commits.watches.watch_table(name, callback)

    def transaction(self) -> Transaction:
        """Begin a transaction over queues, tables and the configuration: all of it is stored, or nothing.

        Raises:
            NotPrimary: Only the primary commits.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        runtime, commits = self._parts.runtime, self._parts.commits
        runtime.require_thread("Node.transaction")
        commits.require_serving()
        return Transaction(runtime, commits, self._parts.handles)

    # --- producers -------------------------------------------------------------------------------

    def producer(self, name: str, *, epoch: tuple[int, int] | None = None) -> Producer:
        """A producer, whose repeated publishes are recognised, as a handle for the current term. O(1).

        Without an epoch it is registered: it gets a new one, an earlier one of this name is over, and its first sequence
        is 1. Tell its client when `Producer.registered` is safe. With an epoch it is one that was registered before, here
        or at an earlier primary, and goes on.

        Raises:
            UnknownProducer: No producer of this name is registered with this epoch (any more).
            TooManyProducers: There are ``producers_max`` already.
            NotPrimary: Only the primary has producers.
            NotEnoughMembers: Fewer than ``min_in_sync`` nodes are members. Nothing was stored.
            ArgumentError: A name that is not text of 1 to 1024 bytes, or what is no epoch.
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        self._parts.runtime.require_thread("Node.producer")
        return self._producers.register(name) if epoch is None else self._producers.attach(name, epoch)

    def producers(self) -> list[ProducerInfo]:
        """All producers that are registered, on every node. O(producers).

        Forget those that are not needed any more (`Producer.forget`): each is kept until then.

        Raises:
            LocalProtocolError: The node has not started.
            WrongThread: Called from another thread than the event loop's.
        """
        self._parts.runtime.require_thread("Node.producers")
        return self._producers.all()

    def _existing(self, name: str, spec: QueueSpec, replicate: Level | None) -> ReplicatedQueue | None:
        """The queue or table of this name, None if there is none. Raises `QueueMismatch` if it is not as declared."""
        replica = self._parts.runtime.replica
        id = replica.find(name)
        there = None if id is None else replica.queue(id)
        if there is not None:
            require_same(there.queue, there.spec, spec, replicate)
        return there
