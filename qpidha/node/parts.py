"""The parts of one node, made and connected in one place.

No part imports this module. Only modules that report on the whole node or control it do: `status`, `facts`, `control`,
`roles`, `content`, `participant` and `node`.
"""

from __future__ import annotations

from qpidha.interfaces import Broker, MessageStore, Promoter, RecordStore, Transport
from qpidha.node.cluster import Cluster
from qpidha.node.commit import Commits
from qpidha.node.connect import Connector
from qpidha.node.effects import NodeEffects
from qpidha.node.engine import Engine
from qpidha.node.handles import Handles
from qpidha.node.heartbeat import Heartbeat
from qpidha.node.isolation import Isolation
from qpidha.node.keywatches import KeyWatches
from qpidha.node.life import Life
from qpidha.node.links import Links
from qpidha.node.listeners import Listeners
from qpidha.node.notifier import BrokerNotifier
from qpidha.node.place import Place
from qpidha.node.presence import Presence
from qpidha.node.prober import Prober
from qpidha.node.runtime import Runtime
from qpidha.types import NodeId


class Parts:
    """Everything that a node is made of."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        broker: Broker,
        store: MessageStore,
        transport: Transport,
        records: RecordStore,
        promoter: Promoter | None,
    ) -> None:
        self.runtime = runtime
        self.records = records
        self.engine = Engine(runtime, store, self._fail)
        runtime.connect(self.engine)
        self.handles = Handles(runtime)
        self.notifier = BrokerNotifier(runtime, broker, self._unfit)
        self.links = Links(runtime, transport, self._link_lost)
        self.presence = Presence(runtime, records)
        self.place = Place(
            runtime,
            engine=self.engine,
            notifier=self.notifier,
            presence=self.presence,
            promotes_itself=promoter is not None and getattr(promoter, "automatic", True),
        )
        self.connector = Connector(runtime, links=self.links, engine=self.engine, records=records)
        self.prober = Prober(runtime, self.links)
        self.cluster = Cluster(
            runtime,
            records,
            promoter,
            presence=self.presence,
            place=self.place,
            connector=self.connector,
            prober=self.prober,
        )
        self.heartbeat = Heartbeat(
            runtime,
            links=self.links,
            engine=self.engine,
            place=self.place,
            isolation=Isolation(runtime, self.place),
            connector=self.connector,
        )
        watches = KeyWatches(runtime)
        self.effects = NodeEffects(
            runtime,
            links=self.links,
            cluster=self.cluster,
            connector=self.connector,
            prober=self.prober,
            handles=self.handles,
            listeners=Listeners(runtime, broker),
            watches=watches,
            notifier=self.notifier,
            store_failed=self._store_failed,
        )
        self.commits = Commits(runtime, handles=self.handles, effects=self.effects, watches=watches)
        self.life = Life(
            runtime,
            engine=self.engine,
            cluster=self.cluster,
            notifier=self.notifier,
            links=self.links,
            heartbeat=self.heartbeat,
        )

    @property
    def live(self) -> list[NodeId]:
        """The nodes with a session, as far as this node knows; none unless it is running."""
        return self.runtime.live.names if self.runtime.running else []

    # --- from a part to one that is made after it ---------------------------------------------------

    def _fail(self, reason: str, error: BaseException) -> None:
        self.life.begin(reason, error)

    def _store_failed(self, error: BaseException) -> None:
        self.life.store_failed(error)

    def _unfit(self, why: str) -> None:
        self.place.unfit(why)

    def _link_lost(self) -> None:
        self.connector.look()
        self.prober.look()
