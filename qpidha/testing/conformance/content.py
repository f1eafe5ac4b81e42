"""The content of a queue in memory, in place of a node's `Queue`, for the checks of queues that give out messages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from qpidha.errors import MessagesGone
from qpidha.seq import SequenceSet
from qpidha.wire.batch import Batch


class MemoryContent:
    """The methods of a node's `Queue` that a queue type uses (`qpidha.queues.fifo.Content`), without a node."""

    def __init__(self) -> None:
        self.held: dict[int, bytes] = {}
        self.next_id = 1
        self._ends: list[int] = []
        """The last id of each publish: like a store's batches, publishes are read one at a time."""
        self._places: dict[int, int] = {}
        """Of messages that were updated, by each of their ids: the first."""
        self._moved: set[int] = set()
        """Places of messages that were moved away."""
        self._watchers: list[Callable[[], None]] = []
        self._announced = False

    def publish(self, *messages: bytes) -> range:
        """Add messages and return their ids."""
        ids = range(self.next_id, self.next_id + len(messages))
        self.held.update(zip(ids, messages, strict=True))
        self.next_id = ids.stop
        self._ends.append(ids.stop - 1)
        for watcher in list(self._watchers):
            watcher()
        return ids

    def update(self, *ids: int) -> range:
        """Give messages new ids, as an update of their props does, and return those. They keep their places."""
        new = range(self.next_id, self.next_id + len(ids))
        for old, id in zip(ids, new, strict=True):
            self._places[old] = self._places[id] = self._places.get(old, old)
            self.held[id] = self.held.pop(old)
        self.next_id = new.stop
        self._ends.append(new.stop - 1)
        return new

    def move_away(self, *ids: int) -> None:
        """Remove messages, which live on in another queue."""
        for id in ids:
            del self.held[id]
            self._moved.add(self._places.get(id, id))

    def places(self, ids: SequenceSet, /) -> SequenceSet:
        """The places of these messages."""
        return SequenceSet(self._places.get(id, id) for id in ids)

    @property
    def in_order(self) -> list[int]:
        """The ids of what is held, in order."""
        return sorted(self.held, key=lambda id: self._places.get(id, id))

    def read(
        self, first_id: int, *, messages_max: int = 1000, bytes_max: int = 1 << 20
    ) -> tuple[SequenceSet, Batch] | None:
        """Return messages of one publish from this place on, within the limits; None if there are none."""
        taken: list[int] = []
        size = 0
        for id in (id for id in self.in_order if self._places.get(id, id) >= first_id):
            size += len(self.held[id])
            crosses = taken and bisect_left(self._ends, id) != bisect_left(self._ends, taken[0])
            crosses = crosses or (taken and id < taken[-1])
            if len(taken) == messages_max or (taken and size > bytes_max) or crosses:
                break
            taken.append(id)
        return (SequenceSet(taken), Batch.pack([self.held[id] for id in taken])) if taken else None

    def dequeue(self, ids: SequenceSet, /) -> SequenceSet:
        """Remove these messages, and return the ids. Raises `MessagesGone`: one was moved away."""
        gone = [id for id in ids if self._places.get(id, id) in self._moved]
        if gone:
            raise MessagesGone(f"messages {gone} were moved", queue="memory", ids=gone)
        present = {self._places.get(id, id): id for id in self.held}
        for id in ids:
            self.held.pop(present.get(self._places.get(id, id), 0), None)
        return ids

    def on_content(self, callback: Callable[[], None]) -> None:
        """Register a function to call after each publish."""
        self._watchers.append(callback)

    def announce(self) -> None:
        """Have these functions called at the end of the turn."""
        self._announced = True

    def end_turn(self) -> None:
        """End the turn of the event loop."""
        if self._announced:
            self._announced = False
            for watcher in list(self._watchers):
                watcher()

    def claim(self, what: str, /) -> None:
        """Nothing: a check makes another queue on this content, as the broker does in another term."""
