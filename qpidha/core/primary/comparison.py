"""The primary's side of a comparison by groups: which groups of a backup's queues are equal to its own (C8).

The backup changes nothing until its flip (C1), so what it said stays true. The primary's queues change at any time: what
the backup has of a queue is then in the text that both had when its group was compared. A queue that was deleted before
that is still compared as it was, and one that was declared is not: the catch-up visits both.

Invariants:
  a group is equal only if every node that has its text keeps all of its messages (`knows_all`)
  the text of an equal group is what the backup holds, whatever changes here
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qpidha.core.groups import digest, divided, group_of, history_in, joined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.resync import History, knows_all
from qpidha.errors import RemoteProtocolError
from qpidha.seq import SequenceSet
from qpidha.types import QueueId
from qpidha.wire.groups import SubscribeGroups


class Comparison:
    """One comparison of all queues, from the instant at which it began to the end of the catch-up."""

    def __init__(self, event: SubscribeGroups) -> None:
        self._key = event.key
        self._theirs = event.digests
        self._mine: list[list[ReplicatedQueue]] | None = None
        """The queues of each group when the comparison began; None: it has not begun."""
        self._next = 0
        """The first group that was not compared yet."""
        self._texts: dict[int, bytes] = {}
        """Of each group that is equal, when it was compared."""
        self.differing = SequenceSet()

    @property
    def done(self) -> bool:
        """Every group was compared."""
        return self._next == len(self._theirs)

    def begin(self, queues: Iterable[ReplicatedQueue]) -> None:
        """Note which queues there are. O(queues), all at once."""
        self._mine = divided(queues, len(self._theirs))

    def advance(self, queues: int) -> None:
        """Compare groups until they had about so many queues in all."""
        assert self._mine is not None
        while queues > 0 and not self.done:
            mine = self._mine[self._next]
            queues -= 1 + len(mine)
            if not self._is_equal(self._next, mine):
                self.differing.add(self._next)
            self._next += 1

    def _is_equal(self, number: int, mine: list[ReplicatedQueue]) -> bool:
        for q in mine:
            begins = q.lineage[0][1] if q.lineage else 0
            if begins != 1 and not knows_all(q.lineage, q.next, q.held):  # Most begin with the first id.
                return False
        text = joined(mine)
        if digest(self._key, text) != self._theirs[number]:
            return False
        self._texts[number] = text
        return True

    def finish(self) -> Iterator[QueueId]:
        """The comparison is over: the queues that differ, or may, as they were when it began."""
        assert self._mine is not None
        for number in self.differing:
            yield from [q.queue for q in self._mine[number]]
        self._mine = []

    def check_described(self, queue: QueueId) -> None:
        """Raise `RemoteProtocolError` if the backup describes a queue that it need not describe: its group is equal."""
        if group_of(queue, len(self._theirs)) in self._texts:
            raise RemoteProtocolError(f"queue {queue} is described, and its group is equal")

    def history(self, queue: QueueId) -> History | None:
        """What the backup has of a queue in an equal group; None: nothing, or the group is not equal."""
        text = self._texts.get(group_of(queue, len(self._theirs)))
        return None if text is None else history_in(text, queue)
