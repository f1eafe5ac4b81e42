"""What consumers do with messages of a queue that keeps them: accept them, or change their props (rules O2, U2).

A message that was updated has a new id. Whoever holds it may go on naming it by an old one, for the term of the handle.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import get_ident

from qpidha.checks import instance_of
from qpidha.core.primary.replacements import messages_gone
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.steps import Accept, Update
from qpidha.errors import ArgumentError
from qpidha.node.accepting import Accepting
from qpidha.node.caller import as_bytes, as_set
from qpidha.node.handle import Handle
from qpidha.node.ledger import Outcome
from qpidha.node.op import TO_COME, Op
from qpidha.seq import SequenceSet
from qpidha.types import BytesLike, MessageId, Settle

Ids = int | range | SequenceSet | Iterable[int]
Props = BytesLike | list[BytesLike] | tuple[BytesLike, ...]


IDS = instance_of(SequenceSet)
WITHOUT_ORDER = (SequenceSet, set, frozenset, str, bytes, bytearray, memoryview)
PROPS = instance_of(list, tuple, what="bytes, or a list of bytes with one for each message")


class Consuming(Handle):
    """The part of `qpidha.Queue` that accepts and updates messages."""

    def dequeue(self, ids: Ids) -> Op:
        """Accept (or expire, or drop) messages, in any order. Messages that were accepted before are ignored.

        An id that an update has replaced means the same message. One of a message that was moved to another queue is
        refused: it is not settled.

        With ``Settle.REPLICATED`` the op is safe when every member has made it durable; tell the consumer only then.
        With ``Settle.IMMEDIATE`` it is safe at once, and its receipt names no node.

        Raises:
            NotPrimary, NotEnoughMembers, StaleHandle, WrongThread: As for `enqueue`.
            MessagesGone: Messages were moved to another queue. Nothing was changed, for none of the ids.
            ArgumentError: Not ids, or ids that were never given out.
        """
        self._require_open("Queue.dequeue")
        queue, runtime = self._queue, self._runtime
        if self._collects and queue.places is None and runtime.replica.primary.replaced.none:  # type: ignore[union-attr]
            if type(ids) is list and len(ids) == 1 and type(ids[0]) is int:
                ids = ids[0]
            if type(ids) is int:
                if ids in queue.held:
                    return self._collect(ids, ids, None)
            elif type(ids) is SequenceSet and ids and ids <= queue.held:
                return self._collect(ids.first, ids.last, ids)
        return self._dequeue(ids)

    def _collect(self, first: MessageId, last: MessageId, ids: SequenceSet | None) -> Op:
        """Accept these messages, which are held, at the end of this turn. ``ids``: None if there is one."""
        accepting, runtime = self._accepting, self._runtime
        if accepting is None:
            accepting = self._accepting = Accepting()
            if not self._waiting.scheduled:
                self._ask_for_end_of_turn()
        if ids is None:
            accepting.ids.add(first)
        else:
            accepting.ids |= ids
        span = range(first, last + 1)
        if self._queue.spec.settle is Settle.IMMEDIATE:
            return Op(runtime.immediate, 0, span, accepting.outcome)
        op = Op(runtime.settled, TO_COME, span, accepting.outcome)
        accepting.ops.append(op)
        return op

    def _accept(self, accepting: Accepting) -> None:
        """Make one operation of what was collected. There were enough members at each call: it is not refused now."""
        self._accepting = None
        runtime = self._runtime
        if not self._in_term:
            accepting.dropped()
            return
        position, _ = runtime.replica.dequeue(self.id, accepting.ids, taken=True)
        runtime.settled.expect(position, accepting.outcome)
        accepting.made(position)
        runtime.poke()

    def _ask_for_end_of_turn(self) -> None:
        """Have what is collected made into operations at the end of this turn."""

    def _dequeue(self, ids: Ids) -> Op:
        self._flush()
        runtime = self._runtime
        wanted = as_set(ids, self._queue.next, self._queue.held)
        position, gone = runtime.replica.dequeue(self.id, wanted)
        span = range(wanted.first, wanted.last + 1) if wanted else range(0)
        if gone:
            runtime.poke()
        if self._queue.local and self.spec.settle is Settle.REPLICATED:
            return runtime.stored_op(position, span)
        outcome = runtime.settled.expect(position, Outcome())
        if self.spec.settle is Settle.IMMEDIATE:
            return Op(runtime.immediate, 0, span, outcome)
        return Op(runtime.settled, position, span, outcome)

    def purge(self) -> Op:
        """Drop every message that is held now, safe or not. O(runs of ids).

        With ``Settle.IMMEDIATE``, too, it is replicated: a publish that is pending becomes safe with it, not before.

        Raises:
            NotPrimary, NotEnoughMembers, StaleHandle, WrongThread: As for `enqueue`.
        """
        self._require_open("Queue.purge")
        self._flush()
        runtime, held = self._runtime, self._queue.held.copy()
        position = runtime.replica.commit([Accept(self.id, held)]).position
        runtime.poke()
        span = range(held.first, held.last + 1) if held else range(0)
        if self._queue.local:
            return runtime.stored_op(position, span)
        return Op(runtime.settled, position, span, runtime.settled.expect(position, Outcome()))

    def update(self, ids: Ids, props: Props) -> Op:
        """Replace the props of messages, in one operation. They keep their data and their places, and get new ids.

        The op's ids are the new ones, in the order of the old ones; it is safe when every member has made the update
        durable. The old ids go on being understood in this term: by `dequeue`, `update`, `move`, `get`, transactions and
        `FifoQueue`. O(bytes of the messages).

        Args:
            ids: The messages.
            props: The new props of each of them, in the order in which ``ids`` names them (a set: ascending); or those
                that all of them get.

        Raises:
            NotPrimary, NotEnoughMembers, StaleHandle, WrongThread: As for `enqueue`.
            MessagesGone: A message is not held any more. Nothing was changed.
            ArgumentError: Not ids, ids that were never given out, or a message that is named twice; props that are not
                bytes, not as many as ids, or too many bytes of them.
        """
        self._require_open("Queue.update")
        self._flush()
        runtime = self._runtime
        step = update_step(self._queue, ids, props, runtime.settings.message_bytes_max)
        made = runtime.replica.commit([step])
        runtime.poke()
        new = made.made[0].ids
        span = range(new.first, new.last + 1) if new else range(0)
        if self._queue.local:
            return runtime.stored_op(made.position, span)
        return Op(runtime.settled, made.position, span, runtime.settled.expect(made.position, Outcome()))

    def places(self, ids: SequenceSet) -> SequenceSet:
        """Where messages stand in the order of the queue. The n-th place is not always that of the n-th id.

        The place of a message is the id with which it came into the queue: updates keep it. Ids that updates replaced
        have the place of their message. O(1) if nothing in the queue was updated, else O(updated messages among them).

        Raises:
            ArgumentError: ``ids`` is not a `SequenceSet`.
            WrongThread: Called from another thread than the event loop's.
        """
        queue, runtime = self._queue, self._runtime
        if get_ident() != runtime.thread:
            self._here("Queue.places")
        if type(ids) is not SequenceSet:
            IDS("ids", ids)
        primary = runtime.replica.primary
        if primary is not None:
            if queue.places is None and primary.replaced.none:
                return ids
            return primary.replaced.places(queue, ids)
        return ids if queue.places is None else queue.places.of_all(ids)


def update_step(queue: ReplicatedQueue, ids: Ids, props: Props, props_bytes_max: int) -> Update:
    """The step of an update as an embedder asks for it. Raises `ArgumentError` or `MessagesGone`."""
    if isinstance(props, (bytes, bytearray, memoryview)):
        wanted = as_set(ids, queue.next, queue.held).copy()
        if (count := wanted.count()) > len(queue):
            raise messages_gone(queue, wanted - queue.held)
        return Update(queue.queue, wanted, (_checked("props", props, props_bytes_max),) * count)
    PROPS("props", props)
    each = [_checked(f"props[{n}]", one, props_bytes_max) for n, one in enumerate(props)]
    if isinstance(ids, range):
        first = ids[: len(each) + 1]  # The len() of a range may be too large for Python.
        ids = list(first) if len(first) == len(each) else ids  # Each of them, in its order.
    elif isinstance(ids, Iterable) and not isinstance(ids, WITHOUT_ORDER):
        ids = list(ids)
    wanted = as_set(ids, queue.next, queue.held).copy()
    if isinstance(ids, list):
        if len(ids) != len(wanted):
            raise ArgumentError("ids name a message twice")
        if len(ids) == len(each):
            each = [each[n] for n in sorted(range(len(ids)), key=ids.__getitem__)]
    return Update(queue.queue, wanted, tuple(each))


def _checked(name: str, props: BytesLike, most: int) -> bytes:
    content = as_bytes(name, props)
    if len(content) > most:
        raise ArgumentError(f"{name} must have at most {most} bytes (message_bytes_max), not {len(content)}")
    return content
