"""A producer whose repeated publishes are recognised, as the embedder uses it: `Node.producer` (EO1–EO9).

Single messages and small batches that a producer publishes to one queue in one turn of the event loop become one
operation, as those of a queue do: a *run* of consecutive sequences.

Invariants:
  - a run that is collected begins after the last sequence of this history, so its operation is not refused
  - at most one run is collected; it is the next operation of its producer
"""

from __future__ import annotations

from qpidha.checks import instance_of
from qpidha.core.chunks import publish_bytes_max, split_batch
from qpidha.core.primary.producers import Published
from qpidha.core.producers import NUMBER, TAG_BYTES, ProducerEntry
from qpidha.core.steps import Committed
from qpidha.errors import ArgumentError
from qpidha.node.caller import as_bytes, stale
from qpidha.node.commit import Commits
from qpidha.node.handles import Handles
from qpidha.node.ledger import Outcome
from qpidha.node.op import Op, ProducerOp
from qpidha.node.queue import Queue
from qpidha.node.runtime import Runtime
from qpidha.node.transaction import Transaction
from qpidha.node.waiting import Run, as_batch
from qpidha.types import BytesLike, Entry, Generation, Position, ProducerSequence
from qpidha.wire.batch import Batch

QUEUE = instance_of(Queue)
RUN_OPERATIONS = 4
"""A run may be as large as so many frames of operations, because an operation with an entry costs more than one without;
but not larger than half a frame."""
RUN_BATCH_BYTES = 256 * 1024
"""Larger batches are operations of their own."""


class Producer:
    """One producer for one term: its publishes and commits are made once, however often it repeats them.

    It numbers them from 1 on, without gaps, and repeats with the same number what it was not told, here or at the next
    primary, in order. A batch of n messages has n numbers. A repetition is answered when what is there is safe:
    ``op.repeated`` says how many of its messages were not stored now.

    Methods must be called from the node's event loop; properties may be read from any thread. Methods with a
    sequence raise:

        UnknownProducer     it was forgotten, or has registered again. Nothing was stored
        SequenceGap         publishes before this one are missing. Nothing was stored
        NotPrimary, NotEnoughMembers, StaleHandle, WrongThread, ArgumentError       as `Queue.enqueue`. Nothing was stored

    A sequence is looked up before anything else: a repetition is answered also if its queue was deleted since.
    """

    def __init__(
        self,
        runtime: Runtime,
        commits: Commits,
        handles: Handles,
        *,
        name: str,
        epoch: Entry,
        position: Position,
    ) -> None:
        self._runtime = runtime
        self._commits = commits
        self._handles = handles
        self._registered_at = position
        self._run: Run | None = None
        settings = runtime.settings
        quarter = settings.frame_bytes_max // 4
        self._run_bytes_max = min(settings.operations_bytes * RUN_OPERATIONS, quarter)
        self._run_batch_bytes_max = min(RUN_BATCH_BYTES, quarter)
        self.name = name
        """The name under which it is registered."""
        self.epoch = epoch
        """Its registration: its client gives it to the next primary. It has no other meaning, and never comes again."""
        self.generation: Generation = runtime.serving_generation
        """The term that this handle belongs to."""

    @property
    def registered(self) -> Op:
        """Safe when every member has the registration: tell the client its epoch only then.

        Raises:
            NotPrimary, StaleHandle, WrongThread: As for `enqueue`.
        """
        self._require_term("Producer.registered")
        return self._op_at(self._registered_at)

    @property
    def last(self) -> int:
        """The highest sequence that is used here, safe or not; 0: none was, or it is registered no more."""
        entry = self._entry
        if entry is None or entry.epoch != self.epoch:
            return 0
        return entry.last + (0 if self._run is None else self._run.messages)

    @property
    def _entry(self) -> ProducerEntry | None:
        objects = self._commits.configuration
        return None if objects is None else objects.producers.get(self.name)

    # --- publishing ------------------------------------------------------------------------------

    def enqueue(self, queue: Queue, data: BytesLike, props: BytesLike = b"", *, sequence: int) -> ProducerOp:
        """Publish one message to a queue, once. See `Queue.enqueue`."""
        self._require_term("Producer.enqueue")
        QUEUE("queue", queue)
        data, props = as_bytes("data", data), as_bytes("props", props)
        if (answer := self._answer(sequence)) is not None:
            return answer
        self._require_open("Producer.enqueue", queue)
        if len(data) + len(props) > queue._message_bytes_max:
            raise queue._too_large(len(data) + len(props))
        run = self._next_run(queue, sequence)
        id = queue._queue.next + run.messages
        run.append(data, props)
        self._flush_if_large(run)
        return ProducerOp(queue._ledger, id, range(id, id + 1), run.outcome, 0)

    def enqueue_many(
        self, queue: Queue, batch: Batch | list[bytes] | tuple[bytes, ...], *, sequence: int
    ) -> ProducerOp:
        """Publish a batch to a queue, once: its messages have this sequence and the following ones.

        See `Queue.enqueue_many`. Messages at the front that were stored before are left out: a repeated batch may be cut
        in another way.
        """
        self._require_term("Producer.enqueue_many")
        QUEUE("queue", queue)
        if not isinstance(batch, Batch):
            batch = as_batch(batch)
        known = self._look_up(sequence, len(batch))
        if isinstance(known, ProducerOp):
            return known
        if known:
            batch, sequence = batch.cut(known, len(batch)), sequence + known
        self._require_open("Producer.enqueue_many", queue)
        if batch.longest > queue._message_bytes_max:
            raise queue._too_large(batch.longest)
        if batch.nbytes + TAG_BYTES * len(batch) < self._run_batch_bytes_max:
            run = self._next_run(queue, sequence)
            first = queue._queue.next + run.messages
            run.append_batch(batch)
            outcome = run.outcome
            self._flush_if_large(run)
        else:
            first, outcome = self._publish_large(queue, batch, sequence)
        last = first + len(batch) - 1
        return ProducerOp(queue._ledger, last, range(first, last + 1), outcome, known)

    def _publish_large(self, queue: Queue, batch: Batch, sequence: int) -> tuple[int, Outcome]:
        """Make an operation of each piece of a batch. Returns the first id, and the outcome of all."""
        pieces = list(split_batch(batch, publish_bytes_max(self._runtime.settings), TAG_BYTES))
        self._flush()
        queue._flush()
        first = queue._queue.next
        for piece in pieces:
            self._runtime.replica.publish(queue.id, piece, self._at(sequence), taken=True)
            sequence += len(piece)
        queue.content_changed()
        return first, queue._ledger.expect(first + len(batch) - 1, Outcome())

    def publish(
        self,
        queues: list[Queue] | tuple[Queue, ...],
        data: BytesLike,
        props: BytesLike = b"",
        *,
        sequence: int,
    ) -> ProducerOp:
        """Publish one message to several queues, once: one operation. See `Node.publish`."""
        transaction = self.transaction(sequence=sequence)
        part = transaction.publish(queues, data, props)
        op = transaction.commit()
        assert isinstance(op, ProducerOp), "of a commit with a sequence"
        op.ids = part.ids
        return op

    def transaction(self, *, sequence: int) -> Transaction:
        """Begin a transaction whose commit is made once: it has one sequence, whatever is in it. See `Node.transaction`.

        If it was committed before, nothing in it is looked at; ``op.repeated`` is 1 then, and its parts may have no ids.
        """
        self._require_term("Producer.transaction")
        NUMBER("sequence", sequence)
        return SequencedTransaction(self._runtime, self._commits, self._handles, self, self._at(sequence))

    def answer(self, sequence: int) -> ProducerOp | None:
        """The answer to a repetition; None if this sequence is the next one, and nothing was published with it.

        Ask before the queues of a repeated request are looked up: they may have been deleted since.
        """
        self._require_term("Producer.answer")
        return self._answer(sequence)

    def give_up(self, sequence: int) -> ProducerOp:
        """Use a sequence for nothing, because its message is not wanted any more. Its producer never sends it again.

        ``op.repeated`` is 1 if the sequence was used: for the message, or by an earlier `give_up`: nothing tells which.
        """
        self._require_term("Producer.give_up")
        if (answer := self._answer(sequence)) is not None:
            return answer
        self._flush()
        return self._commits.commit_once((), self._at(sequence))[1]

    def forget(self) -> Op:
        """Forget the producer: what it repeats is refused from now on, never stored twice. It may register again.

        If it was forgotten, or has registered again, nothing changes.
        """
        self._require_term("Producer.forget")
        runtime = self._runtime
        self._flush()
        entry = self._entry
        if entry is not None and entry.epoch == self.epoch:
            position = runtime.replica.forget(self.name)
        else:
            runtime.replica.require_open()
            position = self._position
        runtime.poke()
        return self._op_at(position)

    # --- repetitions -----------------------------------------------------------------------------

    def _at(self, sequence: int) -> ProducerSequence:
        return ProducerSequence(self.name, self.epoch, sequence)

    def _continues(self, sequence: int) -> bool:
        """It is the next one of the run that is collected."""
        run = self._run
        return run is not None and sequence == run.first.number + run.messages

    def _answer(self, sequence: int) -> ProducerOp | None:
        """The answer to a repetition. Raises what `_look_up` raises."""
        found = self._look_up(sequence, 1)
        return found if isinstance(found, ProducerOp) else None

    def _look_up(self, sequence: int, count: int) -> ProducerOp | int:
        """The answer, if all of it is known; or how many are.

        Raises `UnknownProducer`, `SequenceGap`, `ArgumentError`.
        """
        NUMBER("sequence", sequence)
        if self._continues(sequence):
            return 0
        self._flush()
        primary = self._runtime.replica.primary
        assert primary is not None, "it serves"
        found = primary.producers.repetition(self._at(sequence), count)
        return found if isinstance(found, int) else self._op_of(found)

    def _op_of(self, found: Published) -> ProducerOp:
        handle = None if found.queue is None else self._handles.made(found.queue)
        if handle is not None and found.ids:
            ids, ledger = found.ids, handle._ledger
            span = range(ids.first, ids.last + 1)
            return ProducerOp(ledger, ids.last, span, ledger.covering(ids.last), found.repeated)
        return self._op_at(found.position, found.repeated)

    def _op_at(self, position: Position, repeated: int = 0) -> ProducerOp:
        settled = self._runtime.settled
        return ProducerOp(settled, position, range(0), settled.covering(position), repeated)

    @property
    def _position(self) -> Position:
        primary = self._runtime.replica.primary
        assert primary is not None, "it serves"
        return primary.position

    # --- runs ------------------------------------------------------------------------------------

    def _next_run(self, queue: Queue, sequence: int) -> Run:
        """The run that this sequence continues, in this queue; or a new one."""
        run = self._run
        if run is not None and run.queue is queue:
            return run
        self._flush()
        self._run = queue._collect_run(self._at(sequence), self._published)
        return self._run

    def _published(self) -> None:
        """The run was made an operation, or dropped with the term."""
        self._run = None

    def _flush_if_large(self, run: Run) -> None:
        if run.bytes >= self._run_bytes_max:
            self._flush()

    def _flush(self) -> None:
        if self._run is not None:
            self._run.queue._flush()

    # --- checks ----------------------------------------------------------------------------------

    def _require_term(self, what: str) -> None:
        runtime = self._runtime
        runtime.require_thread(what)
        self._commits.require_serving()
        if self.generation != runtime.serving_generation:
            begun, current = self.generation, runtime.serving_generation
            raise stale(f"this handle of producer {self.name!r} was made", begun, current, "get a new one")

    def _require_open(self, what: str, queue: Queue) -> None:
        if queue._runtime is not self._runtime:
            raise ArgumentError(f"queue must be a queue of node {self._runtime.id!r}, not {queue!r}")
        queue._require_open(what)

    def __repr__(self) -> str:
        return f"<Producer {self.name!r} of node {self._runtime.id!r}, epoch {self.epoch}>"


class SequencedTransaction(Transaction):
    """A transaction whose commit is made once."""

    def __init__(
        self,
        runtime: Runtime,
        commits: Commits,
        handles: Handles,
        producer: Producer,
        sequence: ProducerSequence,
    ) -> None:
        super().__init__(runtime, commits, handles)
        self._producer = producer
        self._sequence = sequence

    def _make(self) -> tuple[Committed, Op]:
        self._producer._flush()  # It has lower sequences.
        return self._commits.commit_once(self._steps, self._sequence)
