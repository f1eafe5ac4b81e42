"""What a backup tells its primary of its own queues: digests of groups (C8), then queue by queue (C1, C4).

Nothing changes here before the flip (C1), so work in slices describes one instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from qpidha.core.chunks import split_count, split_ids
from qpidha.core.groups import digest, divided, group_count, joined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.seq import SequenceSet
from qpidha.types import Generation
from qpidha.wire.events import Event, SubscribeQueue
from qpidha.wire.groups import SubscribeGroups


class Digests:
    """The digests of all queues, made in slices."""

    def __init__(self, queues: Queues, queues_per_digest: int, key: bytes) -> None:
        self.groups = divided(queues.values(), group_count(len(queues), queues_per_digest))
        """All queues, by group."""
        self._key = key
        self._made: list[bytes] = []

    @property
    def done(self) -> bool:
        """All were made."""
        return len(self._made) == len(self.groups)

    def advance(self, queues: int) -> None:
        """Make more of them, of groups with about so many queues in all."""
        while queues > 0 and not self.done:
            group = self.groups[len(self._made)]
            queues -= 1 + len(group)
            self._made.append(digest(self._key, joined(group)))

    def event(self, epoch: UUID, stored: Generation) -> SubscribeGroups:
        """What to send once they are done."""
        return SubscribeGroups(
            epoch=epoch, stored_generation=stored, key=self._key, digests=tuple(self._made)
        )


def descriptions(queues: Iterable[ReplicatedQueue], runs_max: int) -> Iterator[Event]:
    """These queues one by one, each in as many pieces as its held ids need."""
    for q in list(queues):
        for held in list(split_ids(q.held, runs_max)) or [SequenceSet()]:
            yield SubscribeQueue(queue=q.queue, lineage=q.lineage, next=q.next, held=held.copy())


def description_count(queues: Iterable[ReplicatedQueue], runs_max: int) -> int:
    """How many events `descriptions` gives. O(queues)."""
    return sum(max(1, split_count(q.held, runs_max)) for q in queues)
