"""The replicated queues of one node, tables and the configuration included: by uuid, each of the class for its kind."""

from __future__ import annotations

from qpidha.core.bodies import Bodies
from qpidha.core.calls import check_loaded
from qpidha.core.indexed import IndexedQueue, QueueTypes
from qpidha.core.keyed import KEYED, KeyedQueue
from qpidha.core.lineage import Lineage
from qpidha.core.queue import ReplicatedQueue
from qpidha.journal import QueueImage
from qpidha.types import MessageId, QueueId, QueueSpec


class Queues(dict[QueueId, ReplicatedQueue]):
    """A dict of queues that knows how one is made.

    Args:
        bodies: Decides which messages are in memory; None: all are. Those of tables and the configuration always are.
    """

    def __init__(self, types: QueueTypes | None = None, bodies: Bodies | None = None) -> None:
        super().__init__()
        self._types: QueueTypes = {} if types is None else types
        self.bodies = bodies

    def __delitem__(self, queue: QueueId) -> None:
        """The queue is gone, with its messages."""
        self.pop(queue).end()

    def make(self, queue: QueueId, spec: QueueSpec, lineage: Lineage, next: MessageId) -> ReplicatedQueue:
        """A queue without content. It is not put into the dict."""
        if (keyed := KEYED.get(spec.kind)) is not None:
            return keyed(queue, spec, lineage, next)
        index = self._types.get(spec.kind)
        made = (
            ReplicatedQueue(queue, spec, lineage, next)
            if index is None
            else IndexedQueue(queue, spec, lineage, next, index(spec))
        )
        made.bodies = self.bodies
        return made

    def load(self, image: QueueImage) -> ReplicatedQueue:
        """A queue as a store holds it. It is not put into the dict. O(messages). Raises `ArgumentError`."""
        check_loaded(image)
        made = self.make(image.queue, image.spec, image.lineage, image.next)
        if isinstance(made, KeyedQueue):
            made.load(image.held)
        else:
            for ids, batch in image.held:
                made.insert(ids, batch)
        return made
