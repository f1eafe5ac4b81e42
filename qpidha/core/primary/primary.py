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

from qpidha.core.chunks import operation_bytes_max
from qpidha.core.keyed import ConfigurationQueue
from qpidha.core.legality import SessionState
from qpidha.core.local import LocalQueues
from qpidha.core.manager import Manager
from qpidha.core.outbox import Outbox
from qpidha.core.primary.admission import Admission
from qpidha.core.primary.clients import ClientCalls
from qpidha.core.primary.deadlines import NO_MEMBERS, Deadlines
from qpidha.core.primary.localwork import LocalWork
from qpidha.core.primary.membership import Membership
from qpidha.core.primary.minimum import Minimum
from qpidha.core.primary.pace import Pace
from qpidha.core.primary.producers import Producers
from qpidha.core.primary.session import BackupSession
from qpidha.core.queues import Queues
from qpidha.core.ready import Safe, Settled
from qpidha.errors import ensure
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import Generation, Member, NodeId, Position, QueueId, Record
from qpidha.wire.events import Dequeue, Established, Event, Frame, Operation, Operations, Part, Subscribe
from qpidha.wire.groups import SubscribeGroups

ACTIVATION: Position = 1
CATCHES_UP = frozenset({SessionState.COMPARING, SessionState.CATCHING_UP})
OPERATION_OVERHEAD = 1024
"""What an operation of one batch may have beside it."""
OPERATIONS_PER_QUEUE = 10
"""Operations completed for each queue that `Settings.queues_per_slice` allows: to complete one costs less."""


class Primary(ClientCalls):
    """One activation. A node that is promoted again makes a new one."""

    def __init__(
        self,
        *,
        generation: Generation,
        membership: Membership,
        manager: Manager,
        queues: Queues,
        outbox: Outbox,
        settings: Settings,
        configuration: ConfigurationQueue,
        local: LocalQueues,
    ) -> None:
        self.sessions: dict[int, BackupSession] = {}
        """By link."""
        work = LocalWork(local, membership.node, generation, outbox)
        admission = Admission(settings, queues, local, self.sessions)
        super().__init__(generation, queues, configuration, work, admission, outbox)
        self.membership = membership
        self.minimum = Minimum(settings.min_in_sync, membership, manager, self.sessions, outbox)
        self.safe: Position = 0
        self.established = False
        self._acked: dict[Member, Position] = {}
        self._found: tuple[frozenset[Member], Position] | None = None
        """What `_lowest` found last, and for whom; None: more was acknowledged since."""
        self._unsealed: list[Operation] = []
        self._unsealed_bytes = 0
        self._accepting: tuple[QueueId, SequenceSet] | None = None
        """What the newest operation accepts, if it is unsealed. The set is the operation's and that of its change."""
        self.behind = False
        """More is safe than was completed in the last slice."""
        self.deadlines = Deadlines(settings)
        self.pace = Pace(settings, self.sessions, outbox)
        self.producers = Producers(self, self._guards, work.guards)

    # --- operations ------------------------------------------------------------------------------

    def operate(self, *parts: Part, nbytes: int = 64) -> Position:
        """One operation: its parts are applied in one transaction on every backup (O3)."""
        if nbytes > operation_bytes_max(self.settings) + OPERATION_OVERHEAD:
            return self._leave_out(parts, nbytes)
        self._accepting = None
        self.position += 1
        self._unsealed.append(parts)
        self._unsealed_bytes += nbytes
        if self._unsealed_bytes >= self.settings.operations_bytes:
            self.seal()
        return self.position

    def operate_accept(self, queue: QueueId, ids: SequenceSet) -> None:
        """One operation: these messages are accepted. Until it is sealed, accepts that come next may join it."""
        self.operate(Dequeue(queue=queue, ids=ids), nbytes=64 + 16 * ids.run_count)
        if self._unsealed:
            self._accepting = queue, ids

    def join_accept(self, queue: QueueId, ids: SequenceSet) -> bool:
        """Add these messages to the newest operation, if that is an accept of the same queue which is unsealed (O3).

        So its change is in the next `Ready`, too.
        """
        if self._accepting is None:
            return False
        of, accepted = self._accepting
        if of is not queue and of != queue:  # Uuids are compared in Python.
            return False
        if accepted.run_count + ids.run_count > self.settings.ids_runs_per_chunk_max:
            return False
        accepted |= ids
        self._unsealed_bytes += 16 * ids.run_count
        if self._unsealed_bytes >= self.settings.operations_bytes:
            self.seal()
        return True

    def _leave_out(self, operation: Operation, nbytes: int) -> Position:
        """An operation that no frame holds is not sent: the next plan of each session carries it whole (TX2)."""
        self.seal()
        self.pace.made(self.position, nbytes)
        self.position += 1
        for session in self.sessions.values():
            self._send(session, session.leave_out(operation))
        return self.position

    # --- sending ---------------------------------------------------------------------------------

    def seal(self) -> None:
        """Close the frame of operations collected so far and send it on every open session (O1)."""
        if not self._unsealed:
            return
        operations = tuple(self._unsealed)
        event = Operations(first=self.position - len(operations) + 1, operations=operations)
        self.pace.made(event.first - 1, self._unsealed_bytes)
        for session in self.sessions.values():
            self._send(session, session.stream(event, self._unsealed_bytes))
        self._unsealed, self._unsealed_bytes, self._accepting = [], 0, None

    def _send(self, session: BackupSession, events: Iterable[Event]) -> None:
        for event in events:
            self._out.send(session.link, Frame(self.generation, session.sid, event))

    def settle(self, now: float) -> None:
        """Bring everything up to date before effects are taken: frames, catch-ups, completions."""
        self.seal()
        for session in self.sessions.values():
            if session.state in CATCHES_UP:
                self._send(session, session.catch_up(self.queues, self.position))
        self.pace.look(now, self.queues)
        self._complete()
        self.deadlines.taken(self.position, self.sessions.values())

    def settle_operations(self) -> bool:
        """The same while `is_calm` holds. False: a backup fell behind meanwhile, so `settle` has more to do."""
        self.seal()
        self._raise_safe(self._lowest())
        self.local.complete(self.safe)
        self.deadlines.taken(self.position, ())
        return not self.lags

    @property
    def lags(self) -> bool:
        """A backup fell behind, and is to subscribe again (C7)."""
        return SessionState.LAGGING in [session.state for session in self.sessions.values()]

    def is_calm(self, record: Record | None) -> bool:
        """Every backup follows and is a member of the record, and operations complete as soon as they are safe."""
        quiet = self.established and self.minimum.quiet and self.pace.idle and not self.late
        return (
            quiet
            and record is not None
            and all(map(is_calm, self.sessions.values()))
            and self.membership.all_sessions_are_members(record, self.sessions.values())
        )

    def performed(self, now: float) -> None:
        """The effects taken last were performed: their frames have left this node."""
        self.deadlines.performed(now, self.safe, self.sessions.values())

    @property
    def unfinished(self) -> bool:
        """A slice of a catch-up or of the completions ended with work left: call `settle` again soon."""
        return self.behind or any(session.unfinished for session in self.sessions.values())

    # --- sessions --------------------------------------------------------------------------------

    def end_session(self, link: int) -> BackupSession | None:
        """A link is gone. Nothing is completed by that (O5)."""
        session = self.sessions.pop(link, None)
        if session:
            self.membership.session_over(session.node, session.sid)
        return session

    def begin_session(self, session: BackupSession, sid: int, event: Subscribe | SubscribeGroups) -> None:
        """A backup opens a session; its earlier one is over (C3)."""
        self.membership.session_over(session.node, session.sid)
        if isinstance(event, Subscribe):
            session.subscribe(sid, event)
        else:
            session.subscribe_groups(sid, event)

    def backup_acknowledged(self, session: BackupSession, position: Position) -> bool:
        """A backup made everything up to here durable; acks of other sessions never get here (C3).

        Returns False if nothing follows from it yet: another member is as far behind as this one was.
        """
        had_flipped = session.flipped
        session.acknowledged(position)
        member = session.member
        if position > self._acked.get(member, 0):
            self._acked[member] = position
            self._found = None
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
        required = self.membership.required
        if not required:
            return self.position
        if self._found is None or self._found[0] is not required:
            acked = self._acked
            self._found = required, min([acked.get(m, 0) for m in required])
        return self._found[1]

    def _complete(self) -> None:
        """Complete one slice of what is safe now: after a long commit, that may be operations on very many queues."""
        lowest = self._lowest()
        if self.minimum.short:
            self.behind = False  # What is pending waits until there are enough members (J4).
        else:
            self._raise_safe(self.pace.upto(lowest))
        if not self.established and lowest >= ACTIVATION:
            self._establish()
        self.local.complete(self.safe)

    def _raise_safe(self, lowest: Position) -> None:
        if lowest > self.safe:
            self.safe = min(lowest, self.safe + OPERATIONS_PER_QUEUE * self.settings.queues_per_slice)
            self._out.complete(Settled(self.safe, self.generation, self.membership.holders))
            self.deadlines.complete(self.safe)
        self.behind = lowest > self.safe
        for queue, upto, consumed in self._guards.advance(self.safe):
            holders = self.membership.holders
            self._out.complete(Safe(queue, upto, self.generation, holders, consumed))
        self.producers.completed(self.safe)

    def _establish(self) -> None:
        """Every member has this history: nothing of an older one can win any more (W2)."""
        self.established = True
        for session in self.sessions.values():
            if session.flipped:
                self._send(session, [Established()])

    def find_late(self, now: float) -> None:
        """Find the members, or the joiner, whose acknowledgement of an operation is overdue (J1, L4)."""
        self.deadlines.find_late(now, self.membership.required, self._acked, self.sessions.values())

    @property
    def late(self) -> frozenset[Member]:
        """The members that were late at the last `find_late` and still are."""
        return self.deadlines.late(self._acked)

    def owed_by(self, gone: frozenset[NodeId]) -> frozenset[Member]:
        """The members among these nodes that owe an acknowledgement and are not linked. O(members) if there are nodes."""
        if not gone:
            return NO_MEMBERS
        lost = gone - {session.node for session in self.sessions.values()}
        return frozenset(
            m for m in self.membership.required if m.node in lost and self.acked_by(m) < self.position
        )

    def check(self) -> None:
        """Raise `InvariantError` if an invariant does not hold. `Replica.check` looks at the queues. For tests."""
        ensure(self.safe <= self.position, "safe beyond position")
        safe = self.safe >= ACTIVATION
        ensure(self.established or not safe, "safe without established")
        ensure(safe or not self.established or self.minimum.least > 1, "established without safe")
        self.minimum.check()
        self.pace.check()
        self.deadlines.check(self.safe)
        self._guards.check(self.safe)
        self.producers.check()
        self.local.check(self.safe)
        self.replaced.check([*self.queues.values(), *self.local.queues])


def is_calm(session: BackupSession) -> bool:
    """The backup follows, and neither side waits for the other to act."""
    streams = session.flipped and session.state is SessionState.STREAMING and not session.unfinished
    return streams and session.turn.asked_at is None
