"""The backup's side of its one session: subscribe, stage the plan, flip, then follow operations.

    HELLO ──(Welcome)──► STAGING ──(PlanEnd)──► FLIPPING ──(one transaction)──► FOLLOWING
                          ▲ ▲                                                       │
                          │ └───────────────────(Resubscribe, C7)───────────────────┘
                          └──(GroupsDiffer)── COMPARING: comes before STAGING if there are many queues (C8)

Between Subscribe and PlanEnd nothing is applied (C1). What arrives is staged: invisible, volatile, gone
with the session. The flip makes this node equal to the primary at one position, in one transaction over
all queues, and only then acknowledges (C5).

Describing and flipping visit every queue, so both are done in slices (`Settings.queues_per_slice`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from qpidha.core.backup.describing import Digests, description_count, descriptions
from qpidha.core.backup.flip import Flip
from qpidha.core.backup.kept import Kept
from qpidha.core.backup.operations import check_lineage, check_operation, copy_of
from qpidha.core.backup.planned import Planned
from qpidha.core.births import configuration_id
from qpidha.core.configuration import check_objects
from qpidha.core.entering import enter_for
from qpidha.core.keyed import KeyedQueue
from qpidha.core.legality import FollowerState
from qpidha.core.local import QUEUE_PREFIX, LocalQueues
from qpidha.core.outbox import Outbox
from qpidha.core.policy import check_policy, planned_policy, policy_in
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.core.ready import Inserted, QueueAdded, QueueRemoved, Removed
from qpidha.errors import RemoteProtocolError
from qpidha.journal import DropQueue, Insert, PutQueue, PutStatus, Remove, Skip
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import Generation, MessageId, NodeId, Position, QueueId
from qpidha.wire.batch import Batch
from qpidha.wire.events import (
    Acknowledged,
    Copy,
    Declare,
    Dequeue,
    Drop,
    Enqueue,
    Event,
    Frame,
    Operation,
    Operations,
    Part,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    SkipIds,
    Subscribe,
)
from qpidha.wire.groups import GroupsDiffer, SubscribeRest
from qpidha.wire.version import DIGESTS_SINCE, PROTOCOL_MAX

DIGESTED_PER_STEP = 8
"""To make the digest of a queue costs about this much less than to describe it."""


@dataclass(slots=True)
class Flow:
    """What this node received as a backup since it started, for status."""

    resyncs: int = 0
    resync_messages: int = 0
    resync_bytes: int = 0
    messages: int = 0
    bytes: int = 0


class FollowerSession:
    """One session with one primary, over one link."""

    def __init__(
        self,
        *,
        link: int,
        node: NodeId,
        primary: NodeId,
        generation: Generation,
        cluster: UUID,
        queues: Queues,
        local: LocalQueues,
        quarantined: Quarantined,
        outbox: Outbox,
        settings: Settings,
        flow: Flow,
        version: int = PROTOCOL_MAX,
    ) -> None:
        self.link = link
        self._node = node
        self.primary = primary
        self.generation = generation
        self.sid = 0
        self.state = FollowerState.HELLO
        self.position: Position = 0
        self.established = False
        """The primary has sent Established: every member has the history that this session follows (W2)."""
        self.flow = flow
        self.cluster = cluster
        self._objects = configuration_id(cluster)
        self._queues = queues
        self._local = local
        self._quarantined = quarantined
        self._out = outbox
        self._settings = settings
        self._plan: dict[QueueId, Planned] = {}
        self._version = version
        self._chunks = 0
        self._subscribed_as = (UUID(int=0), 0)
        """Epoch and stored generation that go with the digests."""
        self._digests: Digests | None = None
        """Those of this session, until the primary has said which groups differ."""
        self._kept: Kept | None = None
        """The queues of the groups that do not; None: all queues are described."""
        self._descriptions: Iterator[Event] | None = None
        """The descriptions of this node's queues that are still to be sent; None: all were sent."""
        self._flip: Flip | None = None

    # --- slices ----------------------------------------------------------------------------------

    @property
    def unfinished(self) -> bool:
        """Work is left that can go on with the next slice, without any input."""
        digesting = self._digests is not None and not self._digests.done
        return digesting or self._descriptions is not None or self._flip is not None

    @property
    def staged(self) -> int:
        """Queues in the plan so far, plus the changes that its flip has made so far; 0 after the flip."""
        return len(self._plan) + (len(self._flip.result.changes) if self._flip else 0)

    def advance(self) -> None:
        """One slice of the work. Raises `RemoteProtocolError` if the plan contradicts itself."""
        if self._digests is not None and not self._digests.done:
            self._digest_more(self._settings.queues_per_slice)
        if self._descriptions is not None:
            self._describe_more(self._settings.queues_per_slice)
        if self._flip is not None:
            self._flip_more(self._settings.queues_per_slice)

    def finish(self) -> None:
        """Complete the flip that has begun: the session is about to end. Raises what `advance` raises."""
        assert self._flip is not None
        self._flip.finish()
        self._flipped()

    # --- subscribing -----------------------------------------------------------------------------

    def subscribe(self, sid: int, epoch: UUID, stored: Generation, key: bytes) -> None:
        """Tell the primary everything it needs to plan: lineages, next ids, held ids (C1, C4).

        Of more queues than one digest is for, that is a digest of each group first (C8). ``key``: of the digests.
        """
        self.sid = sid
        self.established = False
        self._plan, self._kept, self._flip = {}, None, None
        self._chunks = 0
        self._digests, self._descriptions = None, None
        per_digest = self._settings.queues_per_digest
        if self._version >= DIGESTS_SINCE and len(self._queues) > per_digest:
            self.state = FollowerState.COMPARING
            self._subscribed_as = (epoch, stored)
            self._digests = Digests(self._queues, per_digest, key)
            self._digest_more(self._settings.queues_per_slice)
            return
        count = description_count(self._queues.values(), self._settings.ids_runs_per_chunk_max)
        self._send(Subscribe(epoch=epoch, stored_generation=stored, queues=count))
        self._describe(self._queues.values())

    def _digest_more(self, queues: int) -> None:
        assert self._digests is not None
        self._digests.advance(DIGESTED_PER_STEP * queues)
        if self._digests.done:
            self._send(self._digests.event(*self._subscribed_as))

    def groups_differ(self, event: GroupsDiffer) -> None:
        """Describe the queues of these groups, and keep all others (C8)."""
        if self._digests is None or not self._digests.done:
            raise RemoteProtocolError("GroupsDiffer before SubscribeGroups")
        self._kept = Kept(self._queues, self._digests.groups, event.groups)
        self._digests = None
        described = self._kept.described
        count = description_count(described, self._settings.ids_runs_per_chunk_max)
        self._send(SubscribeRest(queues=count))
        self._describe(described)

    def _describe(self, queues: Iterable[ReplicatedQueue]) -> None:
        self.state = FollowerState.STAGING
        self._descriptions = descriptions(queues, self._settings.ids_runs_per_chunk_max)
        self._describe_more(self._settings.queues_per_slice)

    def _describe_more(self, events: int) -> None:
        assert self._descriptions is not None
        for event in itertools.islice(self._descriptions, events):
            self._send(event)
            events -= 1
        if events:
            self._descriptions = None

    def _send(self, event: Event) -> None:
        self._out.send(self.link, Frame(self.generation, self.sid, event))

    # --- receiving -------------------------------------------------------------------------------

    # Each method handles one legal event of this session and generation, and raises `RemoteProtocolError` if the event
    # contradicts earlier ones.

    def plan_queue(self, event: PlanQueue) -> None:
        """Take the plan of one queue; a later one of the same queue replaces it."""
        check_lineage(event, self.generation)
        self._planned(event.queue).meta = event

    def plan_drop(self, event: PlanDrop) -> None:
        """Add to the held, or the staged, messages that the flip drops."""
        planned = self._planned(event.queue)
        gone = planned.staged_drop if event.staged else planned.drop
        gone |= event.ids

    def plan_withdraw(self, event: PlanWithdraw) -> None:
        """Forget what the plan said of a queue: it was deleted since (Q9)."""
        planned = self._plan.pop(event.queue, None) is not None
        kept = self._kept is not None and self._kept.withdraw(event.queue)
        if not planned and not kept:
            raise RemoteProtocolError(
                f"queue {event.queue} is withdrawn from the plan, which does not name it"
            )

    def _planned(self, queue: QueueId) -> Planned:
        planned = self._plan.get(queue)
        if planned is None:
            if len(self._plan) > self._settings.queues_max:  # And the configuration.
                raise RemoteProtocolError(f"more than {self._settings.queues_max} queues")
            planned = self._plan[queue] = Planned()
        return planned

    def plan_messages(self, event: PlanMessages) -> None:
        """Stage messages: they become visible with the flip (C5). Answered with `Progress`."""
        if event.queue == self._objects:
            check_objects(event.batch)
            if (policy := policy_in([event.batch])) is not None:  # It is checked before the rest is sent.
                check_policy(policy, self.primary, self._settings.replicate, self._node)
        planned = self._planned(event.queue)
        if not event.ids.isdisjoint(planned.staged_ids):
            raise RemoteProtocolError("a message was staged twice")
        planned.staged_ids |= event.ids
        planned.staged.append((event.generation_of, event.ids, event.batch))
        self._chunks += 1
        self.flow.resync_messages += len(event.batch)
        self.flow.resync_bytes += event.batch.nbytes
        self._send(Progress(chunks=self._chunks))

    def _check_policy(self, planned: Planned) -> None:
        """Raise `HandshakeError` if this node gives names other levels than the primary does."""
        known = self._queues.get(self._objects)
        objects = known if isinstance(known, KeyedQueue) else None
        policy = planned_policy(objects, planned.drop, [batch for _, _, batch in planned.staged])
        check_policy(policy, self.primary, self._settings.replicate, self._node)

    def plan_end(self, end: PlanEnd) -> None:
        """Become equal to the primary, in one transaction, then acknowledge (C5)."""
        if self._descriptions is not None:
            raise RemoteProtocolError(f"PlanEnd while {self.state.name}")  # It cannot know all queues yet.
        self._check_policy(self._plan.get(self._objects, Planned()))
        self._flip = Flip(
            self._queues,
            self._local,
            self._plan,
            end.queues,
            self._quarantined,
            self._objects,
            self.generation,
            self._kept,
        )
        self.state = FollowerState.FLIPPING
        self.position = end.position
        self._flip_more(self._settings.queues_per_slice)

    def _flip_more(self, steps: int) -> None:
        assert self._flip is not None
        self._flip.advance(steps)
        if self._flip.done:
            self._flipped()

    def _flipped(self) -> None:
        assert self._flip is not None
        result, self._flip, self._plan, self._kept = self._flip.result, None, {}, None
        self._out.persist(*result.changes, PutStatus(self.cluster, self.generation, primary=False))
        for notice in result.notices:
            self._out.notify(notice)
        self._out.notify(result.resynchronised)
        self.state = FollowerState.FOLLOWING
        self.flow.resyncs += 1
        self._acknowledge()

    def _acknowledge(self) -> None:
        frame = Frame(self.generation, self.sid, Acknowledged(position=self.position))
        self._out.acknowledge(self.link, frame)

    # --- following -------------------------------------------------------------------------------

    def apply(self, event: Operations) -> None:
        """Apply operations in order; the acknowledgement follows their transaction (C6).

        An operation is checked before it is applied, so it is applied whole or not at all (O3).
        """
        if event.first != self.position + 1:
            raise RemoteProtocolError(f"operation {event.first} after {self.position}")
        for operation in event.operations:
            has_objects = check_operation(self._queues, operation, self.generation)
            touched = self._objects_touched(operation) if has_objects else None
            for part in operation:
                self._apply(part)
            if touched:
                self._follow_objects(touched)
            self.position += 1
        self._acknowledge()

    def _objects_touched(self, operation: Operation) -> list[bytes]:
        """The keys of the objects of queues that this operation puts, or deletes where that may concern one here."""
        wanted = self._objects.int  # Uuids are compared in Python, and this is asked of every part.
        parts = [part for part in operation if part.queue.int == wanted]
        objects = self._queues.get(self._objects) if parts else None
        if not isinstance(objects, KeyedQueue):
            return []
        keys = list[bytes]()
        for part in parts:
            if isinstance(part, Enqueue):
                keys += [part.batch.props(i) for i in range(len(part.batch))]
            elif isinstance(part, Dequeue) and len(self._local):
                keys += objects.keys_of(part.ids)
        return [key for key in keys if key.startswith(QUEUE_PREFIX)]

    def _follow_objects(self, keys: list[bytes]) -> None:
        """The queues of level configuration are those of the objects, in the same transaction (Q2)."""
        objects = self._queues[self._objects]
        assert isinstance(objects, KeyedQueue)  # Else no keys of it were touched.
        for change, notice in self._local.follow(objects, keys, self.generation):
            self._out.persist(change)
            if notice is not None:
                self._out.notify(notice)

    def _apply(self, part: Part) -> None:
        if isinstance(part, Declare):
            self._declare(part)
            return
        q = self._queues[part.queue]
        if (entry := enter_for(q, part, self.generation)) is not None:
            self._out.persist(entry)
        match part:
            case Enqueue():
                batch, flow = part.batch, self.flow
                flow.messages += len(batch)
                flow.bytes += batch.nbytes
                self._insert(q, part.first, batch)
            case Copy():
                self.flow.messages += len(part.ids)
                self._insert(q, part.first, copy_of(self._queues, part))
            case Dequeue():
                if gone := q.remove(part.ids):
                    self._out.notify(Removed(part.queue, gone))
                self._out.persist(Remove(part.queue, part.ids))
            case SkipIds():
                q.skip(part.last)
                self._out.persist(Skip(part.queue, q.next))
            case Drop():  # pragma: no branch - mypy knows that there is no other part
                del self._queues[part.queue]
                self._out.persist(DropQueue(part.queue))
                self._out.notify(QueueRemoved(part.queue))

    def _insert(self, q: ReplicatedQueue, first: MessageId, batch: Batch) -> None:
        ids = SequenceSet.from_range(first, first + len(batch) - 1)
        q.insert(ids, batch)
        self._out.persist(Insert(q.queue, ids, batch))
        self._out.notify(Inserted(q.queue, ids, batch))

    def _declare(self, part: Declare) -> None:
        self._queues[part.queue] = self._queues.make(part.queue, part.spec, part.lineage, part.next)
        self._out.persist(PutQueue(part.queue, part.spec, part.lineage, part.next))
        self._out.notify(QueueAdded(part.queue, part.spec))
