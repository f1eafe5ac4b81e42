"""A promotion that was won, until its generation begins (P2, P3).

It changes no queue: the generation enters itself in the lineage of a queue with the first id that it gives out there
(`qpidha.core.entering`). Queues that a release without a configuration declared get their objects with it. To look for
them is done in slices. No queue can change meanwhile: this node follows no primary any more, and does not serve yet.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from qpidha.core.births import birth_of, configuration_id
from qpidha.core.configuration import QUEUE, SPEC, QueueObject, object_key
from qpidha.core.entering import enter
from qpidha.core.keyed import CONFIGURATION, ConfigurationQueue, KeyedQueue
from qpidha.core.policy import put_policy
from qpidha.core.primary.membership import Membership
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.sessions import Sessions
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.state import NodeState
from qpidha.errors import ensure
from qpidha.journal import Insert, PutQueue, PutStatus
from qpidha.types import Record
from qpidha.wire.batch import Batch


class Activation:
    """A generation that has not begun yet."""

    def __init__(self, record: Record, queues: Iterable[ReplicatedQueue]) -> None:
        """``queues``: the replicated ones of this node."""
        self.record = record
        """The one that names this node primary."""
        queues = list(queues)
        self._objects = next((q for q in queues if q.spec.kind == CONFIGURATION), None)
        """The configuration; None in a new cluster, and in one of a release without."""
        self._old: list[ReplicatedQueue] = []
        """Queues that have no object yet: that release declared them."""
        self._left = iter(queues)

    def advance(self, queues: int) -> bool:
        """Look at up to so many more queues. Returns True once all were looked at."""
        for q in itertools.islice(self._left, queues):
            queues -= 1
            if birth_of(q.queue) is None and not self._has_object(q):
                self._old.append(q)
        return queues > 0

    def _has_object(self, queue: ReplicatedQueue) -> bool:
        if queue is self._objects:
            return True
        key = object_key(QUEUE, queue.spec.name)
        return isinstance(self._objects, KeyedQueue) and self._objects.id_of(key) is not None

    def begin(self, state: NodeState) -> tuple[Primary, Sessions]:
        """Begin the generation, in one transaction (P2, P3)."""
        record = self.record
        ensure(record.generation > state.generation, "generations only grow (P2)")
        state.begin_generation(record.generation, record.cluster)
        state.outbox.persist(PutStatus(record.cluster, record.generation, primary=True))
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
            if (entry := enter(objects, self.record.generation)) is not None:
                state.outbox.persist(entry)
            ids = objects.append(batch)
            state.outbox.persist(Insert(objects.queue, ids, batch))
        state.outbox.persist(*put_policy(objects, state.settings.replicate, self.record.generation))
        return objects
