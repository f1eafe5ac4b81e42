"""What the queue types need of a node: small Protocols, which `Node`, `Queue` and `Transaction` have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from qpidha.seq import SequenceSet
from qpidha.types import BytesLike, QueueSpec
from qpidha.wire.batch import Batch

OpT = TypeVar("OpT")
"""What changes return: with a `Node`, its `Op`."""
Op_co = TypeVar("Op_co", covariant=True)


class DeliveryContent(Protocol[Op_co]):
    """What `DeliveryQueue` needs of a queue. `qpidha.Queue` has it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def spec(self) -> QueueSpec:
        """How it was declared."""

    @property
    def arguments(self) -> bytes:
        """The arguments of its declaration."""

    @property
    def index(self) -> object:
        """The index of its messages; None if it has none."""

    def enqueue(self, data: BytesLike, props: BytesLike = ..., /) -> Op_co:
        """Publish one message."""

    def enqueue_many(self, batch: Batch, /) -> Op_co:
        """Publish a batch."""

    def flush(self) -> None:
        """Make what was published in this turn part of the content and of the index."""

    def select(self, places: SequenceSet, /) -> tuple[SequenceSet, Batch] | None:
        """The first messages at these places, as many as one piece has; None if there are none. Ids and places ascend."""

    def places(self, ids: SequenceSet, /) -> SequenceSet:
        """The places of messages: the ids that they had first. Of ids that updates replaced, those of their messages."""

    def dequeue(self, ids: SequenceSet, /) -> Op_co:
        """Remove messages from the queue. Raises `MessagesGone`, without removing any, if one was moved away."""

    def move(self, ids: SequenceSet, target: Any, /) -> Op_co:
        """Move messages to the end of another queue."""

    def on_content(self, callback: Callable[[], None]) -> None:
        """Have this called after messages were published, but not from inside another method."""

    def announce(self) -> None:
        """Have the callbacks of `on_content` called at the end of this turn, as if a message had come."""

    def claim(self, what: str, /) -> None:
        """Let one object deliver this queue. Raises `CallerError` if another one does already."""


class DeliveryTransaction(Protocol[Op_co]):
    """What `DeliveryQueue` needs of a transaction. `qpidha.Transaction` has it."""

    @property
    def op(self) -> Op_co:
        """The op of the commit."""

    def enqueue(self, queue: Any, data: BytesLike, props: BytesLike = ..., /) -> Any:
        """Publish one message. The result has its ``ids`` after the commit."""

    def dequeue(self, queue: Any, ids: SequenceSet, /) -> None:
        """Accept messages."""

    def move(self, queue: Any, ids: SequenceSet, target: Any, /) -> Any:
        """Move messages to another queue."""

    def update(self, queue: Any, ids: Sequence[int], props: tuple[bytes, ...], /) -> Any:
        """Replace the props of messages."""

    def commit(self) -> Op_co:
        """Make one operation of all calls."""


class DeliveryNode(Protocol[Op_co]):
    """What `DeliveryQueue` needs of a node. `qpidha.Node` has it."""

    def queue(self, name: str) -> DeliveryContent[Op_co]:
        """The queue of this name. Raises `UnknownQueue`."""

    def transaction(self) -> DeliveryTransaction[Op_co]:
        """Begin a transaction."""
