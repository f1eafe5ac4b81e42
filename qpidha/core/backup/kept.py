"""Which of its queues a backup keeps as they are: those of the groups that its primary found equal (C8).

The plan names a queue of such a group that changed at the primary since, and then the plan counts; it withdraws one
that was deleted there since (Q9). Nothing changes here before the flip (C1), so what was compared is still true.
"""

from __future__ import annotations

from collections.abc import Collection

from qpidha.core.groups import group_of
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.errors import RemoteProtocolError
from qpidha.seq import SequenceSet
from qpidha.types import QueueId


class Kept:
    """The queues of a backup, and which of them are kept. Without groups that is none."""

    def __init__(
        self,
        queues: Queues,
        groups: list[list[ReplicatedQueue]] | None = None,
        differing: SequenceSet | None = None,
    ) -> None:
        """``groups``: all queues by group; ``differing``: the numbers of the groups that are not equal.

        Raises:
            RemoteProtocolError: There is no such group.
        """
        self._queues = queues
        self._groups = 0 if groups is None else len(groups)
        self._differing = SequenceSet() if differing is None else differing
        if self._differing and self._differing.last >= self._groups:
            raise RemoteProtocolError(f"group {self._differing.last} of {self._groups}")
        self.described: list[ReplicatedQueue] = (
            list(queues.values())
            if groups is None
            else [queue for number in self._differing for queue in groups[number]]
        )
        """The queues that are not in an equal group."""
        self._withdrawn: dict[QueueId, ReplicatedQueue] = {}

    def __contains__(self, queue: QueueId) -> bool:
        """Whether this queue stays as it is, if the plan does not name it."""
        return (
            self._groups > 0
            and group_of(queue, self._groups) not in self._differing
            and queue in self._queues
            and queue not in self._withdrawn
        )

    def withdraw(self, queue: QueueId) -> bool:
        """The primary deleted this queue since. False: it is not kept."""
        if queue not in self:
            return False
        self._withdrawn[queue] = self._queues[queue]
        return True

    def unplanned(self, plan: Collection[QueueId]) -> int:
        """How many queues are kept and not named by this plan. O(queues of the plan)."""
        kept = len(self._queues) - len(self.described) - len(self._withdrawn)
        return kept - sum(queue in self for queue in plan) if kept else 0

    def others(self) -> list[ReplicatedQueue]:
        """The queues that are not kept: those that were described, and those withdrawn."""
        return [*self.described, *self._withdrawn.values()]
