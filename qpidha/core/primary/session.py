"""One backup's session, as the primary keeps it: catch-up by difference, then the stream of operations.

    SUBSCRIBING ──(all SubscribeQueue in)──► CATCHING_UP ──(snapshot, PlanEnd)──► STREAMING
      ▲   ▲                                                                           │
      │   └───────────(Subscribe again)──── LAGGING ◄──────(window exceeded, C7)──────┘
      └──(SubscribeRest)── COMPARING ◄──(SubscribeGroups in place of Subscribe, C8)

Catching up copies what the backup lacks from the live queues, in chunks, while clients go on working. Their operations
are not sent on this session, and nothing is buffered. Each queue is planned as soon as it was copied; one that
changes afterwards is visited again. Once no queue is left to visit, everything sent so far adds up to the *snapshot*:
the exact plan against what the backup held and staged, closed by PlanEnd at the position of that instant (C4, C5).
From there on every operation is sent.

The work is done in slices of ``queues_per_slice`` visits: the number of queues decides how long it takes, but never
how long the event loop is blocked. A slice grows with the number of queues that changed since the last one. Each
change cost an operation, so the visits keep up with any rate of changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from uuid import UUID

from qpidha.core.legality import SessionState
from qpidha.core.primary.comparison import Comparison
from qpidha.core.primary.described import Described, Resync, wanted_bytes
from qpidha.core.primary.inflight import InFlight
from qpidha.core.primary.planning import copied, planned
from qpidha.core.primary.turn import Turn
from qpidha.core.primary.visits import Visits
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.resync import History, plan_resync
from qpidha.errors import RemoteProtocolError
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import Generation, Member, NodeId, Position, QueueId
from qpidha.wire.events import (
    Event,
    Limits,
    Operation,
    Operations,
    PlanEnd,
    PlanWithdraw,
    Resubscribe,
    Subscribe,
    SubscribeQueue,
)
from qpidha.wire.groups import DIGEST_BYTES, GroupsDiffer, SubscribeGroups, SubscribeRest
from qpidha.wire.version import DIGESTS_SINCE, ENTRIES_SINCE, PROTOCOL_MAX

COMPARED_PER_VISIT = 8
"""To compare a queue costs about this much less than to visit it."""
SAMPLED = 256
"""Queues that are looked at to say about how much is left."""


class BackupSession:
    """The session of one backup. Made when the backup says Subscribe; replaced by its next Subscribe (C3)."""

    def __init__(
        self,
        link: int,
        node: NodeId,
        boot: UUID,
        settings: Settings,
        limits: Limits | None = None,
        version: int = PROTOCOL_MAX,
        generation: Generation = 0,
    ) -> None:
        """``limits``: what the backup told of itself; None: it speaks version 1. ``generation``: the primary's."""
        self.link = link
        self.node = node
        self.boot = boot
        self.limits = limits
        self.version = version
        """The one agreed upon."""
        self._entered: Generation = generation if version < ENTRIES_SINCE else 0
        """Backups of older releases do not enter this generation in lineages themselves: their plan does it (P3)."""
        self.sid = 0
        self.epoch = UUID(int=0)
        self.member = Member(node, self.epoch)
        self.state = SessionState.WELCOMED
        self.stored_generation: Generation = 0
        self.resync = Resync()
        self.plan_position: Position = 0
        """The position of PlanEnd; 0 before it was sent."""
        self.sent: Position = 0
        self.acked: Position = 0
        """Cumulative, in this session. At least plan_position once the backup has flipped."""
        self._settings = settings
        self._described: dict[QueueId, Described] = {}
        self._expected = 0
        self._described_bytes = 0
        """About how many bytes the backup has sent to describe its queues."""
        self._comparison: Comparison | None = None
        """Of this session, until the end of the catch-up; None: the backup has described all its queues."""
        self._visits: Visits | None = None
        """Queues that were not planned yet, or changed since; None: neither comparing nor catching up has begun."""
        self.unfinished = False
        """The last slice ended with work left: call `catch_up` again, even if nothing arrives."""
        self._in_flight = InFlight(settings)
        self._window: deque[tuple[Position, int, int]] = deque()
        """Unacknowledged frames: last position, bytes, and the bytes that were under way just after it was sent."""
        self.window_bytes = 0
        self.turn = Turn()

    @property
    def flipped(self) -> bool:
        """The backup has acknowledged the plan of this session."""
        return 0 < self.plan_position <= self.acked

    @property
    def described(self) -> int:
        """Number of queue descriptions that are kept for the catch-up; 0 once it is done."""
        return len(self._described)

    @property
    def staged_bytes(self) -> int:
        """What the backup has staged in this session (`InFlight.staged_bytes`)."""
        return self._in_flight.staged_bytes

    @property
    def bytes_ahead(self) -> int:
        """What had to cross the link before the backup could acknowledge the oldest operation that it owes."""
        if not self.flipped:
            return self._described_bytes + self.resync.bytes
        return self._window[0][2] if self._window else 0

    # --- subscribing -----------------------------------------------------------------------------

    def subscribe(self, sid: int, event: Subscribe) -> None:
        """A new session begins; everything known of the old one is forgotten (C3)."""
        self._begin(sid, event.epoch, event.stored_generation)
        self._expected = event.queues
        self._maybe_subscribed()

    def subscribe_groups(self, sid: int, event: SubscribeGroups) -> None:
        """The same, and the queues of the backup are to be compared by groups (C8)."""
        if self.version < DIGESTS_SINCE:
            raise RemoteProtocolError(f"SubscribeGroups in version {self.version}")
        self._begin(sid, event.epoch, event.stored_generation)
        self.state = SessionState.COMPARING
        self._comparison = Comparison(event)
        self._described_bytes = DIGEST_BYTES * len(event.digests)

    def subscribe_rest(self, event: SubscribeRest) -> None:
        """The backup describes the queues of the groups that differ."""
        if self._comparison is None or not self._comparison.done:
            raise RemoteProtocolError("SubscribeRest before GroupsDiffer")
        self.state = SessionState.SUBSCRIBING
        self._expected = event.queues
        self._maybe_subscribed()

    def _begin(self, sid: int, epoch: UUID, stored_generation: Generation) -> None:
        if sid in (0, self.sid):
            raise RemoteProtocolError(f"Subscribe with session {sid}, which is not new")
        self.sid = sid
        self.epoch = epoch
        self.member = Member(self.node, epoch)
        self.stored_generation = stored_generation
        self.state = SessionState.SUBSCRIBING
        self.resync = Resync()
        self.plan_position = self.sent = self.acked = 0
        self._forget_catch_up()
        self._described_bytes = 0
        self._in_flight = InFlight(self._settings)
        self._window.clear()
        self.window_bytes = 0

    def subscribe_queue(self, event: SubscribeQueue) -> None:
        """Take the description of one queue, or the next chunk of its held ids. O(runs).

        Raises:
            RemoteProtocolError: More queues than ``queues_max``, or ids that do not ascend over the chunks.
        """
        if self._comparison is not None:
            self._comparison.check_described(event.queue)
        known = self._described.get(event.queue)
        if known is None:
            if len(self._described) > self._settings.queues_max:  # And the configuration.
                raise RemoteProtocolError(f"more than {self._settings.queues_max} queues")
            self._described[event.queue] = Described(History(event.lineage, event.next, event.held.copy()))
        else:
            if event.held and known.history.held and event.held.first <= known.history.held.last:
                raise RemoteProtocolError("held ids are not ascending over the chunks of a queue")
            held = known.history.held
            held |= event.held
        self._described_bytes += 64 + 16 * event.held.run_count
        self._expected -= 1
        self._maybe_subscribed()

    def _maybe_subscribed(self) -> None:
        if self._expected == 0:
            self.state = SessionState.CATCHING_UP

    # --- catching up -----------------------------------------------------------------------------

    @property
    def held_up(self) -> bool:
        """The copy waits for the backup: as much is under way as the limits allow."""
        return self.state is SessionState.CATCHING_UP and self._in_flight.is_full

    def left_bytes(self, queues: Mapping[QueueId, ReplicatedQueue]) -> int:
        """About how much is still to be copied, counted as in ``staged_bytes``. O(queues to visit)."""
        waiting = self._visits.waiting if self._visits is not None else ()
        left = (queues[queue] for queue in waiting if queue in queues)
        return sum(max(self._in_flight.chunk_min, wanted_bytes(q, self._known(q.queue))) for q in left)

    def to_copy(self, queues: Mapping[QueueId, ReplicatedQueue]) -> int:
        """About how many bytes of messages are still to be sent. Of many queues, some are looked at. O(1)."""
        if not self._visits:
            return 0
        first = self._visits.next
        others = [queue for queue in islice(self._visits.waiting, SAMPLED) if queue != first]
        of_first, of_others = (
            sum(wanted_bytes(queues[queue], self._known(queue)) for queue in some if queue in queues)
            for some in ([first], others)
        )
        return of_first + of_others * (len(self._visits.waiting) - 1) // max(1, len(others))

    def progress(self, chunks: int) -> None:
        """The backup staged this many chunks: flow control only."""
        self._in_flight.progress(chunks)

    def catch_up(self, queues: Mapping[QueueId, ReplicatedQueue], position: Position) -> Iterator[Event]:
        """What to send now: one slice of the work. Ends with PlanEnd once every queue was planned (C4, C5).

        All operations up to ``position`` have been passed to `stream` before.
        """
        self.unfinished = False
        if self.state is SessionState.COMPARING:
            yield from self._compare(queues)
        if self.state is not SessionState.CATCHING_UP:
            return
        if self._visits is None:
            self._visits = Visits(queues)
        visits = max(self._settings.queues_per_slice, 2 * self._visits.disturbed)
        self._in_flight.wanted = 2 * self._visits.disturbed
        self._visits.disturbed = 0
        while self._visits:
            if visits == 0:
                self.unfinished = True
                return
            visits -= 1
            queue = queues.get(self._visits.next)
            if queue is None:
                yield from self._withdraw(self._visits.next)
                self._visits.visited()
                continue
            described = self._of(queue)
            yield from copied(queue, described, self._in_flight, self.resync, self._settings)
            if described.cursor < queue.next:
                return  # The limit is reached: the next Progress resumes the copy.
            yield from planned(queue, described, self.resync, self._entered, self._settings)
            self._visits.visited()
        yield PlanEnd(position=position, queues=len(queues))
        self._forget_catch_up()
        self.plan_position = self.sent = position
        self.state = SessionState.STREAMING

    def _compare(self, queues: Mapping[QueueId, ReplicatedQueue]) -> Iterator[Event]:
        """One slice of the comparison. What changes here from its beginning on must be visited (C8)."""
        comparison = self._comparison
        assert comparison is not None
        if self._visits is None:
            comparison.begin(queues.values())
            self._visits = Visits()
        elif comparison.done:
            return  # The backup has not answered yet.
        comparison.advance(COMPARED_PER_VISIT * self._settings.queues_per_slice)
        self.unfinished = not comparison.done
        if comparison.done:
            for queue in comparison.finish():
                self._visits.add(queue)
            yield GroupsDiffer(groups=comparison.differing)

    def _withdraw(self, queue: QueueId) -> Iterator[Event]:
        """The queue was deleted: the backup forgets what was planned and staged, and judges it by its birth (Q4, Q9)."""
        described = self._known(queue)
        if described is not None and described.told:
            described.told = False
            yield PlanWithdraw(queue=queue)

    def _forget_catch_up(self) -> None:
        self._described, self._visits, self._comparison = {}, None, None
        self.unfinished = False

    def _changed(self, operations: tuple[Operation, ...]) -> None:
        if self._visits is not None:  # Else none was compared or visited yet.
            self._visits.changed(operations)

    def _known(self, queue: QueueId) -> Described | None:
        """What the backup has of a queue; None: it has not described it. It keeps queues of equal groups."""
        described = self._described.get(queue)
        if described is None and self._comparison is not None:
            history = self._comparison.history(queue)
            if history is not None:
                described = self._described[queue] = Described(history, told=True)
        return described

    def _of(self, queue: ReplicatedQueue) -> Described:
        described = self._known(queue.queue)
        if described is None:
            described = self._described[queue.queue] = Described(History((), 0, SequenceSet()))
        if described.keep is None:
            described.keep = plan_resync(queue.history, described.history).keep
            described.staged = SequenceSet()
        return described

    # --- streaming -------------------------------------------------------------------------------

    def stream(self, event: Operations, nbytes: int) -> Iterator[Event]:
        """Send these operations (O1), or give up streaming because the backup is too far behind (C7)."""
        self._changed(event.operations)
        if self.state is not SessionState.STREAMING:
            return
        yield event
        self.sent = event.last
        self.window_bytes += nbytes
        self._window.append((event.last, nbytes, self.window_bytes + self._in_flight.bytes))
        limits = self._settings
        if self.window_bytes > limits.window_bytes_max or len(self._window) > limits.window_operations_max:
            self.state = SessionState.LAGGING
            yield Resubscribe()

    def leave_out(self, operation: Operation) -> Iterator[Event]:
        """No frame holds this operation: the plan of a new session carries it, in the transaction of the flip (TX2)."""
        self._changed((operation,))
        if self.state is SessionState.STREAMING:
            self.state = SessionState.LAGGING
            yield Resubscribe()

    def acknowledged(self, position: Position) -> None:
        """The backup made everything up to here durable."""
        if not self.acked <= position <= self.sent or position < self.plan_position:
            raise RemoteProtocolError(f"Acknowledged {position}; {self.acked} was acked, {self.sent} sent")
        self.acked = position
        while self._window and self._window[0][0] <= position:
            self.window_bytes -= self._window.popleft()[1]
