"""Performs the single effects of a `Ready` for a node. The order is the driver's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from qpidha.core.keyed import KeyedQueue
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import (
    CloseLink,
    Completion,
    Doubtful,
    EnoughMembers,
    FullSpeed,
    HandOver,
    Inserted,
    Notice,
    QueueAdded,
    QueueRemoved,
    Removed,
    Request,
    RoleChanged,
    Safe,
    Settled,
    Stored,
)
from qpidha.errors import InDoubt
from qpidha.events import (
    DuplicateNodeId,
    FencedByPeer,
    NodeEvent,
    PublishersSlowed,
    RefusedByBackup,
    RefusedByPrimary,
    RoleEntered,
    TooFewMembers,
    Trouble,
)
from qpidha.node.cluster import Cluster
from qpidha.node.connect import Connector
from qpidha.node.freezing import kept_by
from qpidha.node.handles import Handles
from qpidha.node.keywatches import KeyWatches
from qpidha.node.ledger import NO_NODES, Ledger
from qpidha.node.links import Links
from qpidha.node.listeners import Listeners
from qpidha.node.notifier import BrokerNotifier
from qpidha.node.prober import Prober
from qpidha.node.runtime import Runtime
from qpidha.types import QueueId
from qpidha.wire.events import Frame

TOLD_BY_LINKS = (RefusedByPrimary, RefusedByBackup, DuplicateNodeId, FencedByPeer)
"""Not logged: a line about the end of the link says the same (`Links._closed`)."""


class NodeEffects:
    """See `qpidha.driver.Effects`."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        links: Links,
        cluster: Cluster,
        connector: Connector,
        prober: Prober,
        handles: Handles,
        listeners: Listeners,
        watches: KeyWatches,
        notifier: BrokerNotifier,
        store_failed: Callable[[BaseException], None],
    ) -> None:
        self._runtime = runtime
        self._links = links
        self._cluster = cluster
        self._connector = connector
        self._prober = prober
        self._handles = handles
        self._notifier = notifier
        self.listeners = listeners
        self._watches = watches
        self._store_failed = store_failed

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """One write for each link, so that one system call takes all that it is sent."""
        by_link: dict[int, list[Frame]] = {}
        for link, frame in frames:
            by_link.setdefault(link, []).append(frame)
        for link, of_link in by_link.items():
            peer = self._links.peers.get(link)
            if peer is not None:
                peer.send(of_link)

    def request(self, request: Request) -> None:
        """Send a request of the core to the record store."""
        self._cluster.request(request)

    def store_failed(self, error: BaseException) -> None:
        """Stop the node: its store failed."""
        self._store_failed(error)

    # --- completions -----------------------------------------------------------------------------

    def complete(self, completion: Completion) -> None:
        """Complete the ops that are safe or in doubt."""
        runtime = self._runtime
        match completion:
            case Safe():
                queue = self._handles.made(completion.queue)
                if queue is not None:
                    queue._safe(completion.upto, completion.nodes, completion.consumed)
                    self._handles.completed(queue)
            case Settled():
                runtime.settled.advance(completion.upto, completion.nodes)
            case Stored():
                runtime.stored.advance(completion.upto, completion.nodes)
            case Doubtful():
                self._doubt(completion.generation)

    def _doubt(self, generation: int) -> None:
        runtime = self._runtime
        runtime.serving_generation = 0
        error = InDoubt(f"node {runtime.id!r} is no longer primary of generation {generation}")
        for queue in self._handles.all_made():
            queue._doubt(error)
        runtime.settled.doubt(error)
        runtime.stored.doubt(error)

    # --- notices ---------------------------------------------------------------------------------

    def notify(self, notice: Notice) -> None:
        """Act on a notice of the core."""
        runtime = self._runtime
        match notice:
            case RoleChanged():
                self._role_changed(notice)
            case QueueAdded():
                replicated = runtime.replica.queue(notice.queue)
                if replicated is not None:
                    self.queue_added(replicated)  # Its content follows in notices.
            case QueueRemoved():
                self.queue_removed(notice.queue)
                self.listeners.ended(notice.queue)
            case Inserted() | Removed():
                self.listeners.changed(notice)
                self._watches.noticed(notice)
            case HandOver():
                self._notifier.discarded(notice)
            case EnoughMembers():
                runtime.troubles.clear(TooFewMembers)
            case FullSpeed():
                runtime.troubles.clear(PublishersSlowed)
            case CloseLink():
                if peer := self._links.peers.get(notice.link):
                    peer.close(notice.reason)
            case NodeEvent():
                self._tell(notice)

    def _tell(self, event: NodeEvent) -> None:
        if isinstance(event, Trouble):
            self._runtime.troubles.report(event)
        else:
            self._runtime.tell(event, logged=not isinstance(event, TOLD_BY_LINKS))

    def _role_changed(self, notice: RoleChanged) -> None:
        runtime = self._runtime
        runtime.tell(RoleEntered(notice.role, notice.generation))
        self._connector.role_changed(notice.role)
        self._connector.look()
        self._prober.look()
        if notice.role.is_primary and runtime.serving_generation != notice.generation:
            runtime.serving_generation = notice.generation
            # Completions of this very `Ready` were performed before this notice: begin where they got to.
            primary = runtime.replica.primary
            safe = primary.safe if primary else 0
            holders = primary.membership.holders if primary and safe else NO_NODES
            deadlines = runtime.op_deadlines
            runtime.settled = Ledger(
                notice.generation, safe, home=runtime.home, nodes=holders, deadlines=deadlines
            )
            runtime.stored = Ledger(notice.generation, home=runtime.home, deadlines=deadlines)
            runtime.immediate = Ledger(notice.generation, home=runtime.home, deadlines=deadlines)
            self._handles.new_term()
        if not notice.role.is_primary:
            runtime.troubles.clear(TooFewMembers)
            runtime.troubles.clear(PublishersSlowed)
        self._notifier.role(notice.generation if notice.role.is_primary else 0)

    def queue_removed(self, queue: QueueId) -> None:
        """A queue or a table was deleted, maybe not yet durably. Those that are unknown are fine."""
        self._watches.forget(queue)
        self._handles.remove(queue)

    def load_all(self, queues: Iterable[ReplicatedQueue]) -> Iterator[None]:
        """The queues of the store, with content that no notice will tell of. Step by step, for there may be many."""
        for replicated in queues:
            if isinstance(replicated, KeyedQueue):
                continue
            self._handles.add(replicated)
            if self.listeners.asks:
                yield from self.listeners.load(replicated)
            yield

    def count_queues(self) -> None:
        """There may be more of them: in the core, in a plan on its way, or with the embedder."""
        freezing = self._runtime.freezing
        if freezing.enabled:
            freezing.grown(kept_by(self._runtime.replica) + len(self._handles))

    def queue_added(self, replicated: ReplicatedQueue) -> None:
        """Make a queue known, and ask the broker whether it wants to follow its content. Or a table."""
        self._watches.added(replicated)
        if replicated.queue not in self._handles and not isinstance(replicated, KeyedQueue):
            self._handles.add(replicated)
            self.count_queues()
            self.listeners.ask(replicated)
