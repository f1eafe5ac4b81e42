"""One backup's session, as the primary keeps it: catch-up by difference, then the stream of operations.

    SUBSCRIBING ──(all SubscribeQueue in)──► CATCHING_UP ──(snapshot, PlanEnd)──► STREAMING
         ▲                                                                            │
         └────────────(Subscribe again)──── LAGGING ◄──────(window exceeded, C7)──────┘

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
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from qpidha.core.chunks import plan_chunks, split_ids
from qpidha.core.entering import entered_lineage
from qpidha.core.legality import SessionState
from qpidha.core.primary.described import Described, Resync, wanted_bytes
from qpidha.core.primary.turn import Turn
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.resync import History, plan_resync
from qpidha.errors import RemoteProtocolError
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import MESSAGE_ID_MAX, Generation, Member, NodeId, Position, QueueId
from qpidha.wire.events import (
    Event,
    Limits,
    Operation,
    Operations,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Resubscribe,
    Subscribe,
    SubscribeQueue,
)
from qpidha.wire.version import ENTRIES_SINCE, PROTOCOL_MAX


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
        self._to_visit: deque[QueueId] | None = None
        """Queues that were not planned yet, or changed since; None: catching up has not begun."""
        self._waiting: set[QueueId] = set()
        """The same, as a set."""
        self._chunks_wanted = 0
        """This many chunks may be under way even if the settings allow fewer, so that copying keeps up with changes."""
        self._disturbed = 0
        """How many queues were added to ``_waiting`` since the last slice."""
        self.unfinished = False
        """The last slice ended with work left: call `catch_up` again, even if nothing arrives."""
        self._chunks_staged = 0
        self.staged_bytes = 0
        """What the backup has staged in this session. A chunk counts as ``_chunk_min`` at least, for its round trip."""
        self._chunk_min = settings.window_bytes_max // 4 // settings.plan_chunks_in_flight_max
        self._in_flight: deque[int] = deque()
        """Bytes of each chunk that was sent and not staged yet."""
        self._in_flight_bytes = 0
        """Sum of ``_in_flight``."""
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
    def bytes_ahead(self) -> int:
        """What had to cross the link before the backup could acknowledge the oldest operation that it owes."""
        if not self.flipped:
            return self._described_bytes + self.resync.bytes
        return self._window[0][2] if self._window else 0

    # --- subscribing -----------------------------------------------------------------------------

    def subscribe(self, sid: int, event: Subscribe) -> None:
        """A new session begins; everything known of the old one is forgotten (C3)."""
        if sid in (0, self.sid):
            raise RemoteProtocolError(f"Subscribe with session {sid}, which is not new")
        self.sid = sid
        self.epoch = event.epoch
        self.member = Member(self.node, self.epoch)
        self.stored_generation = event.stored_generation
        self.state = SessionState.SUBSCRIBING
        self.resync = Resync()
        self.plan_position = self.sent = self.acked = 0
        self._described = {}
        self._forget_visits()
        self._expected = event.queues
        self._described_bytes = 0
        self._chunks_staged = self._in_flight_bytes = self.staged_bytes = 0
        self._in_flight.clear()
        self._window.clear()
        self.window_bytes = 0
        self._maybe_subscribed()

    def subscribe_queue(self, event: SubscribeQueue) -> None:
        """Take the description of one queue, or the next chunk of its held ids. O(runs).

        Raises:
            RemoteProtocolError: More queues than ``queues_max``, or ids that do not ascend over the chunks.
        """
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
        return self.state is SessionState.CATCHING_UP and self._is_full

    def left_bytes(self, queues: Mapping[QueueId, ReplicatedQueue]) -> int:
        """About how much is still to be copied, counted as in ``staged_bytes``. O(queues to visit)."""
        left = (queues[queue] for queue in self._waiting if queue in queues)
        return sum(max(self._chunk_min, wanted_bytes(q, self._described.get(q.queue))) for q in left)

    def progress(self, chunks: int) -> None:
        """The backup staged this many chunks: flow control only."""
        sent = self._chunks_staged + len(self._in_flight)
        if not self._chunks_staged <= chunks <= sent:
            raise RemoteProtocolError(f"Progress of {chunks} chunks, {sent} were sent")
        for _ in range(chunks - self._chunks_staged):
            nbytes = self._in_flight.popleft()
            self._in_flight_bytes -= nbytes
            self.staged_bytes += max(self._chunk_min, nbytes)
        self._chunks_staged = chunks

    @property
    def _is_full(self) -> bool:
        """Whether as many chunks are under way as the limits allow; a single chunk is always allowed.

        The chunks and the window of the stream after them must together fit the buffer of a link. Otherwise a plan
        would fill that buffer, the link would be closed, and the same would happen to the next session.
        """
        limits = self._settings
        many = len(self._in_flight) >= max(limits.plan_chunks_in_flight_max, self._chunks_wanted)
        return many or self._in_flight_bytes >= limits.window_bytes_max // 4

    def catch_up(self, queues: Mapping[QueueId, ReplicatedQueue], position: Position) -> Iterator[Event]:
        """What to send now: one slice of the work. Ends with PlanEnd once every queue was planned (C4, C5).

        All operations up to ``position`` have been passed to `stream` before.
        """
        self.unfinished = False
        if self.state is not SessionState.CATCHING_UP:
            return
        if self._to_visit is None:
            self._to_visit, self._waiting = deque(queues), set(queues)
        visits = max(self._settings.queues_per_slice, 2 * self._disturbed)
        self._chunks_wanted = 2 * self._disturbed
        self._disturbed = 0
        while self._to_visit:
            if visits == 0:
                self.unfinished = True
                return
            visits -= 1
            queue = queues.get(self._to_visit[0])
            if queue is None:
                yield from self._withdraw(self._to_visit[0])
                self._waiting.discard(self._to_visit.popleft())
                continue
            yield from self._copy(queue)
            if self._of(queue).cursor < queue.next:
                return  # The limit is reached: the next Progress resumes the copy.
            yield from self._plan(queue)
            self._waiting.discard(self._to_visit.popleft())
        yield PlanEnd(position=position, queues=len(queues))
        self._described = {}
        self._forget_visits()
        self.plan_position = self.sent = position
        self.state = SessionState.STREAMING

    def _withdraw(self, queue: QueueId) -> Iterator[Event]:
        """The queue was deleted: the backup forgets what was planned and staged, and judges it by its birth (Q4, Q9)."""
        described = self._described.pop(queue, None)
        if described is not None and described.told:
            yield PlanWithdraw(queue=queue)

    def _forget_visits(self) -> None:
        self._to_visit, self._waiting, self._disturbed = None, set(), 0
        self.unfinished = False

    def _changed(self, operations: Iterable[Operation]) -> None:
        """The queues of these operations must be visited, or visited again."""
        if self._to_visit is None:
            return  # None was visited yet.
        for operation in operations:
            for part in operation:
                if part.queue not in self._waiting:
                    self._waiting.add(part.queue)
                    self._to_visit.append(part.queue)
                    self._disturbed += 1

    def _of(self, queue: ReplicatedQueue) -> Described:
        described = self._described.get(queue.queue)
        if described is None:
            described = self._described[queue.queue] = Described(History((), 0, SequenceSet()))
        if described.keep is None:
            described.keep = plan_resync(queue.history, described.history).keep
            described.staged = SequenceSet()
        return described

    def _copy(self, queue: ReplicatedQueue) -> Iterator[Event]:
        """Send what is wanted from the cursor on, as much as may be under way."""
        described = self._of(queue)
        assert described.keep is not None and described.staged is not None
        if queue.next <= described.cursor:
            return
        wanted = queue.held.slice(described.cursor, MESSAGE_ID_MAX) - described.keep
        bytes_max, runs_max = self._settings.plan_chunk_bytes, self._settings.ids_runs_per_chunk_max
        for generation, ids, batch in plan_chunks(queue, wanted, bytes_max, runs_max) if wanted else ():
            if self._is_full:
                return
            self._in_flight.append(batch.nbytes)
            self._in_flight_bytes += batch.nbytes
            self.resync.messages += len(batch)
            self.resync.bytes += batch.nbytes
            described.staged |= ids
            described.cursor = ids.last + 1
            described.told = True
            yield PlanMessages(queue=queue.queue, generation_of=generation, ids=ids, batch=batch)
        described.cursor = queue.next

    def _plan(self, queue: ReplicatedQueue) -> Iterator[Event]:
        """The plan of one queue as it is now, as far as it was not sent at an earlier visit.

        The last PlanQueue of a queue counts. Its PlanDrops add up, because a dropped message never comes back.
        """
        described = self._of(queue)
        assert described.keep is not None and described.staged is not None
        described.told = True
        lineage = entered_lineage(queue, self._entered)
        yield PlanQueue(queue=queue.queue, spec=queue.spec, lineage=lineage, next=queue.next, held=len(queue))
        held, staged = described.history.held, described.staged
        if gone := held - (described.keep & queue.held):
            self.resync.dropped += gone.count()  # Not len(): a peer may claim more ids than len() can return.
            held -= gone
            yield from self._drops(queue.queue, gone, staged=False)
        if gone := staged - queue.held:
            staged -= gone
            yield from self._drops(queue.queue, gone, staged=True)

    def _drops(self, queue: QueueId, ids: SequenceSet, *, staged: bool) -> Iterator[PlanDrop]:
        for part in split_ids(ids, self._settings.ids_runs_per_chunk_max):
            yield PlanDrop(queue=queue, ids=part, staged=staged)

    # --- streaming -------------------------------------------------------------------------------

    def stream(self, event: Operations, nbytes: int) -> Iterator[Event]:
        """Send these operations (O1), or give up streaming because the backup is too far behind (C7)."""
        if self.state is SessionState.CATCHING_UP:
            self._changed(event.operations)
        if self.state is not SessionState.STREAMING:
            return
        yield event
        self.sent = event.last
        self.window_bytes += nbytes
        self._window.append((event.last, nbytes, self.window_bytes + self._in_flight_bytes))
        limits = self._settings
        if self.window_bytes > limits.window_bytes_max or len(self._window) > limits.window_operations_max:
            self.state = SessionState.LAGGING
            yield Resubscribe()

    def leave_out(self, operation: Operation) -> Iterator[Event]:
        """No frame holds this operation: the plan of a new session carries it, in the transaction of the flip (TX2)."""
        if self.state is SessionState.CATCHING_UP:
            self._changed((operation,))
        elif self.state is SessionState.STREAMING:
            self.state = SessionState.LAGGING
            yield Resubscribe()

    def acknowledged(self, position: Position) -> None:
        """The backup made everything up to here durable."""
        if not self.acked <= position <= self.sent or position < self.plan_position:
            raise RemoteProtocolError(f"Acknowledged {position}; {self.acked} was acked, {self.sent} sent")
        self.acked = position
        while self._window and self._window[0][0] <= position:
            self.window_bytes -= self._window.popleft()[1]
