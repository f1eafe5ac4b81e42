"""One node's whole part in the protocol: its role, its links, its store, its view of the record.

    inputs    link_opened, received, link_closed · record_seen, answered · promote, demote, tick
              declare, enqueue, dequeue, move · handed_over
    output    ready(), and performed() once all of that is done

Everything is synchronous and single-threaded. After any input take `ready()` and perform it whole, in
order, then say `performed`, before taking the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import inf
from uuid import UUID

from qpidha.core.backup.follower import Follower
from qpidha.core.calls import UUID_, check_parts
from qpidha.core.candidate import check_promotable, founding, promotion
from qpidha.core.lineage import Lineage
from qpidha.core.manager import Answer, Manager
from qpidha.core.outbox import Outbox
from qpidha.core.primary.activation import Activation
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.sessions import Host
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import CompareAndSet, Doubtful, HandOver, Noted, Ready, Request, RoleChanged
from qpidha.errors import (
    LocalProtocolError,
    NotPrimary,
    PromotionRefused,
    RemoteProtocolError,
    ensure,
)
from qpidha.journal import Release, StoreImage
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import (
    Discarded,
    Generation,
    Member,
    MessageId,
    NodeId,
    Position,
    QueueId,
    QueueSpec,
    Record,
    Role,
    Versioned,
)
from qpidha.wire.batch import Batch
from qpidha.wire.events import Frame


class Replica:
    """The sans-I/O core of one node, for one boot."""

    def __init__(
        self,
        *,
        node: NodeId,
        boot: UUID,
        image: StoreImage,
        settings: Settings | None = None,
        now: float = 0.0,
    ) -> None:
        settings = Settings() if settings is None else settings
        check_parts(node, boot, image, settings)
        self.node = node
        self.boot = boot
        self.epoch = image.status.epoch
        self.cluster = image.status.cluster
        self.generation: Generation = image.status.generation
        """The highest generation seen, durable before anything of it is obeyed (C2, C5)."""
        self.settings = settings
        self.queues = {q.queue: ReplicatedQueue.from_image(q) for q in image.queues}
        self.quarantined = Quarantined(list(image.quarantine))
        self.manager = Manager(boot, self.settings.record_retry_s)
        self.primary: Primary | None = None
        self.host: Host | None = None
        """The primary's side of all links; exists exactly while ``primary`` does."""
        self.activation: Activation | None = None
        """A promotion that was won, before its generation begins."""
        self.follower = Follower(self)
        self.identities: dict[int, frozenset[str]] = {}
        """By link that a peer opened: the names it may speak for."""
        self.stopped = False
        self.out = Outbox()
        self._told: tuple[Role, Generation] = (Role.STOPPED, 0)
        self._promotion_wanted = False
        self._demotion_wanted = False
        self._offer_at = inf
        """When to offer what the embedder did not take, or has not been offered yet."""
        self._releasing: Iterator[Release | None] | None = None
        """What lives in the history of the generation that was established here, while it leaves quarantine."""
        self._ticked = now

    # --- state -----------------------------------------------------------------------------------

    @property
    def me(self) -> Member:
        return Member(self.node, self.epoch)

    @property
    def role(self) -> Role:
        if self.stopped:
            return Role.STOPPED
        if self.primary:
            return Role.ACTIVE if self.primary.established else Role.RECOVERING
        return self.follower.role

    @property
    def record(self) -> Record | None:
        return self.manager.record

    @property
    def in_sync(self) -> bool:
        """This node, with this life of its store, is a member of the newest record seen."""
        return self.record is not None and self.me in self.record.members

    # --- links -----------------------------------------------------------------------------------

    def link_opened(
        self, link: int, *, to: NodeId | None = None, identity: frozenset[str] | None = None
    ) -> None:
        """A link is open.

        Args:
            to: We opened it to that primary; None: a peer opened it to us.
            identity: The names that the peer proved to have; None if the transport proves none.
        """
        if to is not None:
            self.follower.link_opened(link, to)
        elif identity is not None:
            self.identities[link] = identity

    def link_closed(self, link: int) -> None:
        """A link is gone, for whatever reason. Nothing is completed by that (O5)."""
        self.out.closing.discard(link)
        self._link_over(link)

    def _link_over(self, link: int) -> None:
        self.identities.pop(link, None)
        if self.host:
            self.host.closed(link)
        self.follower.closed(link)

    def received(self, link: int, frame: Frame, now: float) -> bool:
        """A well-formed frame. What the protocol does not allow closes the link, and nothing else.

        Returns False if no effect follows from it before the next input: the driver need not run.
        """
        if self.stopped or link in self.out.closing:
            return False
        try:
            if self.host and link != self.follower.link:
                return self.host.received(link, frame, now)
            if link == self.follower.link:
                self.follower.received(frame, now)
            else:
                Host.not_primary(self, link, frame)
        except RemoteProtocolError as error:
            self.link_failed(link, error)
        return True

    def link_failed(self, link: int, error: RemoteProtocolError) -> None:
        """The peer broke the protocol: tell it why, close its link, harm nobody else."""
        Host.refuse(self, link, error.code, str(error))
        self._link_over(link)

    # --- the record ------------------------------------------------------------------------------

    def record_seen(self, current: Versioned | None, now: float) -> None:
        """A watch shows this record."""
        self._resolved(self.manager.seen(current), now)

    def answered(self, request: Request, answer: Answer, now: float) -> None:
        """The cluster manager answered a request."""
        self._resolved(self.manager.answer(request, answer, now), now)

    def _resolved(self, lost: CompareAndSet | None, now: float) -> None:
        """Draw the consequences of the newest record (M3, M4, P2)."""
        record = self.record
        if lost is not None:
            self.out.notify(Noted("compare-and-set lost", f"expected version {lost.expected}"))
            self._promotion_wanted = False
        if lost is not None and not self.manager.newer_than(lost):
            self.step_down("the record is gone")
            return
        if record is None or self.stopped:
            return
        self.follower.look_at(record)
        mine = record.primary == (self.node, self.boot)
        if self.activation and not (mine and record.generation == self.activation.record.generation):
            self.activation = None
        if self.primary:
            if not mine or record.generation != self.primary.generation:
                self.step_down(f"generation {record.generation} has another primary")
            else:
                settled = self.manager.in_flight is None
                self.primary.membership.recorded(record.members, settled=settled)
        elif mine and record.generation > self.generation and self.cluster in (None, record.cluster):
            self._won(record, now)
        elif self._promotion_wanted and self.manager.in_flight is None:
            self._promotion_wanted = False  # The cluster was founded; now be its first primary.
            if self.me in record.members:
                self.manager.propose(promotion(record, self.me, self.boot))

    # --- roles -----------------------------------------------------------------------------------

    def promote(self, *, found_as: UUID) -> None:
        """Try to become primary (P1). ``found_as``: the uuid of the cluster if there is none yet.

        Raises:
            PromotionRefused: A rule forbids it; nothing was sent.
            LocalProtocolError: This node is primary, or stopped.
        """
        UUID_("found_as", found_as)
        if self.primary or self.stopped:
            raise LocalProtocolError(f"promote while {self.role.value}")
        if self.manager.in_flight is not None or self.activation:
            return
        record = self.record
        if record is None:
            if self.cluster is not None or self.queues:
                raise PromotionRefused(
                    "the cluster record is gone, but this store is not empty: an operator must decide"
                )
            self._promotion_wanted = True
            self.manager.propose(founding(found_as, self.me))
            return
        check_promotable(record, self.me, self.cluster, self.generation)
        self.manager.propose(promotion(record, self.me, self.boot))

    def _won(self, record: Record, now: float) -> None:
        """The promotion was won: prepare its generation, in slices."""
        if self.activation is None:
            self.follower.leave()
            self.activation = Activation(record, self.queues.values())
            self._activate(now)

    def _activate(self, now: float) -> None:
        """Begin the generation once it is prepared."""
        assert self.activation is not None
        if self.activation.advance(self.settings.queues_per_slice):
            self.primary, self.host = self.activation.begin(self)
            self.activation = None
            self._demotion_wanted = False

    def demote(self) -> None:
        """Hand over: stop being primary and say so in the record, so that another member may be promoted.

        Raises:
            LocalProtocolError: This node is not primary.
        """
        if not self.primary:
            raise LocalProtocolError(f"demote while {self.role.value}")
        self._demotion_wanted = True

    def step_down(self, why: str) -> None:
        """Complete nothing more; what is pending is in doubt, never refused (K1)."""
        if not self.primary or not self.host:
            return
        self.out.complete(Doubtful(self.primary.generation))
        self.host.close_all(why)
        self.primary = None
        self.host = None
        self._releasing = None
        self.out.notify(Noted("stepped down", why))
        self._tell(Role.JOINING)

    def stop(self, why: str = "stopping") -> None:
        """The node stops, in order or because its store failed."""
        self.step_down(why)
        self.follower.leave()
        self.activation = None
        self.stopped = True

    # --- clients ---------------------------------------------------------------------------------

    def _serving(self) -> Primary:
        if self.primary is None:
            known = self.record.primary[0] if self.record and self.record.primary else None
            raise NotPrimary(f"node {self.node} is {self.role.value}", primary=known)
        return self.primary

    def declare(self, queue: QueueId, spec: QueueSpec) -> Position:
        return self._serving().declare(queue, spec)

    def enqueue(self, queue: QueueId, batch: Batch) -> tuple[Position, SequenceSet]:
        return self._serving().enqueue(queue, batch)

    def dequeue(self, queue: QueueId, ids: SequenceSet) -> tuple[Position, SequenceSet]:
        return self._serving().dequeue(queue, ids)

    def portions(self, source: QueueId, ids: SequenceSet) -> list[SequenceSet]:
        return self._serving().portions(source, ids)

    def move(self, source: QueueId, ids: SequenceSet, target: QueueId) -> tuple[Position, SequenceSet]:
        return self._serving().move(source, ids, target)

    def skip(self, queue: QueueId, count: int) -> Position:
        return self._serving().skip(queue, count)

    # --- discarded messages ----------------------------------------------------------------------

    def hand_over(self) -> None:
        """The generation now followed is established: quarantined messages are dead (W2).

        They are offered in portions of about ``queues_per_slice`` messages, the next one when one was taken.
        """
        if self._releasing is not None:
            return  # What lives leaves first.
        messages = tuple(self.quarantined.due(self.history_of, self.settings.queues_per_slice))
        if not messages:
            return
        if self.settings.discard_policy == "drop":
            self.handed_over(messages)
        else:
            self.out.notify(HandOver(messages))

    def handed_over(self, messages: Iterable[Discarded]) -> None:
        """The embedder took these: they leave quarantine, and the audit record says so."""
        self.out.persist(*self.quarantined.taken(tuple(messages), self.generation))
        if self.quarantined.waiting:
            self._offer_at = -inf

    def _release_more(self) -> None:
        """One slice of what lives in the history that is established now; then the rest is dead (W2)."""
        assert self._releasing is not None
        left = self.settings.queues_per_slice
        for release in itertools.islice(self._releasing, left):
            left -= 1
            if release is not None:
                self.out.persist(release)
        if left:
            self._releasing = None
            self.hand_over()

    def history_of(self, queue: QueueId) -> tuple[Lineage, MessageId] | None:
        """What the history that this node follows gave out of a queue; None if it has no such queue.

        As a primary that is its own. As a backup it is its primary's, and its own queues say it: the flip made
        lineage and next equal to the primary's (C5), and operations only add ids of the primary's own generation,
        of which nothing can be in quarantine. Ask only after the flip, and before the session ends.
        """
        q = self.queues.get(queue)
        return None if q is None else (q.lineage, q.next)  # An empty queue is false.

    # --- time and effects ------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time passes: look who owes an acknowledgement for too long.

        Call at least every second: a longer silence is taken for a pause of this process (T42). Everything that had
        arrived by ``now`` must have been received before: what waits in a socket is no silence of the peer.
        """
        self._passed(now)
        if self.primary:
            self.primary.judge(now)

    def _passed(self, now: float) -> None:
        if self.primary and now - self._ticked > self.settings.ack_timeout_s / 2:
            self.primary.jumped(now)
        self._ticked = now

    def performed(self, now: float) -> None:
        """The last `Ready` was performed whole: what was sent has left, so time-outs of its answers begin (L4)."""
        if self.primary:
            self.primary.performed(now)

    def hand_over_failed(self, now: float) -> None:
        """The embedder did not take what was handed over: it is offered again after a while.

        Or with the next `Established`, if the history now followed is another one by then (W2).
        """
        self.quarantined.withdraw()
        self._offer_at = now + self.settings.discard_retry_s

    def _offer_again(self) -> None:
        self._offer_at = inf
        if self.primary.established if self.primary else self.follower.established:
            self.hand_over()

    @property
    def unfinished(self) -> bool:
        """Work on all queues goes on with the next `ready`, in a later turn of the loop: nothing has to come in."""
        if self._offer_at == -inf:
            return True
        if self.primary:
            return self._releasing is not None or self.primary.unfinished
        return self.activation is not None or self.follower.unfinished

    @property
    def still(self) -> bool:
        """Nothing is under way in here: what this node is can be compared with its disk."""
        return self.out.empty and not self.unfinished

    def ready(self, now: float) -> Ready:
        """The effects of everything since the last call. Perform it whole before the next (`Ready`)."""
        self._passed(now)  # After a pause whatever comes first may come before the next tick (T42).
        if self.activation:
            self._activate(now)
        elif self.follower.unfinished:
            self.follower.advance()
        if self.primary and self.host:
            established = self.primary.established
            late = self.primary.late
            self.primary.membership.give_up_joining(late, now)
            self.primary.settle()
            if self.primary.established and not established:
                self._releasing = self.quarantined.release_alive(self.history_of)
            if self._releasing is not None:
                self._release_more()
            self._change_record(late, now)
        if now >= self._offer_at:
            self._offer_again()
        if request := self.manager.request(now):
            self.out.request(request)
        self._tell(self.role)
        return self.out.take()

    def _change_record(self, late: frozenset[Member], now: float) -> None:
        """Propose what should change in the record, one thing at a time (M1)."""
        record = self.record
        if self.manager.in_flight is not None or record is None or not self.primary or not self.host:
            return
        membership, sessions = self.primary.membership, self.primary.sessions.values()
        if self._demotion_wanted:
            self.manager.propose(replace(record, primary=None))
            return
        if not late and membership.stays(record, sessions):
            return
        if change := membership.removal(record, late, sessions, now):
            gone = ", ".join(sorted(m.node for m in record.members - change.members))
            self.out.notify(Noted("removing a member", gone))
        else:
            change = membership.addition(record, sessions, self.primary.position, now)
        if change:
            self.manager.propose(change)

    def _tell(self, role: Role) -> None:
        state = (role, self.generation)
        if state != self._told:
            self._told = state
            self.out.notify(RoleChanged(role, self.generation))

    def check(self) -> None:
        """Raise `InvariantError` if an invariant does not hold. O(content)."""
        ensure((self.primary is None) == (self.host is None), "host without primary")
        if self.primary:
            self.primary.check()
        for q in self.queues.values():
            q.check()
