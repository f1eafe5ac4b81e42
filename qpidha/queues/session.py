"""The messages of one client that comes and goes: in order, only what is safe, under numbers that every primary gives.

A delivery that was settled half-way, as in QoS 2 of MQTT, must be known again by its client after a failover. So its
number is made of the place of the message in the queue, which updates keep (U1), and which is the same on each node.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from qpidha.checks import AWAITED, implements, integer
from qpidha.errors import InDoubt
from qpidha.seq import SequenceSet
from qpidha.types import MessageId
from qpidha.wire.batch import Batch

NUMBERS_MAX = 2**63 - 1
COUNT = integer(1, NUMBERS_MAX)
NUMBER = integer(0, NUMBERS_MAX)
CONTENT = implements("queue", plain=("read", "places", "on_safe_upto", "claim"))


class SessionContent(Protocol):
    """What `SessionQueue` needs of a queue. `Queue` has it."""

    @property
    def next_id(self) -> MessageId:
        """The id that the next message gets."""

    @property
    def declared(self) -> Awaitable[object]:
        """Safe when the queue is, and what was in it when its handle was made. Raises `InDoubt`."""

    def read(
        self, first_id: MessageId, *, messages_max: int = ..., bytes_max: int = ...
    ) -> tuple[SequenceSet, Batch] | None:
        """Read messages of the queue, in order, from a place on. In one answer ids and places ascend."""

    def places(self, ids: SequenceSet, /) -> SequenceSet:
        """The places of messages: the ids that they had first."""

    def on_safe_upto(self, callback: Callable[[MessageId], None], /) -> None:
        """Have this called with the highest id up to which all publishes are safe, whenever there are more."""

    def claim(self, what: str, /) -> None:
        """Let one object deliver this queue. Raises `CallerError` if another one does already."""


class Delivery(NamedTuple):
    """One message on its way to the client."""

    number: int
    """What the client calls it when it answers."""
    data: bytes
    props: bytes
    again: bool
    """The client may have got it before."""


QueueT = TypeVar("QueueT", bound=SessionContent)
Send: TypeAlias = Callable[[Delivery], Awaitable[object]]


class SessionQueue(Generic[QueueT]):
    """Delivers a queue to one client, over many connections and primaries. Make one in every ``on_promote``.

    Messages are delivered in the order of the queue when they are safe: so none comes that a failover takes back. A
    message has the same number on each primary. What the client has not answered when its connection ends is delivered
    again in the next one. What it has answered is removed or updated by you, for instance in a transaction:

        async with mailbox.delivering(connection.send):
            ...
            if id := mailbox.settle(number):
                await mailbox.queue.dequeue(id)

    Make it before you publish to the queue in this term. Cost: O(1) for each message, which is read when it is delivered.
    """

    def __init__(self, queue: QueueT, *, window: int = 100, numbers: int = 65_535) -> None:
        """Nothing is delivered yet.

        Args:
            window: How many messages the client may have and not have answered.
            numbers: Numbers are from 1 up to this one. A number is used again when its message is answered.

        Raises:
            ArgumentError: This is no queue, or a number is out of range.
            CallerError: Another object delivers this queue in this term already.
            StaleHandle: The handle is of an earlier term.
            NotPrimary: This node is not primary.
        """
        CONTENT("queue", queue)
        COUNT("window", window)
        COUNT("numbers", numbers)
        self.queue = queue
        self._window = window
        self._numbers = numbers
        self._unanswered: dict[int, MessageId] = {}
        self._begun = queue.declared
        """What earlier primaries left is safe then: until then a failover may still take it back."""
        self._safe = self._sent = queue.next_id - 1
        """The last message that may be delivered, and the last one that perhaps was."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        queue.claim("SessionQueue")
        queue.on_safe_upto(self._advance)

    @asynccontextmanager
    async def delivering(self, send: Send) -> AsyncIterator[None]:
        """Await ``send(delivery)`` for one message after the other, for as long as the block lasts: one connection.

        If there is another such block, it delivers nothing more. An error that ``send`` raises ends the delivering, and
        is raised when the block ends.

        Raises:
            ArgumentError: It cannot be called.
        """
        AWAITED("send", send)
        if self._task is not None:
            self._task.cancel()
        self._unanswered = {}
        self._task = task = asyncio.create_task(self._deliver(send, self._unanswered), name="qpidha-session")
        try:
            yield
        finally:
            failed = task.done() and not task.cancelled()
            task.cancel()
            await asyncio.wait([task])
        if failed:
            await task

    def id_of(self, number: int) -> MessageId | None:
        """The id of a message that the client has and has not answered; None: there is none of this number.

        Raises:
            ArgumentError: Not a number.
        """
        NUMBER("number", number)
        return self._unanswered.get(number)

    def settle(self, number: int) -> MessageId | None:
        """The same, for the last time: the client has answered, and there is room for another message.

        Raises:
            ArgumentError: Not a number.
        """
        NUMBER("number", number)
        self._wake.set()
        return self._unanswered.pop(number, None)

    def _advance(self, safe: MessageId) -> None:
        self._safe = safe
        self._wake.set()

    async def _deliver(self, send: Send, unanswered: dict[int, MessageId]) -> None:
        place: MessageId = 0
        try:
            await self._begun
        except InDoubt:
            return  # The term is over: the next primary delivers.
        while True:
            self._wake.clear()
            found = self._next(place, unanswered)
            if found is None:
                await self._wake.wait()
                continue
            place, delivery = found
            self._sent = max(place, self._sent)
            place += 1
            await send(delivery)

    def _next(self, place: MessageId, unanswered: dict[int, MessageId]) -> tuple[MessageId, Delivery] | None:
        """The first message from a place on, and its place; None: there is none, or it must wait."""
        found = self.queue.read(place, messages_max=1)
        if found is None or len(unanswered) >= self._window:
            return None
        ids, batch = found
        place = self.queue.places(ids).first
        number = place % self._numbers + 1
        if place > self._safe or number in unanswered:
            return None
        unanswered[number] = ids.first
        return place, Delivery(number, bytes(batch.data(0)), batch.props(0), place <= self._sent)
