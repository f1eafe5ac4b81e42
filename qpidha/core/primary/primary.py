"""The primary of one generation: gives out ids, sends operations, completes them when they are safe.

    position   counts the operations of this generation; 1 is the activation itself (P3)
    acked      per member: everything up to this position is durable there (O4)
    safe       the lowest acked position of all members and the joining node: what is complete

The primary's own store needs no counter: a `Ready` is persisted before anything in it is sent, so what a backup
acknowledges, and what completes in the same `Ready`, is durable here already.

Invariants (`check`):
  - safe ≤ position, and safe never falls
  - safe rises only to what every member and the joining node acknowledged (O4)
  - established ⇔ every member and the joining node acknowledged position 1; safe ≥ 1 only then
  - with too few members safe does not rise (J4)
"""

from __future__ import annotations

from collections.abc import Iterable

from qpidha.checks import shown
from qpidha.core.calls import IDS, UUID_, check_ids, check_move, check_publish
from qpidha.core.chunks import split_for_move, split_ids
from qpidha.core.legality import SessionState
from qpidha.core.lineage import generation_of
from qpidha.core.manager import Manager
from qpidha.core.outbox import Outbox
from qpidha.core.primary.completion import Guards
from qpidha.core.primary.deadlines import Deadlines
from qpidha.core.primary.membership import Membership
from qpidha.core.primary.minimum import Minimum
from qpidha.core.primary.session import BackupSession
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import QueueAdded, Safe, Settled
from qpidha.errors import CallerError, UnknownQueue, ensure
from qpidha.journal import Insert, PutQueue, Remove, Skip
from qpidha.seq import SequenceSet
from qpidha.settings import Settings, check_spec
from qpidha.types import Generation, Member, NodeId, Position, QueueId, QueueSpec
from qpidha.wire.batch import Batch
from qpidha.wire.events import (
    Declare,
    Dequeue,
    Enqueue,
    Established,
    Event,
    Frame,
    Operation,
    Operations,
    Part,
    SkipIds,
    Subscribe,
)

ACTIVATION: Position = 1
OPERATIONS_PER_QUEUE = 10
"""Operations completed for each queue that `Settings.queues_per_slice` allows: to complete one costs less."""


class Primary:
    """One activation. A node that is promoted again makes a new one."""

    def __init__(
        self,
        *,
        generation: Generation,
        membership: Membership,
        manager: Manager,
        queues: dict[QueueId, ReplicatedQueue],
        outbox: Outbox,
        settings: Settings,
    ) -> None:
        self.generation = generation
        self.queues = queues
        self.sessions: dict[int, BackupSession] = {}
        """By link."""
        self.membership = membership
        self.minimum = Minimum(settings.min_in_sync, membership, manager, self.sessions, outbox)
        self.position: Position = ACTIVATION
        self.safe: Position = 0
        self.established = False
        self._out = outbox
        self._settings = settings
        self._guards = Guards()
        self._acked: dict[Member, Position] = {}
        self._unsealed: list[Operation] = []
        self._unsealed_bytes = 0
        self._behind = False
        """More is safe than was completed in the last slice."""
        self.deadlines = Deadlines(settings)

    # --- what clients do -------------------------------------------------------------------------

    def declare(self, queue: QueueId, spec: QueueSpec) -> Position:
        """Declare a queue whose ids belong to this generation from the first one on. Completes like any operation."""
        UUID_("queue", queue)
        if queue in self.queues:
            raise CallerError(f"queue {queue} exists already")
        check_spec(spec)
        self._check_room()
        lineage = ((self.generation, 1),)
        self.queues[queue] = ReplicatedQueue(queue, spec, lineage, 1)
        self._out.persist(PutQueue(queue, spec, lineage, 1))
        self._out.notify(QueueAdded(queue, spec))
        nbytes = 128 + len(spec.name.encode()) + len(spec.kind.encode())
        return self.operate(Declare(queue=queue, spec=spec, lineage=lineage, next=1), nbytes=nbytes)

    def _check_room(self) -> None:
        """Raise `CallerError` if one more queue would exceed ``queues_max`` of this node or of a connected backup."""
        most, whose = self._settings.queues_max, "this node"
        for session in self.sessions.values():
            if session.limits is not None and session.limits.queues_max < most:
                most, whose = session.limits.queues_max, f"backup {session.node!r}"
        if len(self.queues) >= most:
            raise CallerError(f"there are {len(self.queues)} queues already; queues_max of {whose} is {most}")

    def enqueue(self, queue: QueueId, batch: Batch) -> tuple[Position, SequenceSet]:
        """Publish a batch: the ids are given at once, it completes later (O1). Origins in the batch are dropped (O3)."""
        held = self._queue(queue)
        check_publish(batch, self._settings)
        check_ids(held.next, len(batch))
        batch = batch.without_origins()
        ids = held.append(batch)
        position = self.operate(Enqueue(queue=queue, first=ids.first, batch=batch), nbytes=64 + batch.nbytes)
        self._out.persist(Insert(queue, ids, batch))
        self._guards.published(queue, held.spec.settle, ids.first, ids.last, position)
        return position, ids

    def dequeue(self, queue: QueueId, ids: SequenceSet) -> tuple[Position, SequenceSet]:
        """Accept, expire or drop messages; returns those that were held. Ids already gone are fine.

        Ids with too many runs for one operation become several operations: each accept is independent of the others.
        """
        held = self._queue(queue)
        IDS("ids", ids)
        if ids and ids.last >= held.next:
            raise CallerError(f"ids up to {ids.last} of {held.spec.name!r} were never given out")
        gone = held.remove(ids)
        if not gone:
            return self.position, gone
        for part in split_ids(gone, self._settings.ids_runs_per_chunk_max):
            position = self.operate(Dequeue(queue=queue, ids=part), nbytes=64 + 16 * part.run_count)
            self._out.persist(Remove(queue, part))
            self._guards.dequeued(queue, part, position)
        return self.position, gone

    def skip(self, queue: QueueId, count: int) -> Position:
        """Skip the next ``count`` ids. Replicated like any operation (O2)."""
        held = self._queue(queue)
        first = held.next
        check_ids(first, count)
        held.skip(first + count - 1)
        self._out.persist(Skip(queue, held.next))
        return self.operate(SkipIds(queue=queue, first=first, last=held.next - 1))

    def portions(self, source: QueueId, ids: SequenceSet) -> list[SequenceSet]:
        """Split those of these ids that are held into portions for one `move` each: a portion must fit one frame."""
        queue = self._queue(source)
        IDS("ids", ids)
        return list(split_for_move(queue, ids & queue.held, self._settings))

    def move(self, source: QueueId, ids: SequenceSet, target: QueueId) -> tuple[Position, SequenceSet]:
        """Move one portion to another queue, as one operation: enqueue first, then dequeue (O3, X2).

        A message that was moved before keeps its origin: the identity that its publish was given (W2).
        """
        check_move(source, ids, target)
        origin, goal = self._queue(source), self._queue(target)
        moving = ids & origin.held
        if not moving:
            return self.position, moving
        batch = Batch.join([piece for _, piece in origin.select(moving)])
        here = ((source.bytes, generation_of(origin.lineage, id), id) for id in moving)
        batch = batch.with_origins([batch.origin(i) or identity for i, identity in enumerate(here)])
        check_publish(batch, self._settings)
        check_ids(goal.next, len(batch))
        new = goal.append(batch)
        origin.remove(moving)
        self._out.persist(Insert(target, new, batch), Remove(source, moving))
        position = self.operate(
            Enqueue(queue=target, first=new.first, batch=batch),
            Dequeue(queue=source, ids=moving),
            nbytes=128 + batch.nbytes + 16 * moving.run_count,
        )
        self._guards.published(target, goal.spec.settle, new.first, new.last, position)
        self._guards.moved(source, moving, target)
        return position, new

    def _queue(self, queue: QueueId) -> ReplicatedQueue:
        try:
            return self.queues[queue]
        except (KeyError, TypeError, ValueError):  # A value that is no UUID may not be hashable.
            raise UnknownQueue(f"no queue {shown(queue)}") from None

    def operate(self, *parts: Part, nbytes: int = 64) -> Position:
        """One operation: its parts are applied in one transaction on every backup (O3)."""
        self.position += 1
        self._unsealed.append(parts)
        self._unsealed_bytes += nbytes
        if self._unsealed_bytes >= self._settings.operations_bytes:
            self.seal()
        return self.position

    # --- sending ---------------------------------------------------------------------------------

    def seal(self) -> None:
        """Close the frame of operations collected so far and send it on every open session (O1)."""
        if not self._unsealed:
            return
        operations = tuple(self._unsealed)
        event = Operations(first=self.position - len(operations) + 1, operations=operations)
        for session in self.sessions.values():
            self._send(session, session.stream(event, self._unsealed_bytes))
        self._unsealed = []
        self._unsealed_bytes = 0

    def _send(self, session: BackupSession, events: Iterable[Event]) -> None:
        for event in events:
            self._out.send(session.link, Frame(self.generation, session.sid, event))

    def settle(self) -> None:
        """Bring everything up to date before effects are taken: frames, catch-ups, completions."""
        self.seal()
        for session in self.sessions.values():
            if session.state is SessionState.CATCHING_UP:
                self._send(session, session.catch_up(self.queues, self.position))
        self._complete()
        self.deadlines.taken(self.position, self.sessions.values())

    def performed(self, now: float) -> None:
        """The effects taken last were performed: their frames have left this node."""
        self.deadlines.performed(now, self.safe, self.sessions.values())

    @property
    def unfinished(self) -> bool:
        """A slice of a catch-up or of the completions ended with work left: call `settle` again soon."""
        return self._behind or any(session.unfinished for session in self.sessions.values())

    # --- sessions --------------------------------------------------------------------------------

    def end_session(self, link: int) -> BackupSession | None:
        """A link is gone. Nothing is completed by that (O5)."""
        session = self.sessions.pop(link, None)
        if session:
            self.membership.session_over(session.node, session.sid)
        return session

    def begin_session(self, session: BackupSession, sid: int, event: Subscribe) -> None:
        """A backup opens a session; its earlier one is over (C3)."""
        self.membership.session_over(session.node, session.sid)
        session.subscribe(sid, event)

    def backup_acknowledged(self, session: BackupSession, position: Position) -> bool:
        """A backup made everything up to here durable; acks of other sessions never get here (C3).

        Returns False if nothing follows from it yet: another member is as far behind as this one was.
        """
        had_flipped = session.flipped
        session.acknowledged(position)
        member = session.member
        if position > self._acked.get(member, 0):
            self._acked[member] = position
        if had_flipped:
            return self.membership.joining is not None or self._lowest() > self.safe
        if self.established and session.flipped:
            self._send(session, [Established()])
        return True

    # --- completion ------------------------------------------------------------------------------

    def acked_by(self, member: Member) -> Position:
        """The position up to which this member has acknowledged."""
        return self._acked.get(member, 0)

    def oldest_incomplete(self) -> float | None:
        """When the oldest incomplete operation left this node, among those that have left it; None if there is none."""
        oldest = self.deadlines.oldest(self.safe)
        return None if oldest is None else oldest[1]

    def owing(self) -> frozenset[NodeId]:
        """Who must acknowledge, and has acknowledged nothing above ``safe``. O(members)."""
        return frozenset(m.node for m in self.membership.required if self.acked_by(m) <= self.safe)

    def _lowest(self) -> Position:
        """The position that all members and the joiner acknowledged (O4); 0 while one has acknowledged nothing (P4)."""
        acked = self._acked
        return min([acked.get(m, 0) for m in self.membership.required], default=self.position)

    def _complete(self) -> None:
        """Complete one slice of what is safe now: after a long commit, that may be operations on very many queues."""
        lowest = self._lowest()
        if self.minimum.short:
            self._behind = False  # What is pending waits until there are enough members (J4).
        else:
            self._raise_safe(lowest)
        if not self.established and lowest >= ACTIVATION:
            self._establish()

    def _raise_safe(self, lowest: Position) -> None:
        if lowest > self.safe:
            self.safe = min(lowest, self.safe + OPERATIONS_PER_QUEUE * self._settings.queues_per_slice)
            self._out.complete(Settled(self.safe, self.generation, self.membership.holders))
            self.deadlines.complete(self.safe)
        self._behind = lowest > self.safe
        for queue, upto, consumed in self._guards.advance(self.safe):
            holders = self.membership.holders
            self._out.complete(Safe(queue, upto, self.generation, holders, consumed))

    def _establish(self) -> None:
        """Every member has this history: nothing of an older one can win any more (W2)."""
        self.established = True
        for session in self.sessions.values():
            if session.flipped:
                self._send(session, [Established()])

    # --- time ------------------------------------------------------------------------------------

    def find_late(self, now: float) -> None:
        """Find the members, or the joiner, whose acknowledgement of an operation is overdue (J1, L4)."""
        self.deadlines.find_late(now, self.membership.required, self._acked, self.sessions.values())

    @property
    def late(self) -> frozenset[Member]:
        """The members that were late at the last `find_late` and still are."""
        return self.deadlines.late(self._acked)

    def restart_timeouts(self, now: float) -> None:
        """The clock jumped, or this process was paused: every member gets a fresh time-out (T42)."""
        self.deadlines.restart(now)

    def check(self) -> None:
        """Raise `InvariantError` if an invariant does not hold. For tests."""
        ensure(self.safe <= self.position, "safe beyond position")
        safe = self.safe >= ACTIVATION
        ensure(self.established or not safe, "safe without established")
        ensure(safe or not self.established or self.minimum.least > 1, "established without safe")
        self.minimum.check()
        self.deadlines.check(self.safe)
        self._guards.check(self.safe)
        for queue in self.queues.values():
            queue.check()
