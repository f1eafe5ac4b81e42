"""What the parts of one node's core share: its identity, its view of the cluster, its content, its effects.

`Replica` makes one `NodeState` and passes it to its parts. A part changes the state, puts effects into the outbox, and
returns what other parts have to do. No part refers to `Replica`, and no role refers to another role.

Invariants:
  only `begin_generation` changes generation and cluster, in the `Ready` that makes them durable (C5, P3)
  generation never falls
"""

from __future__ import annotations

from uuid import UUID

from qpidha.core.births import OWN_OBJECTS, configuration_id
from qpidha.core.bodies import Bodies, ReadBodies
from qpidha.core.histories import Histories
from qpidha.core.indexed import QueueTypes
from qpidha.core.keyed import ConfigurationQueue, KeyedQueue
from qpidha.core.lineage import Lineage
from qpidha.core.local import LocalQueues
from qpidha.core.manager import Manager
from qpidha.core.objects import Objects
from qpidha.core.outbox import Outbox
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.errors import ensure
from qpidha.journal import StoreImage
from qpidha.settings import Settings
from qpidha.types import Generation, Member, MessageId, NodeId, QueueId, Record


class NodeState:
    """The state of one node for one boot. O(content of ``image``) to make."""

    __slots__ = (
        "bodies",
        "boot",
        "cluster",
        "epoch",
        "generation",
        "gone",
        "identities",
        "local",
        "manager",
        "node",
        "outbox",
        "quarantined",
        "queues",
        "secret",
        "settings",
    )

    def __init__(
        self,
        *,
        node: NodeId,
        boot: UUID,
        image: StoreImage,
        settings: Settings,
        types: QueueTypes | None = None,
        secret: bytes = b"",
        read: ReadBodies | None = None,
        read_staged: ReadBodies | None = None,
    ) -> None:
        self.node = node
        self.boot = boot
        """The id of this run of the process."""
        self.secret = secret
        """What no other process knows: keys of digests are made of it (C8)."""
        self.epoch = image.status.epoch
        """The id of this life of the store."""
        self.cluster = image.status.cluster
        """The cluster that the store belongs to; None before it joined one."""
        self.generation: Generation = image.status.generation
        """The highest generation seen, durable before anything of it is obeyed (C2, C5)."""
        self.settings = settings
        limit = settings.memory_bytes_max
        self.bodies = None if read is None or limit is None else Bodies(limit, read, read_staged)
        """Which message bodies are in memory; None: all are."""
        self.queues = Queues(types, self.bodies)
        """Those whose messages are replicated: all that is described, planned, sent and compared (LV1)."""
        self.local = LocalQueues(self.queues.make)
        """Those whose messages are this node's own."""
        for held in image.queues:
            queue = self.queues.load(held)
            if queue.local:
                self.local.add(queue)
            else:
                self.queues[queue.queue] = queue
        if self.bodies is not None:
            self.bodies.loaded()
        self.quarantined = Quarantined(list(image.quarantine))
        self.manager = Manager(boot, settings.record_retry_s)
        self.outbox = Outbox()
        self.identities: dict[int, frozenset[str]] = {}
        """For links that a peer opened, by link: the names that the peer proved to have."""
        self.gone: frozenset[NodeId] = frozenset()
        """The nodes whose process is known to have ended. A hint: it may be wrong (`Replica.nodes_gone`)."""

    @property
    def me(self) -> Member:
        """This node as a member of the record: its name, with this life of its store."""
        return Member(self.node, self.epoch)

    @property
    def record(self) -> Record | None:
        """The newest record seen; None if none was seen."""
        return self.manager.record

    @property
    def configuration(self) -> ConfigurationQueue | None:
        """The queue that holds the cluster's objects (Q1); None before this node got it."""
        found = self.queues.get(configuration_id(self.cluster)) if self.cluster is not None else None
        return found if isinstance(found, ConfigurationQueue) else None

    @property
    def objects(self) -> Objects:
        """The objects that this node has: those of the cluster, and its own."""
        own = self.local.get(OWN_OBJECTS)
        assert own is None or isinstance(own, KeyedQueue)
        return Objects(self.configuration, own)

    def find(self, queue: QueueId) -> ReplicatedQueue | None:
        """The queue with this id, whatever its level; None if this node has none. O(1)."""
        found = self.queues.get(queue)
        return self.local.get(queue) if found is None else found

    @property
    def queue_count(self) -> int:
        """How many replicated queues there are, tables included; the configuration is none of them. O(1)."""
        return len(self.queues) - (self.configuration is not None)

    @property
    def message_queues(self) -> list[ReplicatedQueue]:
        """Those of ``queues`` that brokers publish to: neither tables nor the configuration. O(queues)."""
        return [queue for queue in self.queues.values() if not isinstance(queue, KeyedQueue)]

    @property
    def histories(self) -> Histories:
        """What the history that this node follows says of all queues.

        As a primary that is its own. As a backup it is its primary's, and its own queues say it: the flip made lineage
        and next equal to the primary's (C5), and operations only add ids of the primary's own generation, of which
        nothing can be in quarantine. Ask only after the flip, and before the session ends.
        """
        c = self.configuration
        if c is None:
            return Histories(self._past_of, None)
        return Histories(self._past_of, (c.lineage, c.next), c.producers.find)

    def _past_of(self, queue: QueueId) -> tuple[Lineage, MessageId] | None:
        q = self.queues.get(queue)
        return None if q is None else (q.lineage, q.next)  # An empty queue is false.

    def begin_generation(self, generation: Generation, cluster: UUID) -> None:
        """Belong to this generation of this cluster from now on. The caller persists it in the same `Ready`."""
        ensure(generation >= self.generation, "generations never fall")
        self.generation = generation
        self.cluster = cluster
