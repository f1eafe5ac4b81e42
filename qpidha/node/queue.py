"""A replicated queue as the embedder uses it: changes are synchronous, and completion is reported later.

Only the primary may change a queue; every node may read it. Single messages and small batches that are published in one
turn of the event loop become one operation: their ids are assigned at once, the operation is made at the end of the
turn, or earlier when another method of the queue is called.

Invariants:
  - no code of the embedder runs between the assignment of an id and its use: watchers of content are called at the end
    of the turn, and an iterable of ids is read to its end before anything is moved
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qpidha.checks import CALLBACK, instance_of, text
from qpidha.core.chunks import publish_bytes_max, split_batch
from qpidha.errors import ArgumentError, CallerError, InDoubt
from qpidha.node.callbacks import call
from qpidha.node.caller import as_bytes, as_set
from qpidha.node.consuming import Consuming, Ids
from qpidha.node.handle import Terms
from qpidha.node.ledger import Outcome
from qpidha.node.op import Op
from qpidha.node.runtime import Runtime
from qpidha.node.waiting import IDLE, SMALL_BATCH_BYTES, Run, Waiting, as_batch
from qpidha.seq import SequenceSet
from qpidha.types import MESSAGE_ID_MAX, BytesLike, Generation, Level, MessageId, ProducerSequence
from qpidha.wire.batch import Batch

if TYPE_CHECKING:
    from qpidha.core.queue import ReplicatedQueue

IDS_RESERVE = 2**40
"""More ids than one turn can assign: a queue with fewer ids left refuses publishes."""


class Queue(Consuming):
    """The handle of one queue on one node, for one term.

    A handle that is made while the node is primary can change the queue only in that generation: after a
    step-down it raises `NotPrimary`, after another promotion `StaleHandle`. Get a new one with ``node.queue(name)``
    in every ``on_promote``. Every handle can always read.

    Methods must be called from the node's event loop; from another thread they raise `WrongThread`, and so does
    `declared`. The other properties may be read from any thread. All arguments are checked before anything changes.
    """

    def __init__(
        self, runtime: Runtime, terms: Terms, replicated: ReplicatedQueue, generation: Generation
    ) -> None:
        super().__init__(runtime, terms, replicated, generation)
        self._message_bytes_max = runtime.settings.message_bytes_max
        primary = runtime.replica.primary
        self._declared_at = 0 if primary is None else primary.position
        """The position of its declaration, or a later one."""
        self._watchers: tuple[Callable[[MessageId], None], ...] = ()
        self._content_watchers: tuple[Callable[[], None], ...] = ()
        self._untold = False
        """Messages were published of which these are to be told at the end of the turn."""
        self._delivered_by: str | None = None

    @property
    def declared(self) -> Op:
        """Safe when every member has the declaration of this queue: tell a client that it exists only then (LC2, Q7).

        If the queue was there already when the handle was made, that is when everything up to then is safe.

        Raises:
            NotPrimary, StaleHandle, WrongThread: As for `enqueue`.
        """
        self._require_term("Queue.declared")
        if self.level is Level.NONE:
            return self._runtime.stored_op(0, range(0))
        settled = self._runtime.settled
        return Op(settled, self._declared_at, range(0), settled.expect(self._declared_at, Outcome()))

    # --- publishing ------------------------------------------------------------------------------

    def enqueue(self, data: BytesLike, props: BytesLike = b"") -> Op:
        """Publish one message. Its id is assigned at once.

        Raises:
            NotPrimary: Only the primary publishes. Nothing was stored.
            NotEnoughMembers: Fewer than ``min_in_sync`` nodes are members. Nothing was stored.
            StaleHandle: This handle is of an earlier term.
            ArgumentError: Not bytes, or more of them than ``message_bytes_max``, data and props together.
            WrongThread: Called from another thread than the event loop's.
        """
        self._require_open("Queue.enqueue")
        if type(data) is not bytes or type(props) is not bytes:
            data, props = as_bytes("data", data), as_bytes("props", props)
        size = len(data) + len(props)
        if size > self._message_bytes_max:
            raise self._too_large(size)
        if not self._waiting.scheduled:
            self._schedule()
        waiting = self._waiting
        id = self._queue.next + waiting.messages
        waiting.add(data, props)
        if waiting.bytes >= self._runtime.settings.operations_bytes:
            self._flush()
        return Op(self._ledger, id, range(id, id + 1), waiting.outcome)

    def enqueue_many(self, batch: Batch | list[bytes] | tuple[bytes, ...]) -> Op:
        """Publish a batch in one call: one range of ids, one `Op`, no work per message.

        A batch larger than half a frame is sent in pieces; after a failover only the first pieces may be left.

        Raises:
            NotPrimary: Only the primary publishes. Nothing was stored.
            NotEnoughMembers: Fewer than ``min_in_sync`` nodes are members. Nothing was stored.
            StaleHandle: This handle is of an earlier term.
            ArgumentError: Not a batch of bytes, no message in it, or one that is larger than ``message_bytes_max``
                (its data) or half a frame (with its props).
            WrongThread: Called from another thread than the event loop's.
        """
        self._require_open("Queue.enqueue_many")
        if not isinstance(batch, Batch):
            batch = as_batch(batch)
        if batch.nbytes > self._message_bytes_max and batch.longest > self._message_bytes_max:
            raise self._too_large(batch.longest)
        pieces = None
        if batch.nbytes >= SMALL_BATCH_BYTES:
            pieces = list(split_batch(batch, publish_bytes_max(self._runtime.settings)))
        if not self._waiting.scheduled:
            self._schedule()
        first = self._queue.next + self._waiting.messages
        last = first + len(batch) - 1
        if pieces is None:
            self._waiting.add_batch(batch)
            outcome = self._waiting.outcome
            if self._waiting.bytes >= self._runtime.settings.operations_bytes:
                self._flush()
        else:
            self._flush()
            for piece in pieces:
                self._runtime.replica.enqueue(self.id, piece, taken=True)
            outcome = self._ledger.expect(last, Outcome())
            self._changed()
        return Op(self._ledger, last, range(first, last + 1), outcome)

    def _too_large(self, size: int) -> ArgumentError:
        return ArgumentError(
            f"a message must have at most {self._message_bytes_max} bytes (message_bytes_max), not {size}"
        )

    def _schedule(self) -> None:
        """Have the node flush this queue at the end of the turn."""
        if self._queue.next > MESSAGE_ID_MAX - IDS_RESERVE:
            raise CallerError(f"queue {self.name!r} has no ids left: declare another one")
        self._ask_for_end_of_turn()

    def _ask_for_end_of_turn(self) -> None:
        self._waiting = Waiting(scheduled=True)
        self._runtime.flush_later(self)

    def _collect_run(self, first: ProducerSequence, published: Callable[[], None]) -> Run:
        """Collect what a producer publishes from here on, from this sequence on."""
        if not self._waiting.scheduled:
            self._schedule()
        self._flush()
        self._waiting = run = Run(self, first, published)
        return run

    def flush(self) -> None:
        """Publish what was collected in this turn now, as one batch and one operation; and so with what was accepted.

        If this node stopped being primary in the same turn, all that is dropped; its ops are in doubt.

        Raises:
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Queue.flush")
        self._flush()

    def _flush(self, first_id: MessageId = 0) -> None:
        if self._waiting.messages:
            self._publish(Waiting(scheduled=True))
        accepting = self._accepting
        if accepting is not None and accepting.ids.last >= first_id:
            self._accept(accepting)

    def _publish(self, then: Waiting) -> None:
        """Make one operation of what was collected, and collect in ``then`` from here on."""
        waiting, self._waiting = self._waiting, then
        if self._in_term:
            ids = waiting.publish(self._runtime.replica, self.id)
            self._ledger.expect(ids.last, waiting.outcome)
            self._changed()

    def end_of_turn(self) -> None:
        """Called by the node, once for each `flush_later`."""
        if self._waiting.messages:
            self._publish(IDLE)
        self._waiting = IDLE
        if self._accepting is not None:
            self._accept(self._accepting)
        if self._untold:
            self._untold = False
            for watcher in self._content_watchers:
                call(watcher)

    def _changed(self) -> None:
        self._runtime.poke()
        self._untold = True

    def content_changed(self) -> None:
        """Called by the node when messages came in by another way than a publish here: by a move or a transaction."""
        self._changed()
        if not self._waiting.scheduled:
            self._ask_for_end_of_turn()

    # --- consuming -------------------------------------------------------------------------------

    def move(self, ids: Ids, target: Queue) -> Op:
        """Move messages to the end of another queue, atomically: no node ever holds one in both queues or in neither.

        They keep their order. Messages that are gone are ignored; an id that an update has replaced means its message.
        The op's ids are the new ones; it is safe when every member has made the move durable.

        Raises:
            NotPrimary, NotEnoughMembers, StaleHandle, WrongThread: As for `enqueue`; the target's handle must be of this
                term too.
            ArgumentError: Not ids, ids that were never given out, or a target that is not another queue of
                this node.
        """
        self._require_open("Queue.move")
        TARGET("target", target)
        if target._runtime is not self._runtime or target.id == self.id:
            raise ArgumentError(f"target must be another queue of node {self._runtime.id!r}, not {target!r}")
        target._require_term("Queue.move")
        self._flush()
        replica, runtime = self._runtime.replica, self._runtime
        wanted = as_set(ids, self._queue.next, self._queue.held)
        target._flush()  # Not before: reading the iterable of ids may publish there.
        position, new = replica.move(self.id, wanted, target.id)
        if new:
            target.content_changed()
        span = range(new.first, new.last + 1) if new else range(0)
        if self._queue.local and target._queue.local:
            return runtime.stored_op(position, span)
        return Op(runtime.settled, position, span, runtime.settled.expect(position, Outcome()))

    # --- watching --------------------------------------------------------------------------------

    def on_safe_upto(self, callback: Callable[[MessageId], None]) -> None:
        """Call ``callback(id)`` whenever more publishes are safe: all with ids up to this one, in order.

        One call for many messages; the cheapest way to confirm publishes. Calls end when the node stops being primary.

        Raises:
            NotPrimary, StaleHandle, WrongThread: As for `enqueue`: the callback would never be called.
            ArgumentError: It cannot be called.
        """
        self._require_term("Queue.on_safe_upto")
        CALLBACK("callback", callback)
        self._watchers += (callback,)

    def on_content(self, callback: Callable[[], None]) -> None:
        """Call back at the end of each turn in which messages were published on this queue or moved into it, once.

        The callback is never called from inside another method of the queue, so it may use the queue. Calls end when
        the node stops being primary.

        Raises:
            NotPrimary, StaleHandle, WrongThread: As for `enqueue`: the callback would never be called.
            ArgumentError: It cannot be called.
        """
        self._require_term("Queue.on_content")
        CALLBACK("callback", callback)
        self._content_watchers += (callback,)

    def announce(self) -> None:
        """Have the callbacks of `on_content` called at the end of this turn, as if a message had come. O(1).

        For a queue type, when messages can be delivered again. Nothing happens after the term.

        Raises:
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Queue.announce")
        if self._content_watchers:
            self._untold = True
            if not self._waiting.scheduled:
                self._ask_for_end_of_turn()

    def claim(self, what: str) -> None:
        """Let one object deliver this queue, for as long as the term of this handle. For a queue type. O(1).

        Args:
            what: What the object is, for the error that another one gets.

        Raises:
            ArgumentError: ``what`` is not a text of 1 to 255 bytes.
            CallerError: Another object does already. With two, each message would have two consumers.
            NotPrimary, StaleHandle, WrongThread: As for `enqueue`.
        """
        CLAIMANT("what", what)
        self._require_term("Queue.claim")
        if self._delivered_by is not None:
            raise CallerError(
                f"queue {self.name!r} has a {self._delivered_by} in this term, which knows what consumers have:"
                f" use that one for all consumers, instead of a second {what}"
            )
        self._delivered_by = what

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} of node {self._runtime.id!r}, generation {self.generation}>"

    def _safe(self, upto: MessageId, nodes: frozenset[str], consumed: SequenceSet | None) -> None:
        self._ledger.advance(upto, nodes, consumed)
        for watcher in self._watchers:
            call(watcher, upto)

    def _last_publish(self) -> Op:
        """An op that is safe when everything published so far is."""
        last = self._queue.next - 1
        return Op(self._ledger, last, range(0), self._ledger.expect(last, Outcome()))

    def _doubt(self, error: InDoubt) -> None:
        """This node is no longer primary (K1): watchers end, pending ops are in doubt."""
        self._waiting = Waiting(scheduled=True) if self._waiting.scheduled else IDLE
        self._watchers = self._content_watchers = ()
        if self._accepting is not None:
            self._accepting.dropped()
            self._accepting = None
        self._ledger.doubt(error)


TARGET = instance_of(Queue)
CLAIMANT = text(1, 255)
