"""One producer, for threads: the counterpart of `Producer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from qpidha.checks import instance_of
from qpidha.node.op import ProducerOp
from qpidha.node.producer import Producer
from qpidha.node.sync.caller import LoopCaller
from qpidha.node.sync.op import SyncOp, make
from qpidha.node.sync.queue import SyncQueue
from qpidha.node.sync.transaction import SyncTransaction
from qpidha.types import BytesLike, Entry, Generation
from qpidha.wire.batch import Batch

P = ParamSpec("P")
QUEUE = instance_of(SyncQueue)
QUEUES = instance_of(list, tuple, what="a list or tuple of queues")


class SyncProducerOp(SyncOp):
    """The op of a publish or commit with a sequence: `ProducerOp`, for any thread."""

    def __init__(self, caller: LoopCaller, op: ProducerOp) -> None:
        super().__init__(caller, op)
        self._repeated = op.repeated

    @property
    def repeated(self) -> int:
        """How many of its messages were not stored now: see `ProducerOp.repeated`."""
        return self._repeated


class SyncProducer:
    """One producer for one term: `Producer`, for any thread. One thread at a time may use it: its numbers have an order.

    Each method does what the method of this name of `Producer` does, in the event loop, and raises the same errors, and
    those that `SyncNode` lists.
    """

    def __init__(self, caller: LoopCaller, producer: Producer) -> None:
        self._caller = caller
        self._producer = producer

    @property
    def name(self) -> str:
        """The name under which it is registered."""
        return self._producer.name

    @property
    def epoch(self) -> Entry:
        """Its registration: see `Producer.epoch`."""
        return self._producer.epoch

    @property
    def generation(self) -> Generation:
        """The term that this handle belongs to."""
        return self._producer.generation

    @property
    def registered(self) -> SyncOp:
        """Safe when every member has the registration. Waits for the loop, as methods do."""
        return self._caller.read(lambda: SyncOp(self._caller, self._producer.registered))

    @property
    def last(self) -> int:
        """The highest sequence that is used here, safe or not."""
        return self._producer.last

    def enqueue(
        self, queue: SyncQueue, data: BytesLike, props: BytesLike = b"", *, sequence: int
    ) -> SyncProducerOp:
        """Publish one message to a queue, once."""
        QUEUE("queue", queue)
        return self._once(self._producer.enqueue, queue._queue, data, props, sequence=sequence)

    def enqueue_many(
        self, queue: SyncQueue, batch: Batch | list[bytes] | tuple[bytes, ...], *, sequence: int
    ) -> SyncProducerOp:
        """Publish a batch to a queue, once: its messages have this sequence and the following ones."""
        QUEUE("queue", queue)
        return self._once(self._producer.enqueue_many, queue._queue, batch, sequence=sequence)

    def publish(
        self,
        queues: list[SyncQueue] | tuple[SyncQueue, ...],
        data: BytesLike,
        props: BytesLike = b"",
        *,
        sequence: int,
    ) -> SyncProducerOp:
        """Publish one message to several queues, once: one operation."""
        QUEUES("queues", queues)
        for queue in queues:
            QUEUE("queues", queue)
        named = [queue._queue for queue in queues]
        return self._once(self._producer.publish, named, data, props, sequence=sequence)

    def transaction(self, *, sequence: int) -> SyncTransaction:
        """Begin a transaction whose commit is made once."""
        return SyncTransaction(self._caller, self._caller.read(self._producer.transaction, sequence=sequence))

    def answer(self, sequence: int) -> SyncProducerOp | None:
        """The answer to a repetition; None if this sequence is the next one, and nothing was published with it."""
        return self._caller.read(lambda: self._answer(sequence))

    def _answer(self, sequence: int) -> SyncProducerOp | None:
        """In the event loop."""
        op = self._producer.answer(sequence)
        return None if op is None else SyncProducerOp(self._caller, op)

    def give_up(self, sequence: int) -> SyncProducerOp:
        """Use a sequence for nothing, because its message is not wanted any more."""
        return self._once(self._producer.give_up, sequence)

    def forget(self) -> SyncOp:
        """Forget the producer: what it repeats is refused from now on, never stored twice."""
        return make(self._caller, self._producer.forget)

    def _once(self, method: Callable[P, ProducerOp], /, *args: P.args, **kwargs: P.kwargs) -> SyncProducerOp:
        return self._caller.run(method, lambda: SyncProducerOp(self._caller, method(*args, **kwargs)))

    def __repr__(self) -> str:
        return f"<SyncProducer of {self._producer!r}>"
