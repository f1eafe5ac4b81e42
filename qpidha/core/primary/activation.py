"""A promotion that was won, until its generation begins (P2, P3).

Each queue gets the new generation in its lineage, all of them in one transaction. With many queues this would block
the event loop too long, so the new lineages are prepared in slices. No queue can change meanwhile: this node follows
no primary any more, and does not serve yet.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from qpidha.core.births import configuration_id
from qpidha.core.configuration import QUEUE, SPEC, QueueObject, object_key
from qpidha.core.keyed import CONFIGURATION, ConfigurationQueue, KeyedQueue
from qpidha.core.lineage import Lineage, advance, trim
from qpidha.core.policy import put_policy
from qpidha.core.primary.membership import Membership
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.sessions import Sessions
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.state import NodeState
from qpidha.errors import ensure
from qpidha.journal import Change, Insert, PutQueue, PutStatus
from qpidha.types import Record
from qpidha.wire.batch import Batch


class Activation:
    """The lineages of the new generation, so far."""

    def __init__(self, record: Record, queues: Iterable[ReplicatedQueue]) -> None:
        self.record = record
        """The one that names this node primary."""
        queues = list(queues)
        self._objects = next((q for q in queues if q.spec.kind == CONFIGURATION), None)
        """The configuration; None in a new cluster, and in one of a release without."""
        self._old: list[ReplicatedQueue] = []
        """Queues that have no object yet: that release declared them."""
        self._left = iter(queues)
        self._same: dict[Lineage, Lineage] = {}
        """Equal lineages are one object: idle queues, of which there may be very many, share a few."""
        self._lineages: list[tuple[ReplicatedQueue, Lineage]] = []
        self._changes: list[Change] = [PutStatus(record.cluster, record.generation, primary=True)]

    @property
    def prepared(self) -> int:
        """How many queues have their new lineage."""
        return len(self._lineages)

    def advance(self, queues: int) -> bool:
        """Prepare up to ``queues`` more queues. Returns True once all are prepared."""
        for q in itertools.islice(self._left, queues):
            lowest = None if q is self._objects else q.held.first if q.held else q.next
            if not self._has_object(q):
                self._old.append(q)
            lineage = trim(advance(q.lineage, self.record.generation, q.next), lowest)
            lineage = self._same.setdefault(lineage, lineage)
            self._lineages.append((q, lineage))
            self._changes.append(PutQueue(q.queue, q.spec, lineage, q.next))
            queues -= 1
        return queues > 0

    def _has_object(self, queue: ReplicatedQueue) -> bool:
        if queue is self._objects or queue.local:
            return True
        key = object_key(QUEUE, queue.spec.name)
        return isinstance(self._objects, KeyedQueue) and self._objects.id_of(key) is not None

    def begin(self, state: NodeState) -> tuple[Primary, Sessions]:
        """Begin the generation, in one transaction (P2, P3)."""
        record = self.record
        ensure(record.generation > state.generation, "generations only grow (P2)")
        state.begin_generation(record.generation, record.cluster)
        for queue, lineage in self._lineages:
            queue.lineage = lineage
        state.outbox.persist(*self._changes)
        configuration = self._configure(state)
        primary = Primary(
            generation=record.generation,
            membership=Membership(state.node, record.members, state.settings),
            manager=state.manager,
            queues=state.queues,
            outbox=state.outbox,
            settings=state.settings,
            configuration=configuration,
            local=state.local,
        )
        return primary, Sessions(state, primary)

    def _configure(self, state: NodeState) -> ConfigurationQueue:
        """The configuration of the cluster, with an object for each queue (Q2). Part of the activation, at position 1."""
        objects = state.configuration
        if objects is None:
            id = configuration_id(self.record.cluster)
            objects = ConfigurationQueue(id, SPEC, ((self.record.generation, 1),), 1)
            state.queues[id] = objects
            state.outbox.persist(PutQueue(id, SPEC, objects.lineage, 1))
        old = {q.spec.name: q for q in self._old}  # Of two with one name, the last has it.
        if old:
            first = objects.next
            made = [
                QueueObject(queue=q.queue, spec=q.spec, birth=(self.record.generation, first + n))
                for n, q in enumerate(old.values())
            ]
            batch = Batch.pack([o.encode() for o in made], props=[o.key for o in made])
            ids = objects.append(batch)
            state.outbox.persist(Insert(objects.queue, ids, batch))
        state.outbox.persist(*put_policy(objects, state.settings.replicate))
        return objects
