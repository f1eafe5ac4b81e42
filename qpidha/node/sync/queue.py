"""One queue, for threads: the counterpart of `Queue`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from qpidha.checks import instance_of
from qpidha.node.consuming import Ids, Props
from qpidha.node.queue import Queue
from qpidha.node.sync.caller import LoopCaller
from qpidha.node.sync.op import SyncOp, make
from qpidha.seq import SequenceSet
from qpidha.types import BytesLike, Generation, Level, MessageId, QueueId, QueueSpec
from qpidha.wire.batch import Batch


class SyncQueue:
    """The handle of one queue for one term: `Queue`, for any thread. Several threads may use one.

    Each method does what the method of this name of `Queue` does, in the event loop, and raises the same errors, and
    those that `SyncNode` lists. A change is made when the call returns; ``op.safe()`` waits until it is safe. Of one
    thread, changes are made in the order of its calls. Properties do not wait.
    """

    def __init__(self, caller: LoopCaller, queue: Queue) -> None:
        self._caller = caller
        self._queue = queue

    @property
    def id(self) -> QueueId:
        """The id of the queue, the same on all nodes that have it."""
        return self._queue.id

    @property
    def level(self) -> Level:
        """How much of it the other nodes have: see `Queue.level`."""
        return self._queue.level

    @property
    def name(self) -> str:
        """The name under which the queue was declared."""
        return self._queue.name

    @property
    def spec(self) -> QueueSpec:
        """The specification of the queue."""
        return self._queue.spec

    @property
    def generation(self) -> Generation:
        """The term it belongs to: see `Queue.generation`."""
        return self._queue.generation

    @property
    def depth(self) -> int:
        """How many messages this node holds, safe or not."""
        return self._queue.depth

    @property
    def nbytes(self) -> int:
        """Bytes of the stored batches, payload and layout."""
        return self._queue.nbytes

    @property
    def next_id(self) -> MessageId:
        """The id that the next message gets, unless another thread publishes first."""
        return self._queue.next_id

    @property
    def safe_upto(self) -> MessageId:
        """Every publish of this generation with an id up to here is safe."""
        return self._queue.safe_upto

    @property
    def pending(self) -> int:
        """How many ids were assigned after the last safe one."""
        return self._queue.pending

    @property
    def declared(self) -> SyncOp:
        """Safe when every member has the declaration of this queue. Waits for the loop, as methods do."""
        return self._caller.read(lambda: SyncOp(self._caller, self._queue.declared))

    # --- changes ---------------------------------------------------------------------------------

    def enqueue(self, data: BytesLike, props: BytesLike = b"") -> SyncOp:
        """Publish one message. What threads publish in the same turn of the event loop becomes one operation."""
        return make(self._caller, self._queue.enqueue, data, props)

    def enqueue_many(self, batch: Batch | list[bytes] | tuple[bytes, ...]) -> SyncOp:
        """Publish a batch in one call: far cheaper than a call for each message."""
        return make(self._caller, self._queue.enqueue_many, batch)

    def dequeue(self, ids: Ids) -> SyncOp:
        """Accept (or expire, or drop) messages. Messages that are already gone are ignored."""
        return make(self._caller, self._queue.dequeue, own(ids))

    def update(self, ids: Ids, props: Props) -> SyncOp:
        """Replace the props of messages, which get new ids and keep their places. Old ids go on being understood."""
        return make(self._caller, self._queue.update, own(ids), own_props(props))

    def purge(self) -> SyncOp:
        """Drop every message that is held now, safe or not."""
        return make(self._caller, self._queue.purge)

    def move(self, ids: Ids, target: SyncQueue) -> SyncOp:
        """Move messages to the end of another queue. The op's ids are the new ones."""
        TARGET("target", target)
        return make(self._caller, self._queue.move, own(ids), target._queue)

    # --- reading ---------------------------------------------------------------------------------

    def read(
        self, first_id: MessageId, *, messages_max: int = 1000, bytes_max: int = 1 << 20
    ) -> tuple[SequenceSet, Batch] | None:
        """The held messages from an id on: ids and their batch, or None if there are none."""
        return self._caller.read(self._queue.read, first_id, messages_max=messages_max, bytes_max=bytes_max)

    @property
    def arguments(self) -> bytes:
        """The arguments of its declaration. Unlike the other properties it waits for the event loop."""
        return self._caller.read(lambda: self._queue.arguments)

    def places(self, ids: SequenceSet) -> SequenceSet:
        """Where messages stand in the order of the queue: the ids with which they came into it."""
        return self._caller.read(self._queue.places, own(ids))

    def get(self, id: MessageId) -> bytes | None:
        """The data of one message, or None if it is gone."""
        return self._caller.read(self._queue.get, id)

    def __iter__(self) -> Iterator[tuple[MessageId, bytes]]:
        """(id, data) of every message held now, in order. The event loop is asked once, not for each message."""
        return self._caller.read(self._queue.__iter__)

    def messages(self) -> Iterator[tuple[MessageId, bytes, bytes]]:
        """(id, data, props) of every message held now, in order. The event loop is asked once, not for each message."""
        return self._caller.read(self._queue.messages)

    def __repr__(self) -> str:
        return f"<SyncQueue of {self._queue!r}>"


TARGET = instance_of(SyncQueue)


def own(ids: Ids) -> Any:
    """The ids, read in the thread: an iterable of the caller must not run in the event loop, or change meanwhile."""
    if isinstance(ids, SequenceSet):
        return ids.copy()
    if isinstance(ids, (range, str, bytes, bytearray, memoryview)) or not isinstance(ids, Iterable):
        return ids
    return list(ids)


def own_props(props: Props) -> Props:
    """The props, as they are when the thread gives them."""
    if isinstance(props, (list, tuple)):
        return [own_bytes(each) for each in props]
    return own_bytes(props)


def own_bytes(props: BytesLike) -> BytesLike:
    """The same bytes for as long as they are needed. Anything else is refused by the loop."""
    try:
        return bytes(props) if isinstance(props, (bytearray, memoryview)) else props
    except ValueError:  # A memoryview that was released.
        return props
