"""A promotion that was won, until its generation begins (P2, P3).

Each queue gets the new generation in its lineage, all of them in one transaction. With many queues this would block
the event loop too long, so the new lineages are prepared in slices. No queue can change meanwhile: this node follows
no primary any more, and does not serve yet.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from qpidha.core.lineage import Lineage, advance, trim
from qpidha.core.primary.membership import Membership
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.sessions import Sessions
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.state import NodeState
from qpidha.errors import ensure
from qpidha.journal import Change, PutQueue, PutStatus
from qpidha.types import Record


class Activation:
    """The lineages of the new generation, so far."""

    def __init__(self, record: Record, queues: Iterable[ReplicatedQueue]) -> None:
        self.record = record
        """The record that names this node primary."""
        self._left = iter(list(queues))
        self._lineages: list[tuple[ReplicatedQueue, Lineage]] = []
        self._changes: list[Change] = [PutStatus(record.cluster, record.generation, primary=True)]

    @property
    def prepared(self) -> int:
        """How many queues have their new lineage."""
        return len(self._lineages)

    def advance(self, queues: int) -> bool:
        """Prepare up to ``queues`` more queues. Returns True once all are prepared."""
        for q in itertools.islice(self._left, queues):
            lowest = q.held.first if q.held else q.next
            lineage = trim(advance(q.lineage, self.record.generation, q.next), lowest)
            self._lineages.append((q, lineage))
            self._changes.append(PutQueue(q.queue, q.spec, lineage, q.next))
            queues -= 1
        return queues > 0

    def begin(self, state: NodeState) -> tuple[Primary, Sessions]:
        """Begin the generation, in one transaction (P2, P3)."""
        record = self.record
        ensure(record.generation > state.generation, "generations only grow (P2)")
        state.begin_generation(record.generation, record.cluster)
        for queue, lineage in self._lineages:
            queue.lineage = lineage
        state.outbox.persist(*self._changes)
        primary = Primary(
            generation=record.generation,
            membership=Membership(state.node, record.members, state.settings),
            manager=state.manager,
            queues=state.queues,
            outbox=state.outbox,
            settings=state.settings,
        )
        return primary, Sessions(state, primary)
