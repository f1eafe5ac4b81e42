"""Performs the single effects of a `Ready` for a node. The order is the driver's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import (
    CloseLink,
    Completion,
    Doubtful,
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
)
from qpidha.errors import InDoubt
from qpidha.events import DuplicateNodeId, FencedByPeer, NodeEvent, RefusedByBackup, RefusedByPrimary, Trouble
from qpidha.node.freezing import Freezing, kept_by
from qpidha.node.listeners import Listeners
from qpidha.node.op import NOBODY, Ledger
from qpidha.types import QueueId
from qpidha.wire.events import Frame

if TYPE_CHECKING:
    from qpidha.node.node import Node

TOLD_BY_LINKS = (RefusedByPrimary, RefusedByBackup, DuplicateNodeId, FencedByPeer)
"""Not logged: a line about the end of the link says the same (`Links.closed`)."""


class NodeEffects:
    """See `qpidha.driver.Effects`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.listeners = Listeners(node)
        self.freezing = Freezing(enabled=node.settings.gc_policy == "freeze")

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """One write for each link, so that one system call takes all that it is sent."""
        by_link: dict[int, list[Frame]] = {}
        for link, frame in frames:
            by_link.setdefault(link, []).append(frame)
        for link, of_link in by_link.items():
            peer = self._node.links.peers.get(link)
            if peer is not None:
                peer.send(of_link)

    def request(self, request: Request) -> None:
        """Send a request of the core to the record store."""
        self._node.cluster.request(request)

    def store_failed(self, error: BaseException) -> None:
        """The store failed: the node stops."""
        self._node.store_failed(error)

    # --- completions -----------------------------------------------------------------------------

    def complete(self, completion: Completion) -> None:
        """Complete the futures of operations that are safe or failed."""
        node = self._node
        match completion:
            case Safe():
                queue = node.handles.made(completion.queue)
                if queue is not None:
                    queue._safe(completion.upto, completion.nodes, completion.consumed)
            case Settled():
                node.settled.advance(completion.upto, completion.nodes)
            case Doubtful():
                self._doubt(completion.generation)

    def _doubt(self, generation: int) -> None:
        node = self._node
        node.serving_generation = 0
        error = InDoubt(f"node {node.id!r} is no longer primary of generation {generation}")
        for queue in node.handles.all_made():
            queue._doubt(error)
        node.settled.doubt(error)

    # --- notices ---------------------------------------------------------------------------------

    def notify(self, notice: Notice) -> None:
        """Act on a notice of the core."""
        node = self._node
        match notice:
            case RoleChanged():
                self._role_changed(notice)
            case QueueAdded():
                replicated = node.replica.queues.get(notice.queue)
                if replicated is not None:
                    self.queue_added(replicated)  # Its content follows as notices of its own.
            case QueueRemoved():
                self._queue_removed(notice.queue)
            case Inserted() | Removed():
                self.listeners.changed(notice)
            case HandOver():
                node._embedder.discarded(notice)
            case CloseLink():
                if peer := node.links.peers.get(notice.link):
                    peer.close(notice.reason)
            case NodeEvent():
                self._tell(notice)

    def _tell(self, event: NodeEvent) -> None:
        if isinstance(event, Trouble):
            self._node.troubles.report(event.cause, event.detail, fades=event.fades)
        elif not isinstance(event, TOLD_BY_LINKS):
            self._node.log(event.name, event.detail)

    def _role_changed(self, notice: RoleChanged) -> None:
        node = self._node
        node.log("role", f"{notice.role.value}, generation {notice.generation}")
        node.cluster.connector.role_changed(notice.role)
        node.cluster.look()
        if notice.role.is_primary and node.serving_generation != notice.generation:
            node.serving_generation = notice.generation
            # Completions of this very `Ready` were performed before this notice: begin where they got to.
            primary = node.replica.primary
            safe = primary.safe if primary else 0
            holders = primary.membership.holders if primary and safe else NOBODY
            node.settled = Ledger(notice.generation, safe, thread=node.thread, nodes=holders)
            node.immediate = Ledger(notice.generation, thread=node.thread)
            node.handles.new_term()
        node._embedder.role(notice.generation if notice.role.is_primary else 0)

    def _queue_removed(self, queue: QueueId) -> None:
        self._node.handles.remove(queue)
        self.listeners.forget(queue)

    def load_all(self, queues: Iterable[ReplicatedQueue]) -> Iterator[None]:
        """The queues of the store, with content that no notice will tell of. Step by step, for there may be many."""
        for replicated in queues:
            self._node.handles.add(replicated)
            yield from self.listeners.load(replicated)
            yield

    def count_queues(self) -> None:
        """There may be more of them: in the core, in a plan on its way, or with the embedder."""
        self.freezing.grown(kept_by(self._node.replica) + len(self._node.handles))

    def queue_added(self, replicated: ReplicatedQueue) -> None:
        """Make a queue known, and ask the broker whether it wants to follow its content."""
        if replicated.queue not in self._node.handles:
            self._node.handles.add(replicated)
            self.count_queues()
            self.listeners.ask(replicated)
