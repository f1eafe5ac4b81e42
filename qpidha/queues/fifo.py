"""First in, first out, with messages acquired by consumers, accepted in any order, or released.

Acquiring is not replicated: a message stays on every node until it is accepted. After a failover the new
primary delivers every message that was not accepted again, so each is delivered at least once (S5).

What consumers hold is remembered by the place of each message, which updates keep (U1). So a hold follows its message
through updates (U2): the successor is not given to another consumer, and an accept or a release may name any id that the
message had in this term.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from qpidha.checks import CALLBACK, implements, instance_of, integer
from qpidha.errors import MessagesGone
from qpidha.seq import SequenceSet
from qpidha.types import MessageId
from qpidha.wire.batch import Batch

Op_co = TypeVar("Op_co", covariant=True)
"""What dequeuing returns: with a `Node`, its `Op`."""
MOST = 2**63 - 1
LIMIT = integer(0, MOST)
IDS = instance_of(SequenceSet)
CONTENT = implements("queue", plain=("read", "places", "dequeue", "on_content", "announce", "claim"))


class Content(Protocol[Op_co]):
    """What `FifoQueue` needs of a queue. `Queue` has it."""

    @property
    def next_id(self) -> MessageId:
        """The id that the next message gets."""

    def read(
        self, first_id: MessageId, *, messages_max: int = 1000, bytes_max: int = 1 << 20
    ) -> tuple[SequenceSet, Batch] | None:
        """Read messages of the queue, in order, from a place on. In one answer ids and places ascend."""

    def places(self, ids: SequenceSet, /) -> SequenceSet:
        """The places of messages: the ids that they had first. Of ids that updates replaced, those of their messages."""

    def dequeue(self, ids: SequenceSet, /) -> Op_co:
        """Remove messages from the queue. Raises `MessagesGone`, without removing any, if one was moved away."""

    def on_content(self, callback: Callable[[], None]) -> None:
        """Have this called after messages were published, but not from inside another method: it may read as well."""

    def announce(self) -> None:
        """Have the callbacks of `on_content` called at the end of this turn, as if a message had come."""

    def claim(self, what: str, /) -> None:
        """Let one object deliver this queue. Raises `CallerError` if another one does already."""


class FifoQueue(Generic[Op_co]):
    """Gives messages to consumers in the order of the queue. Make one for each queue in every `on_promote`.

    Released messages come first, in order, then new ones. A message that was updated has its old place and its new id.
    Cost: per call, not per message; besides that, O(updated messages that are named).
    """

    def __init__(self, queue: Content[Op_co]) -> None:
        """Deliver from this queue, from its first message on.

        Raises:
            ArgumentError: It is not a queue.
            CallerError: Another object delivers this queue in this term already.
            StaleHandle: The handle is of an earlier term.
            NotPrimary: This node is not primary.
        """
        CONTENT("queue", queue)
        self.queue = queue
        self._cursor: MessageId = 0
        """Every message at a lower place was acquired before."""
        self._released = SequenceSet()
        """Places of messages to be delivered again."""
        self._acquired = SequenceSet()
        """Places of messages with a consumer."""
        self._watchers: list[Callable[[], None]] = []
        queue.claim("FifoQueue")
        queue.on_content(self._wake)

    @property
    def acquired(self) -> int:
        """Messages with a consumer, not accepted yet."""
        return len(self._acquired)

    @property
    def available(self) -> bool:
        """Whether `acquire` might return something."""
        return bool(self._released) or self._cursor < self.queue.next_id

    def acquire(self, messages_max: int = 1000, bytes_max: int = 1 << 20) -> tuple[SequenceSet, Batch] | None:
        """Take the next messages for a consumer: ids and batch, or None if there are none now.

        Raises:
            ArgumentError: A limit is not a number, or negative.
        """
        if not (
            type(messages_max) is type(bytes_max) is int
            and 0 < messages_max <= MOST
            and 0 < bytes_max <= MOST
        ):  # Usual limits pass with one look: a call for each message checks them.
            LIMIT("messages_max", messages_max)
            LIMIT("bytes_max", bytes_max)
            if not messages_max or not bytes_max:
                return None  # Not because there are none.
        taken = self._acquire_released(messages_max, bytes_max) if self._released else None
        if taken is None:
            taken = self.queue.read(self._cursor, messages_max=messages_max, bytes_max=bytes_max)
            if taken is None:
                self._cursor = self.queue.next_id
                return None
            places = self.queue.places(taken[0])
            self._cursor = places.last + 1
            self._acquired |= places
        else:
            self._acquired |= self.queue.places(taken[0])
        return taken

    def _acquire_released(self, messages_max: int, bytes_max: int) -> tuple[SequenceSet, Batch] | None:
        """The first run of released messages that are still in the queue."""
        while self._released:
            first, last = next(self._released.runs())
            taken = self.queue.read(
                first, messages_max=min(messages_max, last - first + 1), bytes_max=bytes_max
            )
            places = SequenceSet() if taken is None else self.queue.places(taken[0])
            if taken is None or places.first > last:
                self._released.discard(first, last)
                continue
            ids, batch = taken
            if places.last > last:
                count = places.count(places.first, last)
                ids, batch = ids.take(count), batch.cut(0, count)
            self._released.discard(first, min(places.last, last))
            return ids, batch
        return None

    def accept(self, ids: SequenceSet) -> Op_co:
        """Dequeue messages that a consumer has accepted. If settling is replicated, confirm it when the op is safe.

        Raises:
            ArgumentError: ``ids`` is not a `SequenceSet`.
            MessagesGone: Some were moved to another queue, and are not acquired any more. The others are as they were.
            NotPrimary: This node is not primary any more. Nothing has changed.
            StaleHandle: It is primary again, and the handle is of an earlier term. Nothing has changed.
        """
        if type(ids) is not SequenceSet:
            IDS("ids", ids)
        places = self.queue.places(ids)
        try:
            op = self.queue.dequeue(ids)
        except MessagesGone as error:
            self._forget(self.queue.places(SequenceSet(error.ids)))
            raise
        self._forget(places)
        return op

    def _forget(self, places: SequenceSet) -> None:
        self._acquired -= places
        if self._released:
            self._released -= places

    def release(self, ids: SequenceSet) -> None:
        """Give messages back: the consumer refused them or is gone. They are delivered again, in their old order.

        Ids that are not acquired are ignored; one that an update has replaced means the same message.
        """
        IDS("ids", ids)
        back = self.queue.places(ids) & self._acquired
        if back:
            self._acquired -= back
            self._released |= back
            self.queue.announce()

    def on_available(self, callback: Callable[[], None]) -> None:
        """Call back at the end of each turn in which something may have come to acquire.

        The callback is never called from inside another method of this object, so it may acquire and settle. Several are
        called in the order in which they were registered; what one raises is raised when all were called.
        """
        CALLBACK("callback", callback)
        self._watchers.append(callback)

    def _wake(self) -> None:
        failed: BaseException | None = None
        for watcher in list(self._watchers):
            try:
                watcher()
            except BaseException as error:  # noqa: BLE001 - the callbacks of others are called first.
                failed = failed or error
        if failed is not None:
            raise failed
