"""A node, for threads: the counterpart of `Node`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qpidha.checks import CALLBACK, instance_of
from qpidha.core.explanation import Explanation
from qpidha.core.unconfirmed import Unconfirmed
from qpidha.node.facts import Facts
from qpidha.node.op import Op
from qpidha.node.participant import Participant
from qpidha.node.producers import ProducerInfo
from qpidha.node.queue import Queue
from qpidha.node.status import NodeStatus
from qpidha.node.sync.caller import LoopCaller
from qpidha.node.sync.configuration import SyncConfiguration
from qpidha.node.sync.op import SyncOp, make
from qpidha.node.sync.producer import SyncProducer
from qpidha.node.sync.queue import SyncQueue
from qpidha.node.sync.table import SyncTable
from qpidha.node.sync.transaction import SyncTransaction
from qpidha.types import BytesLike, Generation, Level, MessageId, QueueId, Settle, Stopped

T = TypeVar("T")
OP = instance_of(Op)
QUEUE = instance_of(SyncQueue)
QUEUES = instance_of(list, tuple, what="a list or tuple of queues")
DELETABLE = instance_of(SyncQueue, SyncTable, what="a queue or a table of this node")


class SyncNode(Facts):
    """`Node.sync`: the node for threads other than that of its event loop. Any number of threads may use it.

    Each method does what the method of this name of `Node` does, in the event loop, and returns when that is done. A
    change is made then on this node; ``safe()`` of the op that it returns waits until it is safe. Properties do not wait.

        queue = node.sync.declare("orders")
        receipt = queue.enqueue(b"one").safe()

    Methods raise what those of `Node` raise, and besides:

        WrongThread     called in the event loop, which would wait for itself: use the node itself there
        NodeStopped     the event loop has ended. Nothing was changed
        WaitTimeout     the time of `within` is over, and the loop has not begun the call. Nothing was changed
        CallTimeout     the time of `within` is over, and the loop had begun the call: the change may have been made
        InDoubt         the event loop ended in the middle of the call: the change may have been made

    Without `within` a call waits until the event loop answers, and not longer than the loop runs. Callbacks are not here,
    because they are called in the event loop: register them there.
    """

    def __init__(self, node: Participant, caller: LoopCaller) -> None:
        self._runtime = node._runtime
        self._parts = node._parts
        self._node = node
        self._caller = caller

    def within(self, timeout_s: float | None) -> SyncNode:
        """The same node, with a limit to the time of each call of it, and of all handles and ops that it returns.

        Args:
            timeout_s: Seconds. None: no limit. A time that is given to a call itself counts instead.

        Raises:
            ArgumentError: Not a time.
        """
        return SyncNode(self._node, self._caller.within(timeout_s))

    # --- one turn --------------------------------------------------------------------------------

    def run(self, work: Callable[[], T]) -> T:
        """Call a function in the event loop, in one turn: what it reads is what it changes, without a lock.

        It may use the node, its queues and its queue types, and must not wait. What it raises, this raises. To wait for
        an op, let it return ``sync.op(op)``.

            def take():
                value = offsets.get(b"billing")
                return value, sync.op(offsets.remove(b"billing"))

            value, op = sync.run(take)
            op.safe()
        """
        CALLBACK("work", work)
        return self._caller.run(self.run, work)

    def run_safe(self, work: Callable[[], tuple[T, Op | None]]) -> T:
        """The same for a function that makes a change: it returns a value and an op, and this waits until that is safe.

        The thread is woken once, instead of once for the call and once for the op. None in place of the op: nothing has
        changed.

            sync.run_safe(lambda: (offsets.get(b"billing"), offsets.remove(b"billing")))

        Raises:
            OpTimeout: It is not safe after ``op_timeout_s``. Nothing was undone: it is still pending.
            CallTimeout: Nor after the time of `within`.
            InDoubt: This node stepped down or stopped before it was safe, or its event loop has ended.
        """
        CALLBACK("work", work)
        return self._caller.run_safe(self.run_safe, work)

    def op(self, op: Op) -> SyncOp:
        """This op, for threads: its ``safe`` waits. To be called in the event loop, where there are ops.

        Raises:
            ArgumentError: Not an `Op`.
            WrongThread: Called from another thread than the event loop's.
        """
        OP("op", op)
        self._runtime.require_thread("SyncNode.op")
        return SyncOp(self._caller, op)

    # --- queues ----------------------------------------------------------------------------------

    @property
    def queues(self) -> list[SyncQueue]:
        """A handle of every queue. O(queues). Waits for the loop, as methods do."""
        node = self._node
        return [SyncQueue(self._caller, queue) for queue in self._caller.read(lambda: node.queues)]

    def queue(self, name: str) -> SyncQueue:
        """The queue of this name, as a handle for the current term."""
        return SyncQueue(self._caller, self._caller.read(self._node.queue, name))

    def declare(
        self,
        name: str,
        *,
        settle: Settle = Settle.REPLICATED,
        kind: str = "fifo",
        replicate: Level | None = None,
        arguments: BytesLike = b"",
    ) -> SyncQueue:
        """The queue of this name, which is created if there is none. On the primary only."""
        declare, change = self._node.declare, self._caller.change
        queue = change(declare, name, settle=settle, kind=kind, replicate=replicate, arguments=arguments)
        return SyncQueue(self._caller, queue)

    def delete(self, queue: SyncQueue | SyncTable, *, to: SyncQueue | None = None) -> SyncOp:
        """Delete a queue with everything in it, or a table; ``to``: move what is left to this queue first."""
        DELETABLE("queue", queue)
        if to is not None:
            QUEUE("to", to)
        deleted = queue._table if isinstance(queue, SyncTable) else queue._queue
        target = None if to is None else to._queue
        return make(self._caller, self._node.delete, deleted, to=target)

    def publish(
        self, queues: list[SyncQueue] | tuple[SyncQueue, ...], data: BytesLike, props: BytesLike = b""
    ) -> SyncOp:
        """Publish one message to several queues: one operation, and its content is sent and stored once."""
        QUEUES("queues", queues)
        for queue in queues:
            QUEUE("queues", queue)
        named = [queue._queue for queue in queues]
        return make(self._caller, self._node.publish, named, data, props)

    def renew_listener(self, name: str) -> bool:
        """Ask the broker for a new listener if the queue's listener was disconnected."""
        return self._caller.change(self._node.renew_listener, name)

    # --- tables, objects, transactions -----------------------------------------------------------

    @property
    def configuration(self) -> SyncConfiguration:
        """The cluster's objects, of any kind that the broker has."""
        return SyncConfiguration(self._caller, self._node.configuration)

    def table(self, name: str, *, replicate: Level | None = None) -> SyncTable:
        """The table of this name, as a handle for the current term; the primary creates it if there is none."""
        return SyncTable(self._caller, self._caller.change(self._node.table, name, replicate=replicate))

    def transaction(self) -> SyncTransaction:
        """Begin a transaction over queues, tables and the configuration: all of it is stored, or nothing."""
        return SyncTransaction(self._caller, self._caller.read(self._node.transaction))

    # --- producers -------------------------------------------------------------------------------

    def producer(self, name: str, *, epoch: tuple[int, int] | None = None) -> SyncProducer:
        """A producer, whose repeated publishes are recognised; without an epoch it is registered."""
        return SyncProducer(self._caller, self._caller.change(self._node.producer, name, epoch=epoch))

    def producers(self) -> list[ProducerInfo]:
        """All producers that are registered."""
        return self._caller.read(self._node.producers)

    # --- waiting ---------------------------------------------------------------------------------

    def wait_stopped(self) -> Stopped:
        """Wait until the node has stopped. Returns the reason."""
        return self._caller.wait(None, self._node.wait_stopped)

    def wait_serving(self, timeout_s: float | None = None) -> None:
        """Wait until this node serves: it is primary, and ``on_promote`` has returned."""
        self._caller.wait(timeout_s, self._node.wait_serving, timeout_s)

    def wait_in_sync(self, timeout_s: float | None = None) -> None:
        """Wait until this node is a member of the record: it has every acknowledged message."""
        self._caller.wait(timeout_s, self._node.wait_in_sync, timeout_s)

    def barrier(self) -> Generation:
        """Wait until everything enqueued, accepted, moved and declared so far in this term is safe, of all threads."""
        return self._caller.wait(None, self._node.barrier)

    # --- status and roles ------------------------------------------------------------------------

    def status(self, *, queues_max: int | None = None) -> NodeStatus:
        """The state of this node, and of the cluster as this node sees it."""
        return self._caller.read(self._node.status, queues_max=queues_max)

    def why(
        self, queue: SyncQueue | QueueId | str, id: MessageId, generation: Generation | None = None
    ) -> Explanation:
        """What became of a message, as far as this node knows, and what to do."""
        return self._caller.wait(None, self._node.why, _asked(queue), id, generation)

    def unconfirmed(
        self, queue: SyncQueue | QueueId | str | None = None, *, queues_max: int = 20
    ) -> Unconfirmed:
        """Which publishes of this primary are not confirmed, and for whom they wait."""
        asked = None if queue is None else _asked(queue)
        return self._caller.read(self._node.unconfirmed, asked, queues_max=queues_max)

    def promote(self, *, timeout_s: float = 10.0) -> None:
        """Become primary, if the record allows it. Returns when this node serves."""
        self._caller.perform(timeout_s, self._node.promote, timeout_s=timeout_s)

    def demote(self, *, timeout_s: float = 10.0) -> None:
        """Hand over: stop being primary, so that another live member is promoted."""
        self._caller.perform(timeout_s, self._node.demote, timeout_s=timeout_s)

    def give_place_away(self, why: str) -> None:
        """As primary, let another member take over. Does not wait for that."""
        self._caller.change(self._node.give_place_away, why)

    def stop(self) -> None:
        """Stop the node in order, and wait until everything is released. The event loop goes on."""
        self._caller.perform(None, self._node.stop)


def _asked(queue: SyncQueue | QueueId | str) -> Queue | QueueId | str:
    return queue._queue if isinstance(queue, SyncQueue) else queue
