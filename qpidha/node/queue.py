"""A replicated queue as the embedder works with it: synchronous changes, safety later.

Only the primary may change a queue; anyone may look. Single messages and small batches published in one
turn of the event loop become one operation: their ids are given out at once, the operation is made when the
turn ends or when anything else is done with the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from qpidha.errors import CallerError, NotPrimary
from qpidha.node.op import Ledger, Op, call
from qpidha.seq import SequenceSet
from qpidha.types import BytesLike, MessageId, QueueId, QueueSpec, Settle
from qpidha.wire.batch import Batch

if TYPE_CHECKING:
    from qpidha.core.queue import ReplicatedQueue
    from qpidha.node.node import Node

SMALL_BATCH_BYTES = 16 * 1024
"""Smaller batches of one turn are joined: copying them costs less than an operation of their own on every node."""

Ids = int | range | SequenceSet | Iterable[int]


def as_set(ids: Ids) -> SequenceSet:
    """The ids an embedder names, in whatever form, as a set."""
    if isinstance(ids, SequenceSet):
        return ids
    if isinstance(ids, int):
        return SequenceSet.from_range(ids, ids)
    if isinstance(ids, range) and ids.step == 1:
        return SequenceSet.from_range(ids.start, ids.stop - 1) if ids else SequenceSet()
    return SequenceSet(ids)


def as_bytes(data: BytesLike) -> bytes:
    """Bytes that nobody can change any more; the same object if it is bytes already."""
    if type(data) is bytes:
        return data
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"a message is bytes, not {type(data).__name__}")
    return bytes(data)


def cut(batch: Batch, bytes_max: int) -> Iterator[Batch]:
    """The batch in pieces of at most so many bytes each; itself, if it is small enough."""
    if batch.nbytes <= bytes_max:
        yield batch
    elif len(batch) == 1:
        raise CallerError(f"a message of {batch.nbytes} bytes; half of frame_bytes_max is {bytes_max}")
    else:
        middle = len(batch) // 2
        yield from cut(batch.cut(0, middle), bytes_max)
        yield from cut(batch.cut(middle, len(batch)), bytes_max)


class Waiting:
    """Single messages and small batches published in one turn: one operation for all of them."""

    __slots__ = ("_batches", "_data", "_props", "bytes", "messages", "scheduled")

    def __init__(self, *, scheduled: bool = False) -> None:
        self._batches: list[Batch] = []
        self._data: list[bytes] = []
        self._props: list[bytes] = []
        self.messages = 0
        self.bytes = 0
        self.scheduled = scheduled
        """The node will flush at the end of this turn."""

    def add(self, data: bytes, props: bytes) -> None:
        self._data.append(data)
        self._props.append(props)
        self.messages += 1
        self.bytes += len(data) + len(props)

    def add_batch(self, batch: Batch) -> None:
        self._close_singles()
        self._batches.append(batch)
        self.messages += len(batch)
        self.bytes += batch.nbytes

    def _close_singles(self) -> None:
        if self._data:
            self._batches.append(Batch.pack(self._data, self._props if any(self._props) else None))
            self._data, self._props = [], []

    def joined(self) -> Batch:
        """Everything, in order, as one batch. There is at least one message."""
        self._close_singles()
        return self._batches[0] if len(self._batches) == 1 else Batch.join(self._batches)


class Queue:
    """The handle of one queue on one node. The same object for as long as the node runs."""

    def __init__(self, node: Node, replicated: ReplicatedQueue) -> None:
        self._node = node
        self._queue = replicated
        self._ledger = Ledger(0)
        self._waiting = Waiting()
        self._watchers: list[Callable[[MessageId], None]] = []
        self._content_watchers: list[Callable[[], None]] = []

    @property
    def id(self) -> QueueId:
        return self._queue.queue

    @property
    def name(self) -> str:
        return self._queue.spec.name

    @property
    def spec(self) -> QueueSpec:
        return self._queue.spec

    @property
    def depth(self) -> int:
        """How many messages this node holds, safe or not."""
        return len(self._queue) + self._waiting.messages

    @property
    def nbytes(self) -> int:
        """Bytes of the stored batches, payload and layout."""
        return self._queue.bytes

    @property
    def next_id(self) -> MessageId:
        return self._queue.next + self._waiting.messages

    @property
    def safe_upto(self) -> MessageId:
        """Every publish of this generation with an id up to here is safe."""
        return self._ledger.upto

    @property
    def pending(self) -> int:
        """How many ids were given out beyond the last safe one."""
        return self.next_id - 1 - self._ledger.upto

    # --- publishing ------------------------------------------------------------------------------

    def enqueue(self, data: BytesLike, props: BytesLike = b"") -> Op:
        """Publish one message. Its id is given out at once.

        Raises:
            NotPrimary: Only the primary publishes. Nothing was stored.
            CallerError: The message is larger than the settings allow.
            TypeError: The message is not bytes.
        """
        self._require_primary()
        data, props = as_bytes(data), as_bytes(props)
        size = len(data) + len(props)
        if size > self._node.settings.message_bytes_max:
            raise CallerError(
                f"a message of {size} bytes; message_bytes_max is {self._node.settings.message_bytes_max}"
            )
        id = self.next_id
        self._waiting.add(data, props)
        self._flush_in_time()
        return Op(self._ledger, id, range(id, id + 1))

    def enqueue_many(self, batch: Batch | list[bytes] | tuple[bytes, ...]) -> Op:
        """Publish a batch in one call: one range of ids, one `Op`, no work per message.

        A batch larger than half a frame travels in pieces; a failover may keep the first of them only.

        Raises:
            NotPrimary: Only the primary publishes. Nothing was stored.
            CallerError: One of its messages is larger than half a frame.
        """
        self._require_primary()
        if not isinstance(batch, Batch):
            batch = Batch.pack(batch)
        first = self.next_id
        if batch.nbytes < SMALL_BATCH_BYTES:
            self._waiting.add_batch(batch)
            self._flush_in_time()
        else:
            pieces = list(cut(batch, self._node.settings.frame_bytes_max // 2))
            self.flush()
            for piece in pieces:
                self._node.replica.enqueue(self.id, piece)
            self._changed()
        return Op(self._ledger, self.next_id - 1, range(first, self.next_id))

    def _flush_in_time(self) -> None:
        """At the end of this turn, or now if much is waiting already."""
        if self._waiting.bytes >= self._node.settings.operations_bytes:
            self.flush()
        elif not self._waiting.scheduled:
            self._waiting.scheduled = True
            self._node.flush_later(self)

    def flush(self) -> None:
        """Publish what was collected in this turn, as one batch and one operation.

        If this node has ceased to be primary in the same turn, its ops are in doubt and it is forgotten.
        """
        waiting = self._waiting
        if waiting.messages and not self._node.serving:
            self._waiting = Waiting(scheduled=waiting.scheduled)
        elif waiting.messages:
            self._waiting = Waiting(scheduled=waiting.scheduled)
            self._node.replica.enqueue(self.id, waiting.joined())
            self._changed()

    def end_of_turn(self) -> None:
        """Called by the node, once for each `flush_later`."""
        self._waiting.scheduled = False
        self.flush()

    def _require_primary(self) -> None:
        if not self._node.serving:
            raise NotPrimary(
                f"node {self._node.id!r} is {self._node.role.value}",
                primary=self._node.primary,
                address=self._node.primary_client_address,
            )

    def _changed(self) -> None:
        self._node.poke()
        for watcher in list(self._content_watchers):
            call(watcher)

    # --- consuming -------------------------------------------------------------------------------

    def dequeue(self, ids: Ids) -> Op:
        """Accept (or expire, or drop) messages, in any order. Those already gone are fine.

        With ``Settle.IMMEDIATE`` the op is safe at once; with ``Settle.REPLICATED`` when every member has
        made it durable: only then may the consumer be told.
        """
        self._require_primary()
        self.flush()
        wanted = as_set(ids)
        position, gone = self._node.replica.dequeue(self.id, wanted)
        span = range(wanted.first, wanted.last + 1) if wanted else range(0)
        if gone:
            self._node.poke()
        if self.spec.settle is Settle.IMMEDIATE:
            return Op(self._node.immediate, 0, span)
        return Op(self._node.settled, position, span)

    def move(self, ids: Ids, target: Queue) -> Op:
        """Move messages to the end of another queue: nobody ever sees one of them twice or not at all.

        The op's ids are the new ones; it is safe when every member has made the move durable. What fits a frame
        is one operation; of a larger move, a failover may leave the first part done and the rest not.
        """
        self._require_primary()
        self.flush()
        target.flush()
        replica = self._node.replica
        position, new = replica.move(
            self.id, SequenceSet(), target.id
        )  # What an earlier move has done already.
        for portion in replica.portions(self.id, as_set(ids)):
            position, made = replica.move(self.id, portion, target.id)
            new |= made
        target._changed()
        return Op(self._node.settled, position, range(new.first, new.last + 1) if new else range(0))

    def read(
        self, first_id: MessageId, *, messages_max: int = 1000, bytes_max: int = 1 << 20
    ) -> tuple[SequenceSet, Batch] | None:
        """The held messages from an id on: ids and their batch, or None if there are none.

        Returns at most one stored batch, so that nothing is copied when all of it is wanted.
        """
        self.flush()
        for ids, batch in self._queue.read(first_id, messages_max=messages_max, bytes_max=bytes_max):
            return ids.copy(), batch
        return None

    def get(self, id: MessageId) -> bytes | None:
        """The data of one message, or None if it is gone."""
        self.flush()
        if id not in self._queue.held:
            return None
        _, batch = next(self._queue.select(SequenceSet.from_range(id, id)))
        return batch.data(0)

    def __iter__(self) -> Iterator[tuple[MessageId, bytes]]:
        """(id, data) of every message held now, in order."""
        self.flush()
        for ids, batch in list(self._queue.select(self._queue.held)):
            yield from zip(ids, batch, strict=True)

    # --- watching --------------------------------------------------------------------------------

    def on_safe_upto(self, callback: Callable[[MessageId], None]) -> None:
        """Call ``callback(id)`` whenever more publishes are safe: all with ids up to this one, in order.

        One call for many messages; the cheapest way to confirm publishes. Ends with the node's role.
        """
        self._watchers.append(callback)

    def on_content(self, callback: Callable[[], None]) -> None:
        """Call back, in the same turn, after messages were published."""
        self._content_watchers.append(callback)

    def _safe(self, upto: MessageId, nodes: frozenset[str]) -> None:
        self._ledger.advance(upto, nodes)
        for watcher in list(self._watchers):
            call(watcher, upto)

    def _begin(self, generation: int) -> None:
        """This node became primary: a new ledger, from the ids that it starts with."""
        self._ledger = Ledger(generation, self._queue.next - 1)

    def _doubt(self, error: Exception) -> None:
        """This node is no longer primary (K1): watchers end, pending ops are in doubt."""
        self._waiting = Waiting(scheduled=self._waiting.scheduled)
        self._watchers.clear()
        self._content_watchers.clear()
        self._ledger.doubt(error)  # type: ignore[arg-type]
