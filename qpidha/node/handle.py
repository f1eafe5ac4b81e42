"""The read-only part of a queue handle: its node, queue and term, and whether it may change the queue now."""

from __future__ import annotations

from collections.abc import Iterator
from threading import get_ident
from typing import Protocol

from qpidha.checks import instance_of, integer
from qpidha.core.configuration import queue_object
from qpidha.core.indexed import IndexedQueue, QueueIndex
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import CallerError, UnknownQueue
from qpidha.node.accepting import Accepting
from qpidha.node.caller import stale, wrong_thread
from qpidha.node.ledger import Ledger
from qpidha.node.runtime import Runtime
from qpidha.node.waiting import IDLE
from qpidha.seq import SequenceSet
from qpidha.types import MESSAGE_ID_MAX, Generation, Level, MessageId, QueueId, QueueSpec, level_of
from qpidha.wire.batch import Batch

LIMIT = integer(0, 2**63 - 1)
PLACES = instance_of(SequenceSet)
FIRST_ID = integer(0, MESSAGE_ID_MAX + 1)
ALL = 2**63 - 1


DELETED = -1
"""The generation of a handle whose queue is gone: it is that of no primary."""


class Terms(Protocol):
    """Knows the handles of the current term: `Handles`."""

    def made(self, queue: QueueId) -> Handle | None:
        """The handle of this term; None if nothing has asked for it yet."""


class Handle:
    """The read-only part of `qpidha.Queue`: nothing here changes the queue."""

    def __init__(
        self, runtime: Runtime, terms: Terms, replicated: ReplicatedQueue, generation: Generation
    ) -> None:
        self._runtime = runtime
        self._terms = terms
        self._queue = replicated
        self._ledger = Ledger(
            generation, replicated.next - 1, home=runtime.home, deadlines=runtime.op_deadlines
        )
        self._waiting = IDLE
        self._accepting: Accepting | None = None
        self._collects = type(replicated) is ReplicatedQueue and not replicated.local
        """Its accepts may be collected."""
        self.generation = generation
        """The term it belongs to; 0: it was made on a backup, and only reads; -1: the queue was deleted."""

    @property
    def id(self) -> QueueId:
        """The id of the queue, the same on all nodes that have it."""
        return self._queue.queue

    @property
    def level(self) -> Level:
        """How much of it the other nodes have: its messages, only that it exists, or nothing."""
        return level_of(self._queue.queue)

    @property
    def name(self) -> str:
        """The name under which the queue was declared."""
        return self._queue.spec.name

    @property
    def spec(self) -> QueueSpec:
        """The specification of the queue."""
        return self._queue.spec

    @property
    def arguments(self) -> bytes:
        """The arguments of its declaration: bytes that only the broker understands. The same on all nodes. O(1)."""
        objects = self._runtime.replica.state.configuration
        found = None if objects is None else queue_object(objects, self.name)
        return b"" if found is None or found.queue != self.id else found.arguments

    @property
    def index(self) -> QueueIndex | None:
        """The index of its messages, live; None if its kind has none. See `Node`'s ``queue_types``.

        It does not have what was published in this turn and is not made into an operation yet: see `Queue.flush`.
        """
        queue = self._queue
        return queue.index if isinstance(queue, IndexedQueue) else None

    @property
    def depth(self) -> int:
        """How many messages this node holds, safe or not."""
        current = self._current
        accepting = current._accepting
        gone = 0 if accepting is None else len(accepting.ids)
        return len(self._queue) - gone + current._waiting.messages

    @property
    def nbytes(self) -> int:
        """Bytes of the stored batches, payload and layout."""
        return self._queue.bytes

    @property
    def next_id(self) -> MessageId:
        """The id that the next message gets."""
        return self._queue.next + self._current._waiting.messages

    @property
    def safe_upto(self) -> MessageId:
        """Every publish of this generation with an id up to here is safe."""
        return self._ledger.upto

    @property
    def pending(self) -> int:
        """How many ids were assigned after the last safe one."""
        return self.next_id - 1 - self._ledger.upto

    @property
    def _current(self) -> Handle:
        """The handle of the term that runs now."""
        if 0 < self.generation == self._runtime.serving_generation:
            return self
        return self._terms.made(self._queue.queue) or self

    # --- reading ---------------------------------------------------------------------------------

    def read(
        self, first_id: MessageId, *, messages_max: int = 1000, bytes_max: int = 1 << 20
    ) -> tuple[SequenceSet, Batch] | None:
        """The held messages from an id on, in order: ids and their batch, or None if there are none.

        A message that was updated stands at the id that it had first (`Queue.places`). Returns at most one stored batch,
        so that a whole batch is not copied; read on from the place of the last message, plus 1.

        Raises:
            ArgumentError: A number out of range.
            WrongThread: Called from another thread than the event loop's.
        """
        runtime = self._runtime
        if get_ident() != runtime.thread:
            self._here("Queue.read")
        FIRST_ID("first_id", first_id)
        LIMIT("messages_max", messages_max)
        LIMIT("bytes_max", bytes_max)
        current = self if 0 < self.generation == runtime.serving_generation else self._current
        if current._waiting.messages or current._accepting is not None:
            current._flush(first_id)
        if messages_max == 1 and bytes_max:
            return self._queue.read_one(first_id)
        for ids, batch in self._queue.read(first_id, messages_max=messages_max, bytes_max=bytes_max):
            return ids.copy(), batch
        return None

    def select(self, places: SequenceSet) -> tuple[SequenceSet, Batch] | None:
        """The first messages at these places (`Queue.places`): ids and batch, or None if there are none.

        Returns messages of at most one stored batch, whose ids and places ascend: read on with the places that are left.

        Raises:
            ArgumentError: Not a `SequenceSet`.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Queue.select")
        PLACES("places", places)
        self._flush_current()
        return self._queue.first_at(places)

    def get(self, id: MessageId) -> bytes | None:
        """The data of one message, or None if it is gone. An id that an update has replaced means the same message.

        Raises:
            ArgumentError: Not an id.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Queue.get")
        FIRST_ID("id", id)
        self._flush_current()
        id = self._present(id)
        if id not in self._queue.held:
            return None
        _, batch = next(self._queue.select(SequenceSet.from_range(id, id)))
        return batch.data(0)

    def __iter__(self) -> Iterator[tuple[MessageId, bytes]]:
        """(id, data) of every message held now, in order."""
        self._here("Queue.__iter__")
        pieces = self._pieces()
        return ((id, data) for ids, batch in pieces for id, data in zip(ids, batch, strict=True))

    def messages(self) -> Iterator[tuple[MessageId, bytes, bytes]]:
        """(id, data, props) of every message held now, in order."""
        self._here("Queue.messages")
        pieces = self._pieces()
        return (
            (id, batch.data(index), batch.props(index))
            for ids, batch in pieces
            for index, id in enumerate(ids)
        )

    def _pieces(self) -> list[tuple[SequenceSet, Batch]]:
        self._flush_current()
        return list(self._queue.read(0, messages_max=ALL, bytes_max=ALL))

    def _present(self, id: MessageId) -> MessageId:
        """The present id of the message that was given this one."""
        queue, primary = self._queue, self._runtime.replica.primary
        if id in queue.held or queue.places is None:
            return id
        if primary is None:
            return queue.places.holder(id) or id
        return primary.replaced.successors(queue, SequenceSet.from_range(id, id)).get(id, id)

    def _flush(self, first_id: MessageId = 0) -> None:
        """Make operations of what was collected in this turn: nothing, unless the handle can change the queue.

        Args:
            first_id: Ids below this one are not looked at, so accepts of only such messages may wait.
        """

    def _flush_current(self) -> None:
        """Flush the handle of the current term, so that a handle of an earlier term reads its publishes too."""
        self._current._flush()

    # --- who may change it -----------------------------------------------------------------------

    @property
    def _in_term(self) -> bool:
        """This node is primary of this handle's generation, and its broker was told so."""
        runtime, generation = self._runtime, self.generation
        primary = runtime.replica.primary
        return primary is not None and primary.generation == generation == runtime.broker_generation

    def _require_term(self, what: str) -> None:
        """The check of every method that belongs to the term."""
        if get_ident() != self._runtime.thread or not self._in_term:
            raise self._refusal(what)

    def _require_open(self, what: str) -> None:
        """The check of every method that changes the queue: besides the term, there must be enough members (J4).

        One expression, because every publish executes it.
        """
        runtime, generation = self._runtime, self.generation
        if (
            get_ident() != runtime.thread
            or (primary := runtime.replica.primary) is None
            or primary.generation != generation
            or runtime.broker_generation != generation
            or (primary.minimum.short and not self._queue.local)
        ):
            self._require_term(what)
            runtime.replica.require_open()

    def _deleted(self) -> None:
        """The queue is gone: the handle changes nothing any more; what is pending still completes (Q6)."""
        self.generation = DELETED

    def _refusal(self, what: str) -> CallerError:
        runtime = self._runtime
        if get_ident() != runtime.thread:
            return wrong_thread(what, runtime.thread)
        if not runtime.serving:
            return runtime.not_primary()
        if self.generation == DELETED:
            return UnknownQueue(f"queue {self.name!r} was deleted")
        what = f"this handle of queue {self.name!r} was made"
        then = f"get a new one with node.queue({self.name!r})"
        return stale(what, self.generation, runtime.serving_generation, then)

    def _here(self, what: str) -> None:
        self._runtime.require_thread(what)
