"""One node's whole part in the protocol: its role, its links, its store, its view of the record.

    inputs    link_opened, received, link_closed · record_seen, answered · promote, demote, tick
              declare, enqueue, dequeue, move · handed_over
    output    ready(), and performed() once all of that is done

Everything is synchronous and single-threaded. After any input take `ready()` and perform it whole, in
order, then say `performed`, before taking the next.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from uuid import UUID

from qpidha.checks import instance_of, number
from qpidha.core.backup.follower import Follower
from qpidha.core.births import OWN_OBJECTS
from qpidha.core.bodies import ReadBodies
from qpidha.core.calls import COUNT, INSERTED, QUEUES_SHOWN, TEXT, UUID_, check_parts
from qpidha.core.calm import OPERATING, is_calm
from qpidha.core.candidate import check_promotable, founding, promotion
from qpidha.core.configuration import queue_object
from qpidha.core.discards import Discards
from qpidha.core.indexed import QueueTypes
from qpidha.core.local import LocalQueues
from qpidha.core.manager import Answer, Manager
from qpidha.core.primary.activation import Activation
from qpidha.core.primary.primary import Primary
from qpidha.core.primary.producers import Published, Registered
from qpidha.core.primary.sessions import Sessions
from qpidha.core.producers import NAME
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.core.ready import CompareAndSet, Doubtful, Inserted, Ready, Request, RoleChanged
from qpidha.core.refusals import not_primary_text, refuse, refuse_as_backup
from qpidha.core.snapshot import ReplicaSnapshot, take_snapshot
from qpidha.core.state import NodeState
from qpidha.core.steps import BYTES, Committed, DeleteQueue, ObjectStep, QueueRef, Step, named
from qpidha.core.urgent import end_of_role, hand_over_of
from qpidha.errors import (
    CallerError,
    LocalProtocolError,
    NotPrimary,
    PromotionRefused,
    RemoteProtocolError,
    ensure,
)
from qpidha.events import CompareAndSetLost, RemovingMembers, SteppedDown
from qpidha.journal import Remove, StoreImage
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import (
    Discarded,
    Generation,
    Level,
    Member,
    NodeId,
    Position,
    ProducerSequence,
    QueueId,
    QueueSpec,
    Record,
    Role,
    Versioned,
)
from qpidha.wire.batch import Batch
from qpidha.wire.events import Dequeue, Frame

NODES = instance_of(frozenset)
TIME_MAX = 1e300
TIME = number(-TIME_MAX, TIME_MAX)


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
        types: QueueTypes | None = None,
        secret: bytes = b"",
        read: ReadBodies | None = None,
        read_staged: ReadBodies | None = None,
    ) -> None:
        """A core with the content of a store.

        Args:
            secret: Random bytes that no other process knows (C8).
            read: Gives back messages of the store. None: all are in memory, whatever `Settings.memory_bytes_max` says.
            read_staged: The same of what a `Stage` has set aside. None: nothing is.
        """
        settings = Settings() if settings is None else settings
        check_parts(node, boot, image, settings)
        self.state = NodeState(
            node=node,
            boot=boot,
            image=image,
            settings=settings,
            types=types,
            secret=secret,
            read=read,
            read_staged=read_staged,
        )
        self.out = self.state.outbox
        self.primary: Primary | None = None
        self.sessions: Sessions | None = None
        """The primary's side of all links; exists exactly while ``primary`` does."""
        self.activation: Activation | None = None
        """A promotion that was won, before its generation begins."""
        self.discards = Discards(self.state)
        self.follower = Follower(self.state, self.discards)
        self.stopped = False
        self._reported: tuple[Role, Generation] = (Role.STOPPED, 0)
        self._promotion_wanted = False
        self.demotion_wanted = False
        """`demote` was called: this primary is to hand over its role."""
        self._ticked = now
        self._calm = False
        """A whole `ready` found that only operations can have effects (`qpidha.core.calm`), and no other input came."""

    # --- state -----------------------------------------------------------------------------------

    @property
    def node(self) -> NodeId:
        """The id of this node."""
        return self.state.node

    @property
    def boot(self) -> UUID:
        """The id of this run of the process."""
        return self.state.boot

    @property
    def epoch(self) -> UUID:
        """The id of this life of the store."""
        return self.state.epoch

    @property
    def cluster(self) -> UUID | None:
        """The cluster that the store belongs to; None before it joined one."""
        return self.state.cluster

    @property
    def generation(self) -> Generation:
        """The highest generation seen."""
        return self.state.generation

    @property
    def settings(self) -> Settings:
        """The settings of this node."""
        return self.state.settings

    @property
    def queues(self) -> Queues:
        """The replicated queues that this node holds, by id. Read only."""
        return self.state.queues

    @property
    def local(self) -> LocalQueues:
        """The queues whose messages are this node's own (LV1). Read only."""
        return self.state.local

    def queue(self, queue: QueueId) -> ReplicatedQueue | None:
        """The queue with this id, whatever its level; None if this node has none. O(1). Raises `ArgumentError`."""
        UUID_("queue", queue)
        return self.state.find(queue)

    @property
    def message_queues(self) -> list[ReplicatedQueue]:
        """Those of ``queues`` that brokers publish to: neither tables nor the configuration. O(queues)."""
        return self.state.message_queues

    def find(self, name: str) -> QueueId | None:
        """The queue that the configuration has under this name, or else this node's own. O(1). Raises `ArgumentError`."""
        TEXT("name", name)
        objects = self.state.configuration
        try:
            found = None if objects is None else queue_object(objects, name)
        except UnicodeEncodeError:  # No queue can have this name.
            return None
        if found is not None:
            return found.queue
        own = self.state.local.named(name, Level.NONE)
        return None if own is None else own.queue

    @property
    def quarantined(self) -> Quarantined:
        """The batches in quarantine."""
        return self.state.quarantined

    @property
    def manager(self) -> Manager:
        """The requests to the cluster manager, and the newest record seen."""
        return self.state.manager

    @property
    def me(self) -> Member:
        """This node, with this life of its store, as a member of the record."""
        return self.state.me

    @property
    def role(self) -> Role:
        """The role of this node now."""
        if self.stopped:
            return Role.STOPPED
        if self.primary:
            return Role.ACTIVE if self.primary.established else Role.RECOVERING
        return self.follower.role

    @property
    def record(self) -> Record | None:
        """The newest cluster record seen; None: none was seen."""
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
        self._calm = False
        if to is not None:
            if self.primary or self.activation or self.stopped:
                self.out.close(link, "not a backup")
            else:
                self.follower.link_opened(link, to)
        elif identity is not None:
            self.state.identities[link] = identity

    def link_closed(self, link: int) -> None:
        """A link is gone, for whatever reason. Nothing is completed by that (O5)."""
        self.out.closing.discard(link)
        self._link_over(link)

    def _link_over(self, link: int) -> None:
        self._calm = False
        self.state.identities.pop(link, None)
        if self.sessions:
            self.sessions.backup_link_closed(link)
        self.follower.primary_link_closed(link)

    def received(self, link: int, frame: Frame, now: float) -> bool:
        """A well-formed frame arrived. If the protocol does not allow it, its link is closed, and nothing else changes.

        Returns False if no effect follows from it before the next input: the driver need not run.
        """
        if self.stopped or link in self.out.closing:
            return False
        try:
            if type(frame.event) not in OPERATING:
                self._calm = False
            if self.sessions and link != self.follower.link:
                return self.sessions.frame_from_backup(link, frame, now)
            if link == self.follower.link:
                self.follower.frame_from_primary(frame, now)
            else:
                refuse_as_backup(self.state, link, frame, self.role)
        except RemoteProtocolError as error:
            self.link_failed(link, error)
        return True

    def link_failed(self, link: int, error: RemoteProtocolError) -> None:
        """The peer broke the protocol: tell it why and close its link; no other link is affected (Z2)."""
        refuse(self.state, link, error.code, str(error))
        self._link_over(link)

    # --- the record ------------------------------------------------------------------------------

    def record_seen(self, current: Versioned | None, now: float) -> None:
        """A watch shows this record."""
        self._resolved(self.manager.seen(current), now)

    def answered(self, request: Request, answer: Answer, now: float) -> None:
        """The cluster manager answered a request."""
        self._resolved(self.manager.answer(request, answer, now), now)

    def nodes_gone(self, nodes: frozenset[NodeId]) -> None:
        """These are the nodes whose process is known to have ended: killed, or with a session that has expired.

        It replaces what was said before. A primary does not wait for a member that is gone and not linked: it removes
        the member as soon as that owes an acknowledgement (J1). A wrong hint costs a resynchronisation, never a message.
        """
        NODES("nodes", nodes)
        self._calm = False
        self.state.gone = nodes

    def _resolved(self, lost: CompareAndSet | None, now: float) -> None:
        """Draw the consequences of the newest record (M3, M4, P2)."""
        self._calm = False
        record = self.record
        if lost is not None:
            self.out.notify(CompareAndSetLost(lost.expected))
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
                self.primary.minimum.recount()
        elif mine and record.generation > self.generation and self.cluster in (None, record.cluster):
            self._won(record, now)
        elif self._promotion_wanted and self.manager.in_flight is None:
            self._promotion_wanted = False  # The cluster was founded; now be its first primary.
            if self.me in record.members:
                self.manager.propose(promotion(record, self.me, self.boot))

    # --- roles -----------------------------------------------------------------------------------

    def promote(self, *, found_as: UUID) -> None:
        """Try to become primary (P1). ``found_as``: the uuid for a new cluster, used only if there is no record yet.

        Raises:
            PromotionRefused: A rule forbids it; nothing was sent.
            LocalProtocolError: This node is primary, or stopped.
        """
        UUID_("found_as", found_as)
        self._calm = False
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
            self.primary, self.sessions = self.activation.begin(self.state)
            self.activation = None
            self.demotion_wanted = False

    def demote(self) -> None:
        """Start to hand over: the record will name no primary, so that another member may be promoted.

        Raises:
            LocalProtocolError: This node is not primary.
        """
        if not self.primary:
            raise LocalProtocolError(f"demote while {self.role.value}")
        self._calm = False
        self.demotion_wanted = True

    def step_down(self, why: str) -> None:
        """Complete nothing more; what is pending is in doubt, never refused (K1)."""
        self._calm = False
        if not self.primary or not self.sessions:
            return
        self.out.complete(Doubtful(self.primary.generation))
        self.sessions.close_all(why)
        self.primary = None
        self.sessions = None
        self.discards.stop_releasing()
        self.out.notify(SteppedDown(why))
        self._report_role(Role.JOINING)

    def stop(self, why: str = "stopping") -> None:
        """Stop the node, either orderly or because its store failed."""
        self.step_down(why)
        self.follower.leave()
        self.activation = None
        self.stopped = True

    # --- clients ---------------------------------------------------------------------------------

    def _serving(self) -> Primary:
        if self.primary is None:
            known = self.record.primary[0] if self.record and self.record.primary else None
            raise NotPrimary(not_primary_text(self.node, self.role, known), primary=known)
        return self.primary

    def _taking(self, *queues: QueueRef) -> Primary:
        """The primary, if it takes operations of clients on these queues. What it refuses changes nothing (J4).

        Operations on queues that are not replicated wait for no member, and are always taken (LV5).
        """
        primary = self._serving()
        if (shortage := primary.minimum.shortage()) and not self._all_local(queues):
            raise shortage.refusal()
        return primary

    def _all_local(self, queues: Sequence[QueueRef]) -> bool:
        return bool(queues) and all(
            isinstance(q, UUID) and (q in self.local or q == OWN_OBJECTS) for q in queues
        )

    def declare(
        self, spec: QueueSpec, arguments: bytes = b"", level: Level = Level.MESSAGES
    ) -> tuple[QueueId, Position]:
        """See `Primary.declare`. Raises `NotPrimary` on another node.

        It is taken with too few members, too, and waits: a broker declares its queues when it is promoted (J4).
        """
        primary = self._serving()
        BYTES("arguments", arguments)
        return primary.declare(spec, arguments, level)

    def delete(self, queue: QueueId, move_to: QueueId | None = None) -> Position:
        """See `Primary.delete`. Raises `NotPrimary` on another node, `NotEnoughMembers` below ``min_in_sync``."""
        primary = self._serving()
        if primary.minimum.short:
            self._taking(*named([DeleteQueue(queue, move_to)], primary.configuration.queue))
        return primary.delete(queue, move_to)

    def commit(
        self, steps: Sequence[Step | ObjectStep], sequence: ProducerSequence | None = None
    ) -> Committed:
        """See `Primary.commit`. Raises `NotPrimary` on another node, `NotEnoughMembers` below ``min_in_sync``.

        Args:
            sequence: The number that its producer gave to the commit, which is then made once: see `Producers.commit`.
        """
        primary = self._taking() if sequence is not None else self._serving()
        steps = self.state.objects.located(primary.configuration.queue, steps)
        if primary.minimum.short:
            self._taking(*named(steps, primary.configuration.queue))
        return primary.commit(steps) if sequence is None else primary.producers.commit(steps, sequence)

    def publish(
        self,
        queue: QueueId,
        batches: Batch | Sequence[Batch],
        sequence: ProducerSequence,
        *,
        taken: bool = False,
    ) -> Published:
        """See `Producers.publish`, and `enqueue` for ``taken``. Raises `NotPrimary` or `NotEnoughMembers` like that."""
        return (self._serving() if taken is True else self._taking()).producers.publish(
            queue, batches, sequence
        )

    def register(self, producer: str) -> Registered:
        """See `Producers.register`. Raises `NotPrimary` on another node, `NotEnoughMembers` below ``min_in_sync``."""
        producers = self._taking().producers
        NAME("producer", producer)
        return producers.register(producer)

    def forget(self, producer: str) -> Position:
        """See `Producers.forget`. Raises `NotPrimary` on another node, `NotEnoughMembers` below ``min_in_sync``."""
        producers = self._taking().producers
        NAME("producer", producer)
        return producers.forget(producer)

    def require_open(self) -> None:
        """Raise `NotPrimary`, or `NotEnoughMembers` below ``min_in_sync`` (J4), if operations are refused now."""
        self._taking()

    def enqueue(self, queue: QueueId, batch: Batch, *, taken: bool = False) -> tuple[Position, SequenceSet]:
        """See `Primary.enqueue`. Raises `NotPrimary` on another node, `NotEnoughMembers` below ``min_in_sync``.

        Args:
            taken: The publish was taken from its client before, when there were enough members: it is not refused
                now, and waits for them.
        """
        return (self._serving() if taken is True else self._taking(queue)).enqueue(queue, batch)

    def dequeue(
        self, queue: QueueId, ids: SequenceSet, *, taken: bool = False
    ) -> tuple[Position, SequenceSet]:
        """See `Primary.dequeue`, and `enqueue` for ``taken``. Raises `NotPrimary` or `NotEnoughMembers` like that."""
        return (self._serving() if taken is True else self._taking(queue)).dequeue(queue, ids)

    def move(self, source: QueueId, ids: SequenceSet, target: QueueId) -> tuple[Position, SequenceSet]:
        """See `Primary.move`. Raises `NotPrimary` on another node, `NotEnoughMembers` below ``min_in_sync``."""
        return self._taking(source, target).move(source, ids, target)

    def skip(self, queue: QueueId, count: int) -> Position:
        """See `Primary.skip`. Raises `NotPrimary` on another node, `NotEnoughMembers` below ``min_in_sync``."""
        primary = self._taking(queue)
        COUNT("count", count)
        return primary.skip(queue, count)

    def confirm(self) -> Position:
        """An operation that changes nothing. It completes only if no other node was promoted before this call (Q7).

        Each member acknowledges it, and one that is, or follows, a later primary does not. Taken with too few members,
        too, and waits. Raises `NotPrimary` on another node.
        """
        primary, nothing = self._serving(), SequenceSet()
        objects = primary.configuration.queue
        self.out.persist(Remove(objects, nothing))  # It goes over this node's disk, as every operation does.
        return primary.operate(Dequeue(queue=objects, ids=nothing))

    # --- discarded messages ----------------------------------------------------------------------

    def handed_over(self, messages: Iterable[Discarded]) -> None:
        """The embedder took these messages: they leave quarantine, and the audit record says so."""
        self._calm = False
        self.discards.taken(messages)

    def hand_over_failed(self, now: float) -> None:
        """The embedder did not take what was handed over: it is offered again after ``discard_retry_s``."""
        self._calm = False
        self.discards.failed(now)

    # --- time and effects ------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time passes: find the members whose acknowledgement is overdue.

        Call it at least every second: a longer gap is taken for a pause of this process (T42). Pass every frame that
        had arrived by ``now`` to `received` first: a peer is not silent while its frame waits in a socket.
        """
        self._calm = False
        self._passed(now)
        if self.primary:
            self.primary.find_late(now)

    def _passed(self, now: float) -> None:
        if self.primary and now - self._ticked > self.settings.ack_timeout_s / 2:
            self.primary.deadlines.restart(now)  # Every member gets a fresh time-out (T42).
        self._ticked = now

    def performed(self, now: float) -> None:
        """The last `Ready` was performed whole: its frames have left, so the time-outs for their answers begin (L4)."""
        if type(now) is not float or not -TIME_MAX < now < TIME_MAX:
            TIME("now", now)
            now = float(now)
        if self.state.bodies is not None:
            self.state.bodies.performed()
        if self.primary:
            self.primary.performed(now)

    def read_again(self, notice: Inserted) -> Batch:
        """The messages of a notice that is being performed. Raises what the store raises: see `unreadable`."""
        INSERTED("notice", notice)
        if notice.batch is not None:
            return notice.batch
        if self.state.bodies is None:
            raise CallerError("a notice without messages, of a node that has all in memory")
        return self.state.bodies.read(notice.queue, notice.ids)

    @property
    def unreadable(self) -> Exception | None:
        """The store could not give a message back: the driver must fail, and perform nothing more. None: it could."""
        return None if self.state.bodies is None else self.state.bodies.failed

    @property
    def unfinished(self) -> bool:
        """Work in slices is not done: call `ready` again in a later turn of the loop, even without any input."""
        if self._calm:
            return self.primary is not None and self.primary.behind
        if self.discards.unfinished:
            return True
        if self.primary:
            return self.primary.unfinished
        return self.activation is not None or self.follower.unfinished

    @property
    def still(self) -> bool:
        """No effect and no work in slices is pending: memory and disk can be compared."""
        return self.out.empty and not self.unfinished

    def ready(self, now: float) -> Ready:
        """The effects of everything since the last call. Perform it whole before the next (`Ready`)."""
        self._passed(now)  # After a pause, `ready` may be called before the next `tick` (T42).
        if not (self._calm and (self.primary is None or self.primary.settle_operations())):
            self._settle(now)
            self._calm = self._is_calm()
        if self.state.bodies is not None:
            self.state.bodies.taken()
        ready = self.out.take()
        if self.primary is not None and self.primary.established:
            ready.look_whether_early()
        return ready

    def _settle(self, now: float) -> None:
        """Bring everything up to date before effects are taken."""
        if self.activation:
            self._activate(now)
        elif self.follower.unfinished:
            self._advance_follower()
        if self.primary and self.sessions:
            established = self.primary.established
            late = self.primary.late | self.primary.owed_by(self.state.gone)
            self.primary.membership.give_up_joining(late, now)
            self._remove_members(late, now)  # Before anything completes: who leaves does not count (J5).
            self.primary.settle(now)
            if self.primary.established and not established:
                self.discards.begin_releasing()
            self.discards.release_more()
            self._change_record(now)
            self.primary.minimum.look(now)
        followed = self.primary or self.follower
        self.discards.retry(now, established=followed.established)
        if request := self.manager.request(now):
            self.out.request(request)
        self._report_role(self.role)

    def urgent(self, now: float) -> Ready:
        """The effects that may be performed while the last `Ready` waits for a disk that hangs (`qpidha.core.urgent`)."""
        if self.primary is None:
            return end_of_role(self.state)
        return hand_over_of(self.state, now, wanted=self.demotion_wanted)

    def _advance_follower(self) -> None:
        link = self.follower.link
        assert link is not None  # Without a link nothing is `unfinished`.
        try:
            self.follower.advance()
        except RemoteProtocolError as error:
            self.link_failed(link, error)

    def _remove_members(self, late: frozenset[Member], now: float) -> None:
        """Propose that members leave the record (J1), one change at a time (M1)."""
        record, primary = self.record, self.primary
        if primary is None or record is None or self.manager.in_flight is not None or self.demotion_wanted:
            return
        membership, sessions = primary.membership, primary.sessions.values()
        if not late and membership.all_sessions_are_members(record, sessions):
            return
        if change := membership.removal(record, late, sessions, now):
            gone = sorted(m.node for m in record.members - change.members)
            self.out.notify(RemovingMembers(tuple(gone)))
            self.manager.propose(change)
            primary.minimum.recount()

    def _change_record(self, now: float) -> None:
        """Propose what else should change in the record: that the primary hands over, or that a backup joins (J2)."""
        record, primary = self.record, self.primary
        if primary is None or record is None or self.manager.in_flight is not None:
            return
        if self.demotion_wanted:
            self.manager.propose(replace(record, primary=None))
            return
        membership, sessions = primary.membership, primary.sessions.values()
        if membership.all_sessions_are_members(record, sessions):
            return
        if change := membership.addition(record, sessions, primary.position, now):
            self.manager.propose(change)
            primary.minimum.recount()

    def snapshot(self, queues_max: int = 0) -> ReplicaSnapshot:
        """The state for status pages and metrics, as frozen values, with at most ``queues_max`` queues.

        O(members + sessions + queues named).
        """
        QUEUES_SHOWN("queues_max", queues_max)
        return take_snapshot(self.state, self.role, self.primary, self.follower, queues_max)

    def _is_calm(self) -> bool:
        """Only operations can have effects (`qpidha.core.calm`)."""
        if self.stopped or self.activation or self.demotion_wanted:
            return False
        told = self._reported == (self.role, self.generation)
        return told and is_calm(self.state, self.primary, self.follower, self.discards)

    def _report_role(self, role: Role) -> None:
        state = (role, self.generation)
        if state != self._reported:
            self._reported = state
            self.out.notify(RoleChanged(role, self.generation))

    def check(self, only: Container[QueueId] | None = None) -> None:
        """Raise `InvariantError` if an invariant does not hold. O(content). ``only``: no other replicated queues."""
        ensure((self.primary is None) == (self.sessions is None), "sessions without primary")
        if self.primary:
            self.primary.check()
        for q in self.queues.values():
            if only is None or q.queue in only:
                q.check()
        lags = self.primary is not None and self.primary.lags  # That ends the calm with the next `ready`.
        ensure(not self._calm or lags or self._is_calm(), "something that came in was not looked at")
