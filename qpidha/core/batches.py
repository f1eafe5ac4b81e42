"""The batches that one queue stores: each in memory, or only in the store of the node (`qpidha.core.bodies`)."""

from __future__ import annotations

from typing import Final

from qpidha.core.bodies import Bodies
from qpidha.core.stored import Stored
from qpidha.ordered import NOTHING, OrderedMap
from qpidha.seq import SequenceSet
from qpidha.types import MessageId, QueueId

NONE_HELD: Final = SequenceSet()
"""The ids of all queues without messages: most are idle. Never changed."""


class Batches:
    """What is held, and the batches in which it lies."""

    __slots__ = ("_stored", "absent_bytes", "bodies", "bytes", "held", "queue")

    def __init__(self, queue: QueueId) -> None:
        self.queue = queue
        self.held = NONE_HELD
        """Ids of the messages. Only methods of the queue change it."""
        self.bytes = 0
        """Of its stored batches, in memory or not."""
        self.absent_bytes = 0
        """Of those that only the store has."""
        self.bodies: Bodies | None = None
        """Decides which of them are in memory; None: all are."""
        self._stored: OrderedMap[Stored] = NOTHING

    def _put(self, item: Stored) -> None:
        self._stored[item.ids.first] = item
        if self.bodies is not None:
            self.bodies.came(self, item)

    def _drop(self, key: MessageId, item: Stored) -> None:
        del self._stored[key]
        self.bytes -= item.batch.nbytes
        if self.bodies is not None:
            self.bodies.went(self, item)

    def end(self) -> None:
        """The queue is gone, with its messages: nobody uses it any more."""
        if self.bodies is not None:
            for item in self._stored.values():
                self.bodies.went(self, item)

    def _load(self, item: Stored) -> None:
        """Read what is left of a batch again, and of small ones after it, as one. Raises what the store raises."""
        assert self.bodies is not None, "without a limit every batch is in memory"
        items, nbytes, ahead = [item], item.batch.nbytes, self.bodies.ahead_bytes
        staged = item.outline.staged
        entry = self._stored.after(item.last)
        while entry is not None and entry[1].absent and nbytes + entry[1].batch.nbytes <= ahead:
            if entry[1].outline.staged is not staged:
                break
            items.append(entry[1])
            nbytes += entry[1].batch.nbytes
            entry = self._stored.after(entry[1].last)
        ids = self.held.slice(item.ids.first, items[-1].last)
        batch = (self.bodies.read_staged if staged else self.bodies.read)(self.queue, ids)
        for read in items:
            self._drop(read.ids.first, read)
        item.ids, item.batch, item.last, item.live = ids, batch, ids.last, len(ids)
        self._stored[ids.first] = item
        self.bytes += batch.nbytes
        self.bodies.returned(self, item, staged=staged)

    def _batch_of(self, id: MessageId) -> Stored:
        """The stored batch of a held message."""
        below = self._stored.floor(id)
        assert below is not None, "a held message lies in a stored batch"
        return below[1]

    def _present(self, id: MessageId) -> Stored:
        """The stored batch of a held message, in memory."""
        item = self._batch_of(id)
        if item.absent:
            self._load(item)
        return item
