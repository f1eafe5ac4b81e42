"""Collects the messages that are published in one turn of the event loop, so that they become one operation."""

from __future__ import annotations

from typing import Final

from qpidha.checks import instance_of
from qpidha.errors import ArgumentError
from qpidha.node.op import Outcome
from qpidha.wire.batch import Batch

SMALL_BATCH_BYTES = 16 * 1024
"""Smaller batches of one turn are joined: copying them costs less than a separate operation on every node."""

MESSAGE_OVERHEAD_BYTES = 16
"""Bytes that a message counts in addition to its own, so that many empty messages fill a frame as well."""
MESSAGES = instance_of(list, tuple, what="a Batch, a list or a tuple of bytes")


def as_batch(batch: list[bytes] | tuple[bytes, ...]) -> Batch:
    """Several messages in one block. Raises `ArgumentError`."""
    MESSAGES("batch", batch)
    if not batch:
        raise ArgumentError("batch must have at least one message, not none")
    try:
        return Batch.pack(batch)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"batch: {error}") from None


class Waiting:
    """Single messages and small batches published in one turn: one operation for all of them."""

    __slots__ = ("_batches", "_data", "_props", "bytes", "messages", "outcome", "scheduled")

    def __init__(self, *, scheduled: bool = False) -> None:
        self._batches: list[Batch] = []
        self._data: list[bytes] = []
        self._props: list[bytes] = []
        self.messages = 0
        self.bytes = 0
        self.outcome = Outcome()
        self.scheduled = scheduled
        """The node will flush at the end of this turn."""

    def add(self, data: bytes, props: bytes) -> None:
        """Add one message to the batch."""
        self._data.append(data)
        self._props.append(props)
        self.messages += 1
        self.bytes += len(data) + len(props) + MESSAGE_OVERHEAD_BYTES

    def add_batch(self, batch: Batch) -> None:
        """Add the messages of a batch."""
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


IDLE: Final = Waiting()
"""Shared by all queues without publishes in this turn; must not be changed."""
