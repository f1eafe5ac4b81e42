"""Which queues a catch-up still has to visit: each one, and again each one that changed after its visit (C4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from qpidha.types import QueueId
from qpidha.wire.events import Operation


class Visits:
    """A queue of queues, each of which is in it once at most."""

    def __init__(self, queues: Iterable[QueueId] = ()) -> None:
        self._order = deque(queues)
        self.waiting = set(self._order)
        """The queues to visit."""
        self.disturbed = 0
        """How many were added because they changed, since this was last set to 0."""

    def __bool__(self) -> bool:
        return bool(self._order)

    @property
    def next(self) -> QueueId:
        """The queue to visit now."""
        return self._order[0]

    def visited(self) -> None:
        """The visit of `next` is over."""
        self.waiting.discard(self._order.popleft())

    def add(self, queue: QueueId) -> bool:
        """Visit this queue, too. False: it is in the queue already."""
        if queue in self.waiting:
            return False
        self.waiting.add(queue)
        self._order.append(queue)
        return True

    def changed(self, operations: Iterable[Operation]) -> None:
        """The queues of these operations must be visited, or visited again."""
        for operation in operations:
            for part in operation:
                self.disturbed += self.add(part.queue)
