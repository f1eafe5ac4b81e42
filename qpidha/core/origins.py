"""Finds the message that a move or an update made of another one: by the origin that it carries (U4).

There is no index of origins: a search reads the stored batches, and skips those without origins as a whole. It is a
generator that stops again and again, so that the caller can do other work meanwhile; queues may change then. A message
that was moved on meanwhile has a new id at the end of its queue, so the search goes on with what is new until it has
seen all queues at one moment.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TypeAlias

from qpidha.core.explanation import Place
from qpidha.core.keyed import KeyedQueue
from qpidha.core.lineage import Lineage, generation_of
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.stored import Outline
from qpidha.seq import SequenceSet
from qpidha.types import Generation, MessageId, QueueId
from qpidha.wire._batch import ORIGINS
from qpidha.wire.batch import Batch

LOOKS = 1000
"""The search stops after it has looked at so many messages with an origin, batches without, or queues."""

Wanted: TypeAlias = tuple[QueueId, Generation | None, MessageId]
"""The origin that is looked for. Generation None: of whatever generation."""


Content: TypeAlias = tuple[Lineage, int]
"""Lineage and `ReplicatedQueue.fills`. As long as they are the same, messages come in at the end of the queue only."""


def _content_of(queue: ReplicatedQueue) -> Content:
    return queue.lineage, queue.fills


class OriginSearch:
    """One search for the message with an origin."""

    def __init__(self, queues: Mapping[QueueId, ReplicatedQueue], wanted: Wanted) -> None:
        self._queues = queues
        self._source, self._generation, self._id = wanted[0].bytes, wanted[1], wanted[2]
        self._seen: dict[QueueId, tuple[Content, MessageId]] = {}
        """Of each queue the `Content` when it was begun, and its next id when its end was reached."""
        self._looks = 0
        self._stops = 0

    def run(self) -> Generator[None, None, Place | None]:
        """Where the message is at the moment in which the generator ends; None: nowhere.

        O(batches + messages with origins), LOOKS of them between two stops.
        """
        stops = -1
        while stops != self._stops:  # Without a stop, the last pass has seen all queues at one moment.
            stops = self._stops
            for queue in self._new():
                found = yield from self._search(queue)
                if found is not None and self._queues.get(queue.queue) is queue:
                    return Place(queue=queue.queue, queue_name=queue.spec.name, id=found)
                if self._pause():
                    yield
        return None

    def _new(self) -> list[ReplicatedQueue]:
        """The queues that may have messages which were not looked at."""
        return [q for q in self._queues.values() if not isinstance(q, KeyedQueue) and self._first(q) < q.next]

    def _first(self, queue: ReplicatedQueue) -> MessageId:
        content, next = self._seen.get(queue.queue, (None, 0))
        return next if content == _content_of(queue) else 0

    def _search(self, queue: ReplicatedQueue) -> Generator[None, None, MessageId | None]:
        at, content, stops = self._first(queue), _content_of(queue), -1
        while (
            stops != self._stops
        ):  # After a stop the batches may be others: go on at the id that was reached.
            stops = self._stops
            for ids, batch in queue.stored_from(at):
                found, at = self._look(queue, ids, batch, at)
                if found is not None:
                    return found
                if stops != self._stops:
                    yield
                    break
        self._seen[queue.queue] = content, queue.next
        return None

    def _look(
        self, queue: ReplicatedQueue, ids: SequenceSet, batch: Batch | Outline, at: MessageId
    ) -> tuple[MessageId | None, MessageId]:
        """Look at a batch from an id on, until a pause is due. Returns what was found, and where to go on."""
        if isinstance(batch, Outline) or not batch.columns & ORIGINS:
            self._pause()
            return None, ids.last + 1
        for index, id in enumerate(ids.slice(at, ids.last), ids.count(0, at - 1) if at else 0):
            if self._is(batch.origin(index)) and id in queue.held:
                return id, id
            if self._pause():
                return None, id + 1
        return None, ids.last + 1

    def _is(self, origin: tuple[bytes, Generation, MessageId] | None) -> bool:
        if origin is None or origin[2] != self._id or origin[0] != self._source:
            return False
        return self._generation is None or origin[1] == self._generation

    def _pause(self) -> bool:
        """One more was looked at. True: it is time to let others work."""
        self._looks += 1
        if self._looks % LOOKS:
            return False
        self._stops += 1
        return True


def find_copy(
    queues: Mapping[QueueId, ReplicatedQueue], wanted: Wanted
) -> Generator[None, None, Place | None]:
    """Where the message with this identity is now: in its own queue, or what moves and updates have made of it.

    None: no queue has it. See `OriginSearch.run`.
    """
    queue, generation, id = wanted
    own = queues.get(queue)
    if own is not None and id in own.held and generation in (None, generation_of(own.lineage, id)):
        return Place(queue=queue, queue_name=own.spec.name, id=id)
    return (yield from OriginSearch(queues, wanted).run())
